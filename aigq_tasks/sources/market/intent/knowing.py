"""Who knows what at a request: rankers of needs that see more or less of the log, for the card.

All are gradient-boosted trees fitted on the same earlier requests to what a perfect hint would be
clicked with, so they differ in what they see and not in how they learn. The oracle sees all of it
and the tables behind R2 and R3, but not what comes. The click model sees the log, and learns from
the clicks on pages that were shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.belonging import belonging, half_of
from aigq_tasks.sources.market.intent.draws import Floats
from aigq_tasks.sources.market.intent.past import Counts, Shopper, Singles
from aigq_tasks.sources.market.intent.rules import KNOWN_NEEDS, SHARPNESS

if TYPE_CHECKING:
    from lightgbm import Booster

RECENT = 2.0  # days within which an earlier look still tells something
COLUMNS = (
    *("popular", "typed_share"),
    *("own_typed", "own_seen", "since", "due"),
    *("looked_hours", "steps", "after_last", "after_before", "near_mean", "near_looks"),
    *("rule_last", "rule_most", "rule_pmi"),
)
SEES: Mapping[str, tuple[str, ...]] = {
    "popularity": COLUMNS[:1],
    "own history": COLUMNS[2:6],
    "last behaviours": COLUMNS[6:12],
    "click model": COLUMNS[:12],
    "oracle": COLUMNS,
}
_TREES, _LEAVES = 120, 15


@dataclass(frozen=True)
class Log:
    """What the log before a period says of all needs, (known,) or (known, known)."""

    popular: Singles
    typed_share: Singles
    after: Singles
    near: Singles

    @classmethod
    def of(cls, counts: Counts) -> "Log":
        """Smoothed, as logarithms where it is a count."""
        share = (counts.typed + 1) / (counts.seen + 5)
        return cls(
            np.log1p(counts.typed).astype(np.float32),
            share.astype(np.float32),
            counts.lift(counts.after, 30.0),
            counts.lift(counts.near, 60.0),
        )


def features(
    log: Log, shopper: Shopper, household: int, now: float, done: Sequence[int]
) -> Singles:
    """All that can be known of each need at a request, (known, columns). now: days since the epoch;
    done: known needs of this session, in the order of time."""
    table = np.zeros((KNOWN_NEEDS, len(COLUMNS)), np.float32)
    since = now - shopper.last
    gap = np.where(
        shopper.seen > 1, (shopper.last - shopper.first) / np.maximum(shopper.seen - 1, 1), 400.0
    )
    table[:, 0], table[:, 1] = log.popular, log.typed_share
    table[:, 2], table[:, 3] = shopper.typed, shopper.seen
    table[:, 4], table[:, 5] = np.clip(since, 0, 400), np.clip(since, 0, 400) / np.maximum(gap, 1.0)
    table[:, 6], table[:, 7] = np.minimum((now - shopper.looked) * 24, 999), len(done)
    looks = np.flatnonzero(now - shopper.looked < RECENT)
    if len(looks):
        table[:, 11] = log.near[looks[-8:]].max(axis=0)
    if done:
        table[:, 8] = log.after[done[-1]]
        table[:, 9] = log.after[done[-2]] if len(done) > 1 else 0.0
        table[:, 10] = log.near[done[-5:]].mean(axis=0)
        _add_rules(table, household, done)
    return table


def _add_rules(table: Singles, household: int, done: Sequence[int]) -> None:
    """The tables of the shopper's half behind R2 and R3, from the last three steps."""
    pmi = belonging(int(half_of(household))).pmi
    table[:, 12] = np.exp(SHARPNESS * pmi[done[-1]])
    table[:, 13] = np.exp(SHARPNESS * pmi[list(done[-3:])]).max(axis=0)
    table[:, 14] = pmi[done[-1]]


def fitted(rows: Singles, target: Floats, sees: Sequence[str]) -> "Booster":
    """A ranker of the columns that it sees. target: in [0, 1], (n,)."""
    import lightgbm

    parameters = {
        "objective": "cross_entropy",
        "num_leaves": _LEAVES,
        "learning_rate": 0.08,
        "min_data_in_leaf": min(200, max(5, len(rows) // 50)),
        "lambda_l2": 5.0,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(rows[:, columns_of(sees)], target)
    return lightgbm.train(parameters, data, _TREES)


def scores(model: "Booster", rows: Singles, sees: Sequence[str]) -> Floats:
    """(n,): higher is better."""
    found: Floats = np.asarray(model.predict(rows[:, columns_of(sees)], num_threads=1))
    return found


def columns_of(sees: Sequence[str]) -> list[int]:
    """Where the columns stand."""
    return [COLUMNS.index(name) for name in sees]


def auc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """P(a positive stands above a negative), ties count half; NaN without one of either."""
    ones, n = int(positive.sum()), len(score)
    if ones in (0, n):
        return float("nan")
    order = np.argsort(score, kind="stable")
    _, first, count = np.unique(score[order], return_index=True, return_counts=True)
    middle = np.repeat(first + (count + 1) / 2, count)  # mean rank of what is tied, from 1 on
    above = middle[positive[order]].sum() - ones * (ones + 1) / 2
    return float(above / (ones * (n - ones)))
