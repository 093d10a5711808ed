"""Promotion: who moves `champion` in MLflow asks for a release with that version."""

from datetime import UTC, datetime

from _stage import aigq, reason
from airflow.sdk import DAG

with DAG(
    "hintq_promote",
    description="Makes a version that was made champion in MLflow a release, or puts it back",
    # MLflow's webhook starts a run at once; the schedule finds what was missed.
    schedule="*/5 * * * *",
    start_date=datetime(2017, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    tags=["aigq", "release"],
    doc_md=__doc__
    + """
What depends on the version is made anew for the day of the current release (u2q for aigq-direct,
x2q for aigq-think and hintq-ctr), the release is tried on a few users, and one ledger entry with
the verdict *promoted* makes it live. A version that is unknown or cannot be served is refused: the
alias goes back, and the version's tag `promotion` in MLflow says why.
Skipped: nobody asked for anything.
""",
    params={"reason": reason("poll")},
) as dag:
    aigq("promote", "promote")
