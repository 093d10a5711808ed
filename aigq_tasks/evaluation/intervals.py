"""Percentile bootstrap over users.

The days of one user are not independent, so users are drawn, never user-days: a resample takes as
many users as there are, with replacement, and all user-days of each (cluster bootstrap; Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8, 13 and 16).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aigq_tasks.errors import AigqError

Values = npt.NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 2_000_000  # draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """Mean of user-day values with its confidence limits, and the number of users behind it."""

    mean: float
    low: float
    high: float
    users: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PairedDifference:
    """Challenger minus champion on the same user-days.

    `p_value` is one-sided: small where the challenger's mean is the higher one beyond chance.
    """

    mean: float
    low: float
    high: float
    p_value: float
    users: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def bootstrap_mean_ci(
    values: npt.ArrayLike,
    users: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean of `values` (n,), one per user-day, and its two-sided 95 % percentile interval.

    `users` (n,) names the user of each value; None: every value is another user's. One user alone
    gives an interval of no width, which says nothing: look at `users` of the result.
    Raises AigqError without values or with a value that is not finite.
    """
    observed = _checked(values)
    means, n_users = _resampled_means(observed, users, resamples, seed)
    low, high = limits(means)
    return Interval(float(observed.mean()), low, high, n_users)


def paired_bootstrap(
    challenger: npt.ArrayLike,
    champion: npt.ArrayLike,
    users: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Mean difference challenger - champion over the same user-days, both (n,) and in one order.

    p = (1 + number of resampled means <= 0) / (1 + resamples).
    Raises AigqError as `bootstrap_mean_ci` does, and when the two do not pair up.
    """
    first, second = _checked(challenger), _checked(champion)
    if len(first) != len(second):
        raise AigqError(
            f"challenger has {len(first)} user-days and champion {len(second)}; "
            "score both on the same truth"
        )
    difference = first - second
    means, n_users = _resampled_means(difference, users, resamples, seed)
    low, high = limits(means)
    p_value = (1 + int((means <= 0).sum())) / (1 + resamples)
    return PairedDifference(float(difference.mean()), low, high, p_value, n_users)


def _checked(values: npt.ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise AigqError(
            "no user-days to estimate from; choose a day on which users searched or clicked"
        )
    if not np.isfinite(array).all():
        raise AigqError("a metric has values that are not finite; check the stage that made them")
    return array


def _resampled_means(
    values: Values, users: Sequence[str] | None, resamples: int, seed: int
) -> tuple[Values, int]:
    """Means (resamples,) of the values of users drawn with replacement, and the user count."""
    if users is None:
        sums, counts = values, np.ones_like(values)
    else:
        if len(users) != len(values):
            raise AigqError(f"{len(values)} values for {len(users)} users; name one per value")
        _, cluster = np.unique(np.asarray(users, dtype=str), return_inverse=True)
        sums = np.bincount(cluster, weights=values).astype(np.float64)
        counts = np.bincount(cluster).astype(np.float64)
    drawn = drawn_sums(np.stack([sums, counts], axis=1), seed, resamples)
    return drawn[:, 0] / drawn[:, 1], len(sums)


def drawn_sums(sums: Values, seed: int, resamples: int) -> Values:
    """Sums (clusters, columns) -> their totals (resamples, columns) over as many clusters, drawn
    with replacement."""
    n = len(sums)
    rng = np.random.default_rng(seed)
    totals = np.empty((resamples, sums.shape[1]))
    block = max(1, _BLOCK // n)
    for start in range(0, resamples, block):
        drawn = rng.integers(0, n, size=(min(block, resamples - start), n))
        for column, own in enumerate(sums.T):
            totals[start : start + len(drawn), column] = own[drawn].sum(axis=1)
    return totals


def limits(means: Values) -> tuple[float, float]:
    """The two-sided 95% percentile limits of resampled means."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
