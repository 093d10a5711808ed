"""The arms day by day, as the demo shows them: who hits what shoppers asked for, how surely."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from aigq_tasks.evaluation.charts import lines_over_days
from aigq_tasks.evaluation.intervals import (
    Interval,
    PairedDifference,
    bootstrap_mean_ci,
    paired_bootstrap,
)
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
from aigq_tasks.stages.evaluate import INTERLEAVED, WITHOUT_AIGQ
from aigq_tasks.storage.ledger import Entry

METRIC, HEADING = "query_hr_30", "Query HR@30"
# The policy that served, the one that never saw a reward, and what needs no language model.
ARMS = {
    "champion": "champion",
    "sft": "IL-SFT",
    INTERLEAVED: "by turns",  # own history and popularity
    WITHOUT_AIGQ: "no AIGQ",
    "own_history": "own history",
    "popularity": "popularity",
}


class DayOfArm(NamedTuple):
    """day: ISO. arm: as people are told it."""

    day: str
    arm: str
    interval: Interval


def arms_by_day(ctx: Context, entries: Sequence[Entry]) -> list[DayOfArm]:
    """METRIC of each of the ARMS on each released day: mean and 95% interval over users."""
    return [
        DayOfArm(
            entry.day.isoformat(),
            heading,
            bootstrap_mean_ci(of_arm[METRIC], of_arm["user_id"].tolist(), seed=ctx.settings.seed),
        )
        for entry in entries
        for scores in [_scores(ctx, entry)]
        for arm, heading in ARMS.items()
        if len(of_arm := scores[scores["arm"] == arm])
    ]


def chart(points: Sequence[DayOfArm], title: str) -> bytes:
    """The same as a PNG: one line per arm."""
    lines: dict[str, dict[str, Interval]] = {}
    for point in points:
        lines.setdefault(point.arm, {})[point.day] = point.interval
    return lines_over_days(lines, title=title, ylabel=HEADING)


def worth(ctx: Context, entries: Sequence[Entry]) -> PairedDifference:
    """METRIC of the champion minus that of IL-SFT over all the days, paired by user and day."""
    scores = pd.concat(
        [_scores(ctx, entry).assign(day=entry.day.isoformat()) for entry in entries]
    ).sort_values(["day", "user_id"])
    champion, sft = (scores[scores["arm"] == arm] for arm in ("champion", "sft"))
    return paired_bootstrap(
        champion[METRIC].to_numpy(float),
        sft[METRIC].to_numpy(float),
        champion["user_id"].tolist(),
        seed=ctx.settings.seed,
    )


def _scores(ctx: Context, entry: Entry) -> pd.DataFrame:
    """Of those who searched: nobody knows what a list was worth to the others."""
    scores = table(ctx, ctx.manifests.get(entry.manifests["evaluate"]), "scores")
    return scores[scores[METRIC].notna()]
