"""Does a policy lie below a fixed anchor? What a day cannot tell, the pooled last days can.

A day's test lets a small loss pass on most days, and after a month of them the loss is large. So
the served policies are also held against anchors that do not move with them, over the user-days of
several days at once. That question is asked anew every day while the days add up, so the bound is
one that holds at all sizes of the pool at once: for differences d_1, d_2, ... with mean m, with
S_n their sum and V_n the variance of that sum,

    P(there is an n with S_n - n m >= u(V_n)) <= error,
    u(v) = sqrt(2 (v + rho) log(sqrt((v + rho) / rho) / (2 error) + 1))

(one-sided normal mixture boundary: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021, section 3.2). V_n is
estimated, with the days of one user as one observation, so it holds for large n
(Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 2024); a window that moves
on leaves it besides. `benchmarks/bench_gate.py` simulates what is left of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.config import AnchorLimits

Values = npt.NDArray[np.float64]

# Arms that policies are held against, as people are told them.
ANCHORS = {"sft": "IL-SFT", "week ago": "the release of a week ago"}
# rho, in squared hits. The bound is tightest at about ten times as much variance: seven days of 160
# user-days whose differences have a variance of 0.05. Twice or half as much costs it under 3 %.
MIXTURE = 6.0


@dataclass(frozen=True)
class Pool:
    """A policy's days beside an anchor.

    differences: policy minus anchor, (user-days,). users: whose user-day each is. days: how many
    there are of them.
    """

    differences: Values
    users: Sequence[str]
    days: int


@dataclass(frozen=True)
class Bounds:
    """Mean difference of a pool; each of low and high is beyond the true mean, at any size of the
    pool, with the probability `error` that it was made with."""

    mean: float
    low: float
    high: float
    user_days: int
    users: int
    days: int

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class AgainstAnchor:
    """anchor: its arm. users: of the pool. bounds: None where too few users tell. below: whether
    the policy lies below it."""

    anchor: str
    users: int
    bounds: Bounds | None
    below: bool


def boundary(variance: float, error: float, mixture: float = MIXTURE) -> float:
    """u(v) of the module: how far a sum of that variance strays from its mean, at any time, but
    for a share `error` of the sums."""
    spread = variance + mixture
    return float(np.sqrt(2 * spread * np.log(np.sqrt(spread / mixture) / (2 * error) + 1)))


def bounds(pool: Pool, error: float) -> Bounds:
    """The mean difference of a pool with its limits. AigqError without a user-day, or when the
    users are not those of the differences."""
    mean, variance, users = _moments(pool)
    n = len(pool.differences)
    margin = boundary(variance, error) / n
    return Bounds(mean, mean - margin, mean + margin, n, users, pool.days)


def against_anchors(
    pools: Sequence[tuple[str, Pool]], limits: AnchorLimits, least_users: int
) -> list[AgainstAnchor]:
    """Whether a policy lies below each of the anchors: its upper bound below `-limits.margin`.
    `limits.error` is shared out over them; with fewer than `least_users` there is no answer, and
    nothing is below."""
    found = []
    for anchor, pool in pools:
        users = len(set(pool.users))
        made = bounds(pool, limits.error / len(pools)) if users >= max(1, least_users) else None
        below = made is not None and made.high < -limits.margin
        found.append(AgainstAnchor(anchor, users, made, below))
    return found


def best(pools: Sequence[tuple[str, Pool]]) -> str:
    """Which policy to go back to, by the differences of each to one and the same anchor: the
    highest mean less its standard error, so that what was seen on few days has to look better.
    Of equal ones the first. A pool of zeros is the anchor itself."""

    def worth(own: tuple[str, Pool]) -> float:
        mean, variance, _ = _moments(own[1])
        return mean - float(np.sqrt(variance)) / len(own[1].differences)

    return max(pools, key=worth)[0]


def _moments(pool: Pool) -> tuple[float, float, int]:
    """Mean of the differences, variance of their sum, number of users. All days of a user are one
    observation of the variance."""
    differences, n = np.asarray(pool.differences, dtype=np.float64), len(pool.differences)
    if n == 0 or len(pool.users) != n:
        raise AigqError(f"{n} differences of {len(pool.users)} user-days; name one user per value")
    mean = float(differences.mean())
    _, user = np.unique(np.asarray(pool.users), return_inverse=True)
    sums = np.bincount(user, weights=differences - mean)
    few = len(sums) / max(1, len(sums) - 1)
    return mean, few * float(sums @ sums), len(sums)
