"""What an A/B test reads from the logs of its arms (paper 5.4, Table 3 and Fig. 3).

The arms answer the same requests of the same users, so everything is paired: a resample draws
clusters of users (households), with all their days under both arms. A ratio such as UCTR is the
ratio of two sums, never a mean of ratios.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import RESAMPLES, drawn_sums, limits

Sums = npt.NDArray[np.float64]
USER_DAY = ["day", "user_id"]
PLANTED = 0.05  # an effect on UCTR that a test must find
# Name of a ratio -> (what is counted, of how many): columns of `user_days`.
RATIOS: Mapping[str, tuple[str, str]] = {
    "UCTR": ("clicking", "exposed"),
    "clicks per request": ("clicks", "requests"),
}


@dataclass(frozen=True)
class Change:
    """A ratio under an arm, and relative to the control: 0.05 is 5% more. low, high: its 95%
    limits over clusters. clusters: how many there are."""

    ratio: float
    mean: float
    low: float
    high: float
    clusters: int

    def __str__(self) -> str:
        return f"{self.mean:+.2%} [{self.low:+.2%}, {self.high:+.2%}]"


def user_days(shown: pd.DataFrame) -> pd.DataFrame:
    """One row per user and day with a request, sorted: day (ISO), user_id, exposed (1.0),
    clicking (1.0 where any hint of the day was clicked, however late), requests, clicks.

    shown: hint_impressions of all days of an arm, `with_late_clicks`.
    """
    hints = shown.assign(day=shown["time"].dt.strftime("%Y-%m-%d"))
    table = hints.groupby(USER_DAY, as_index=False).agg(
        requests=("request_id", "nunique"), clicks=("clicked", "sum")
    )
    table = table.assign(exposed=1.0, clicking=(table["clicks"] > 0).astype(float))
    kinds = {"requests": "float64", "clicks": "float64"}
    return table.astype(kinds).sort_values(USER_DAY, ignore_index=True)


def paired(arm: pd.DataFrame, control: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of `user_days` over the user-days of either, 0 where one has none: a click under
    one arm may spare that user a later request."""
    keys = pd.MultiIndex.from_frame(pd.concat([arm[USER_DAY], control[USER_DAY]]).drop_duplicates())
    keys = keys.sort_values()
    first, second = (
        own.set_index(USER_DAY).reindex(keys, fill_value=0.0).reset_index()
        for own in (arm, control)
    )
    return first, second


def change(
    arm: pd.DataFrame, control: pd.DataFrame, ratio: str, clusters: Sequence[str], seed: int
) -> Change:
    """The ratio (of RATIOS) under an arm, relative to the control.

    arm, control: of `paired`. clusters: whose each row is. AigqError where the control has no
    clicks at all: nothing is relative to that.
    """
    over, under = RATIOS[ratio]
    sums = _cluster_sums([arm[over], arm[under], control[over], control[under]], clusters)
    observed = sums.sum(axis=0)
    if observed[2] == 0:
        raise AigqError(
            f"nothing was clicked under the control, so {ratio} has nothing to be compared with: "
            "take more days or more households"
        )
    drawn = drawn_sums(sums, seed, RESAMPLES)
    # A resample without a click under the control says nothing.
    low, high = limits(_relative(drawn[drawn[:, 2] > 0]))
    own = float(observed[0] / observed[1]) if observed[1] else 0.0
    return Change(own, float(_relative(observed[None])[0]), low, high, len(sums))


def headroom(
    arm: pd.DataFrame,
    control: pd.DataFrame,
    oracle: pd.DataFrame,
    clusters: Sequence[str],
    seed: int,
) -> Change:
    """The share of what the oracle wins over the control in UCTR that an arm wins: (arm − control)
    / (oracle − control). All three over the same rows."""
    over, under = RATIOS["UCTR"]
    columns = [table[name] for table in (arm, control, oracle) for name in (over, under)]
    sums = _cluster_sums(columns, clusters)

    def share(totals: Sums) -> Sums:
        own, base, best = (totals[:, n] / totals[:, n + 1] for n in (0, 2, 4))
        closed: Sums = (own - base) / (best - base)
        return closed

    observed = sums.sum(axis=0)[None]
    low, high = limits(share(drawn_sums(sums, seed, RESAMPLES)))
    ratio = float(observed[0, 0] / observed[0, 1])
    return Change(ratio, float(share(observed)[0]), low, high, len(sums))


