"""Stage `logs`: land one day of the canonical event log from its source.

On a day that a release serves, the source's requests are answered as that release would have, each
with what had happened before its second: exposures, propensities and clicks are logged together
with the features that the click model saw at that second (logged at serving time, so training and
serving can never disagree).
"""

from collections.abc import Mapping
from datetime import date

import pandas as pd

from aigq_tasks.logs.schema import REFERS_TO, SCHEMAS, empty
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.pipeline.calendar import eve, is_served, landed_from
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import LOGS as NAME
from aigq_tasks.pipeline.reads import Landing, ReleaseId, Result
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import Candidates, Exposure
from aigq_tasks.serving.requests import answering
from aigq_tasks.serving.stack import STACK_READS, stack_of

LATE = "late_next_day"  # clicks on the day's hints that the next day's log will hold


class LandSlice(Slice):
    """seed: of the draws of what is shown."""

    seed: int
    candidates: Candidates
    exposure: Exposure
    own_brand: tuple[str, ...]


def compute(given: Given, settings: LandSlice, day: date) -> Output:
    """The day's tables, quarantined rows aside."""
    serve, shown_before = None, empty("hint_impressions")
    if is_hinted(given):
        stack = stack_of(given, day, settings.candidates, settings.own_brand)
        serve = answering(stack, given.release_id(), settings.exposure, settings.seed)
        shown_before = given.logs("before")["hint_impressions"]
    landed = given.source().land(day, serve)
    if serve:
        late = [landed.pop("late_clicks", empty("late_clicks")), _late(given)]
        landed["late_clicks"] = pd.concat([rows for rows in late if len(rows)] or late[:1])
    return checked_log(landed, day, shown_before)


def is_hinted(given: Given) -> bool:
    """Whether a release answers the day's requests."""
    return given.released("recall")


def _late(given: Given) -> pd.DataFrame:
    """Clicks on yesterday's hints that arrived after midnight: part of this day's log."""
    yesterday = given.result("yesterday")
    if not yesterday.has(f"{LATE}.parquet"):
        return empty("late_clicks")
    return yesterday.table(LATE)


def checked_log(
    landed: Mapping[str, pd.DataFrame], day: date, shown_before: pd.DataFrame
) -> Output:
    """The day's log as it is stored: the good rows of each table, beside them the others with
    their reasons (`quarantine/`), and how many there are of each. No row is lost.

    landed: table -> rows; what the contract does not name is stored as it is. shown_before:
    impressions of earlier days.
    """
    tables = {name: rows for name, rows in landed.items() if name not in SCHEMAS}
    metrics: dict[str, float | str] = {}
    quarantine: dict[str, dict[str, int]] = {}
    good: dict[str, pd.DataFrame] = {}
    for name in sorted(landed.keys() & SCHEMAS.keys(), key=lambda name: (name in REFERS_TO, name)):
        known = None
        if name in REFERS_TO:
            shown = [shown_before, good.get("hint_impressions", empty("hint_impressions"))]
            known = pd.concat(shown) if name == "late_clicks" else good["searches"]
        checked = check_rows(name, landed[name], day, known)
        good[name] = checked.good
        metrics[f"rows_{name}"] = float(len(checked.good))
        metrics[f"quarantined_{name}"] = float(len(checked.bad))
        if len(checked.bad):
            tables[f"quarantine/{name}"] = checked.bad
            quarantine[name] = checked.reasons
            for reason, rows in checked.reasons.items():
                metrics[f"quarantined_{name}/{reason}"] = float(rows)
    clicked = good.get("hint_impressions", empty("hint_impressions"))["clicked"]
    if len(clicked):
        metrics["clicks"] = float(clicked.sum())
        metrics["ctr"] = round(float(clicked.mean()), 6)
    return Output(tables=tables | good, records={"quarantine.json": quarantine}, metrics=metrics)


LOGS = Stage(
    name=NAME,
    needs=("s3", "mlflow"),
    reads=(
        Landing(landed_from),
        ReleaseId(),
        *STACK_READS,
        Result(NAME, eve, when=is_served, key="yesterday"),
    ),
    settings=lambda settings: LandSlice(
        seed=settings.seed,
        candidates=settings.recall.candidates,
        exposure=settings.exposure,
        own_brand=settings.ctr.own_brand,
    ),
    compute=compute,
)
