"""Rows of tables: what arms score, for a study and an ablation alike.

Scores are tables of arm, user_id, day and the metrics; where a truth has nothing of a user, a
metric is NaN and the user-day is not counted in it. Intervals are 95% bootstrap over users, all
days (and seeds) of a user together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.evaluation.truth import headed

# Of user-days. The first is known where the source knows the needs of its users.
METRICS = (
    *("needs_10", "query_hr_10", "query_hr_30", "cate_hr_30", "explored_hr_10", "exposed_hr_30"),
    *("unique_cates", "popular", "near_duplicates", "same_need"),
)
HOW_TO_READ = (
    "Query HR and Cate HR go by what was searched after the moment of the list; `explored_hr_10` "
    "is the share of explored clicks that the first ten held, weighted by the inverse of their "
    "chance to be shown; what is headed exposure-biased also counts clicks on what production "
    "chose. `needs_10` is the expected number of distinct needs that the first ten meet and "
    "`same_need` the share of them that name a need again, as the source itself knows them, which "
    "no model sees; `popular` is the share in the global top 30, `near_duplicates` the share like "
    "one above."
)


def level(scores: pd.DataFrame, metrics: Sequence[str], seed: int) -> dict[str, str]:
    """Heading -> mean [95% interval] of each metric; "-" where nobody knows it. scores: of one
    arm."""
    row = {}
    for metric in metrics:
        known = scores[scores[metric].notna()]
        row[headed(metric)] = "-"
        if len(known):
            values = known[metric].to_numpy(np.float64)
            row[headed(metric)] = str(
                bootstrap_mean_ci(values, known["user_id"].tolist(), seed=seed)
            )
    return row


def change(after: pd.Series, before: pd.Series, users: Sequence[str], seed: int) -> str:
    """The mean before, and the paired change; "-" where nobody knows the metric."""
    if before.empty:
        return "-"
    now, was = (values.to_numpy(np.float64) for values in (after, before))
    mean = bootstrap_mean_ci(was, users, seed=seed).mean
    found = paired_bootstrap(now, was, users, seed=seed)
    return f"{mean:.3f} {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def distinct(variety: pd.DataFrame, arm: str) -> str:
    """How many different queries the first tens of all users hold, in the mean over days and
    seeds. variety: of `evaluation.variety.distinct_queries`."""
    own = variety.loc[variety["arm"] == arm, "distinct_queries"]
    return f"{own.mean():.0f}" if len(own) else "-"