@dataclass(frozen=True)
class SelfTest:
    """Of two equal arms. covering: of how many re-draws in `redraws` the interval of UCTR's change
    covers 0; a sound one does in about 95 of 100. found: the change against the same arm of which
    PLANTED was taken away."""

    covering: int
    redraws: int
    found: Change


def self_test(
    arm: pd.DataFrame, control: pd.DataFrame, clusters: Sequence[str], seed: int, redraws: int = 100
) -> SelfTest:
    """Whether the intervals of a test can be trusted, from an A/A's own rows (of `paired`).

    Equal arms may change places household by household: each re-draw is another A/A over the same
    visits, with the days of a household as alike as they are. To see that an effect would be
    found, a clicking user-day of the control loses its clicks with such a chance that the arm
    stands PLANTED above it."""
    rng = np.random.default_rng(seed)
    covering = 0
    for number in range(redraws):
        told = change(*swapped(arm, control, clusters, rng), "UCTR", clusters, seed + number)
        covering += told.low <= 0.0 <= told.high
    poorer = control.assign(
        clicking=control["clicking"] * (rng.random(len(control)) < 1 / (1 + PLANTED))
    )
    return SelfTest(covering, redraws, change(arm, poorer, "UCTR", clusters, seed))


def swapped(
    arm: pd.DataFrame, control: pd.DataFrame, clusters: Sequence[str], rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with the rows of every other cluster or so exchanged, each with chance 1/2."""
    names, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    exchanged = (rng.random(len(names)) < 0.5)[cluster][:, None]
    first = pd.DataFrame(np.where(exchanged, control, arm), columns=arm.columns)
    second = pd.DataFrame(np.where(exchanged, arm, control), columns=arm.columns)
    return first.astype(arm.dtypes.to_dict()), second.astype(arm.dtypes.to_dict())


def _relative(totals: Sums) -> Sums:
    """Totals (n, 4): counted and of how many, of the arm and of the control -> (n,)."""
    change: Sums = (totals[:, 0] / totals[:, 1]) / (totals[:, 2] / totals[:, 3]) - 1.0
    return change


def _cluster_sums(columns: Sequence["pd.Series[float]"], clusters: Sequence[str]) -> Sums:
    """The columns (n,) summed by cluster: (clusters, columns)."""
    _, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.stack([np.bincount(cluster, weights=own.to_numpy(float)) for own in columns], axis=1)


def sources(
    shown: pd.DataFrame, classify: Callable[[Sequence[str]], Sequence[str]]
) -> pd.DataFrame:
    """One row per source, by name: source, pvr (its share of exposures), ctr, unique_queries and
    unique_categories (leaf categories): those shown from it and from no other source.

    shown: as above. classify: queries -> leaf categories, "" for none.
    """
    queries = shown["query"].drop_duplicates().tolist()
    category = dict(zip(queries, classify(queries), strict=True))
    rows = shown.assign(category=shown["query"].map(category))
    table = rows.groupby("source", as_index=False).agg(
        pvr=("query", "size"), ctr=("clicked", "mean")
    )
    table["pvr"] = table["pvr"] / max(1, len(rows))
    for name, column in (("unique_queries", "query"), ("unique_categories", "category")):
        pairs = rows.loc[rows[column] != "", [column, "source"]].drop_duplicates()
        alone = pairs.drop_duplicates(column, keep=False)["source"].value_counts()
        table[name] = table["source"].map(alone).fillna(0).astype("int64")
    return table.sort_values("source", ignore_index=True)
