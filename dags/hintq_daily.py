"""The daily loop: `release(D) = f(last accepted release before D, logs up to and including D)`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from _alerts import on_deadline
from _approval import ask, required
from _stage import reason, setting, stage
from airflow.sdk import (
    DAG,
    Asset,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Metadata,
    Param,
    SyncCallback,
    TaskGroup,
)

DAY = "params.day or (data_interval_start | ds)"
UNLESS_FAILED = "none_failed_min_one_success"
ASK = required()
HOURS = float(setting("AIGQ_ALERTS__DEADLINE_HOURS", "6"))
# The ledger is what a release is. An S3 address, for lineage tools know what that is.
RELEASE = Asset(
    "aigq_release",
    uri=f"s3://{setting('AIGQ_S3__BUCKET', 'aigq')}/ledger",
    group="aigq",
    extra={"what": "release ledger: what serves the hints of each day"},
)


def describe_release(context: dict[str, Any], line: str) -> Iterator[Metadata]:
    """The facts that `publish` said last, with the event that tells others of the release."""
    try:
        said = json.loads(line)
        facts = {name: said[name] for name in ("number", "day", "verdict", "manifests")}
    except (ValueError, TypeError, KeyError):  # the release is out: never fail it for a line
        return
    yield Metadata(RELEASE, extra=facts)


with DAG(
    "hintq_daily",
    description="From one day's log to the release that serves the next day",
    # A data interval, not a bare trigger time: a run is *for* a day, and depends_on_past holds.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2017, 1, 1, tzinfo=UTC),
    catchup=False,
    # depends_on_past keeps the days in order, not this number: with 1, a day that waits for a
    # failed one would hold the place which the repair of that one needs.
    max_active_runs=16,
    max_active_tasks=2,
    tags=["aigq", "daily"],
    # Hours beyond the mean of the last runs: the dates of a replayed log lie years back, and
    # with DAGRUN_QUEUED_AT Airflow 3.3.2 cannot clear a run (its API answers 500).
    deadline=DeadlineAlert(
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
        interval=timedelta(hours=HOURS),
        callback=SyncCallback(on_deadline),
    )
    if HOURS
    else None,
    doc_md=__doc__
    + """
* **learn:** `logs` → `ctr`, `recall`, `samples` → `policy` → `evaluate` → `gate`: a candidate
  is trained and judged, beside `rivals`, which scores what it has to beat. `think_samples` →
  `think_policy`: on every fifth day (setting `think.update_days`) a candidate of AIGQ-Think too;
  on the others they are skipped.
* **release:** `u2q` → `servable` → `publish`: its queries are cached, the release is tried on a
  few users, and one ledger entry makes it live, or records why not. `x2q`: AIGQ-Think reasons
  over the day's users; what leads to what becomes an index of the release. `item_texts`: what
  shoppers call the items that are new in the log.
* **Approval** (setting `approval.required`): `comparison` → `approve` → `publish`. A person reads
  how the challenger compares and decides. Rejected, or not answered in time: `decline` writes a
  ledger entry that serves what was live. Backfills ask nobody.
* **Run for D** sees only events before the end of D. Its release serves D + 1.
* **Backfill:** reprocess *completed* or *failed*. The days run one after the other.
* **Again:** a stage whose inputs and settings did not change does nothing.
* **Failed day:** the days after it wait. Clear its failed task when the cause is mended; they
  then go on by themselves.
* **Manual trigger:** `day` names another day than the run's own.
""",
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="Run for this day of the log (empty: the day of the data interval).",
        ),
        "reason": reason("daily run"),
    },
) as dag:
    with TaskGroup("learn", prefix_group_id=False, tooltip="Train a candidate and judge it"):
        # Shoppers of D meet the release of D - 1, so this waits for all that follows it there.
        logs = stage("logs", command="logs", day=DAY, wait_for_downstream=True)
        ctr = stage("ctr", command="ctr", day=DAY)
        recall = stage("recall", command="recall", day=DAY)
        samples = stage("samples", command="samples", day=DAY)
        policy = stage("policy", command="policy", day=DAY, depends_on_past=True)
        think_samples = stage("think_samples", command="think-samples", day=DAY)
        think_policy = stage("think_policy", command="think-policy", day=DAY)
        rivals = stage("rivals", command="rivals", day=DAY)
        # AIGQ-Think's two are skipped on most days.
        evaluate = stage("evaluate", command="evaluate", day=DAY, trigger_rule=UNLESS_FAILED)
        gate = stage("gate", command="gate", day=DAY)
    with TaskGroup("release", prefix_group_id=False, tooltip="Cache the queries and go live"):
        u2q = stage("u2q", command="u2q", day=DAY)
        x2q = stage("x2q", command="x2q", day=DAY)
        item_texts = stage("item_texts", command="item-texts", day=DAY)
        servable = stage("servable", command="servable", day=DAY)
        publish = stage(
            "publish",
            command="publish",
            day=DAY,
            depends_on_past=True,
            # Where nobody is asked, `approve` is skipped.
            trigger_rule=UNLESS_FAILED if ASK else "all_success",
            outlets=RELEASE,
            post_execute=describe_release,
        )
        if ASK:
            ask(DAY, servable, publish)

    logs >> [ctr, recall, samples]
    [ctr, samples] >> policy
    logs >> think_samples
    [ctr, think_samples] >> think_policy
    ctr >> rivals
    [policy, think_policy, rivals] >> evaluate >> gate >> u2q
    ctr >> x2q
    logs >> item_texts
    [recall, u2q, x2q, item_texts] >> servable >> publish
    logs >> publish  # wait_for_downstream looks one arrow far: publish is what logs waits for
