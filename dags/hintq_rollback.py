"""Go back: serve again what an earlier release served."""

from _stage import aigq, reason
from airflow.sdk import DAG, Param

with DAG(
    "hintq_rollback",
    description="Serves again what an earlier release served; seconds, nothing is rebuilt",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["aigq", "release"],
    doc_md=__doc__
    + """
`aigq releases` lists them. The rollback is a ledger entry like any other: it says who and why,
and the next daily run goes on from the policy that is served then. Going forward again is a
rollback to the newer release.
""",
    params={
        "release": Param(
            None,
            type="integer",
            minimum=1,
            title="Release",
            description="Number of the release to serve again.",
        ),
        "reason": reason("rollback"),
    },
) as dag:
    aigq("rollback", "rollback --to {{ params.release }}")
