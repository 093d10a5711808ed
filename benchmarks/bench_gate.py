"""How often the gate stops a policy that loses slowly, and one that loses nothing.

    python benchmarks/bench_gate.py [--series 1000] [--loss 0.02 --loss 0] [--seed 0]

Days are simulated; the gate's own functions judge them: `paired_bootstrap` of challenger against
champion, as every day, and `against_anchors` over the pooled days. Each accepted update takes the
loss from the true hit rate, down to 0. A rejected one is thrown away, and the next day's starts
from the same champion.

What is drawn is fitted to what the demo measured. A policy hits a user-day when a normal variable
lies below the quantile of its hit rate. Most of the variable is the same for all policies, a share
is a policy's own; an update keeps part of it. So differences have the variance that
docs/results/demo.md has between IL-SFT and five days' challengers: 0.068 by all that was searched
or clicked, and 0.051 by what was searched. CORRELATION of either part is a user's own on all days:
the demo's hit rates have a design effect of 1.17 over five days.
"""

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from aigq_tasks.evaluation.anchors import Pool, against_anchors
from aigq_tasks.evaluation.config import GateLimits
from aigq_tasks.evaluation.intervals import paired_bootstrap

DAYS, WEEK = 30, 7
NEVER = DAYS + 1
CORRELATION = 0.2
USERS = 4  # for each user-day of a day
LIMITS = GateLimits()
Values = npt.NDArray[np.float64]


class Size(NamedTuple):
    """user_days: of a day. rate: of hits. own: share of the variance that is a policy's own.
    kept: correlation of that share with the same of the policy's parent."""

    user_days: int
    rate: float
    own: float
    kept: float


# The full demo and the small one, by all that was searched or clicked, and by what was searched.
SIZES = (
    Size(191, 0.62, 0.04, 0.75),
    Size(62, 0.62, 0.04, 0.75),
    Size(152, 0.26, 0.03, 0.70),
    Size(50, 0.26, 0.03, 0.70),
)


class Judged(NamedTuple):
    """A day of a series. champion: its number of updates before the day."""

    champion: int
    worse_than_champion: bool
    below_anchor: bool

    @property
    def accepted(self) -> bool:
        return not (self.worse_than_champion or self.below_anchor)


class Policies:
    """The policies of a series, by their number of updates, and whom they hit.

    own: number of updates -> what is the policy's own at each user, (users,).
    """

    def __init__(self, size: Size, loss: float, rng: np.random.Generator) -> None:
        self.size, self.loss, self.rng = size, loss, rng
        self.users = USERS * size.user_days
        self.common = rng.normal(size=self.users)
        self.own = {0: rng.normal(size=self.users)}

    def rate(self, updates: int) -> float:
        """The true hit rate."""
        return max(0.0, self.size.rate - updates * self.loss)

    def update(self, champion: int) -> int:
        """A new challenger, in place of one that was thrown away."""
        self.own[champion + 1] = self._wander(self.own[champion], 1)
        return champion + 1

    def hits(self, users: npt.NDArray[np.int64], updates: list[int]) -> dict[int, Values]:
        """Which user-days the policies hit, (user-days,) each; updates: in rising order."""
        day, n = self.rng.normal(size=len(users)), len(users)
        common = _mixed(self.common[users], day, CORRELATION)
        own, last, found = self.rng.normal(size=n), updates[0], {}
        for one in updates:
            own, last = self._wander(own, one - last), one
            mine = _mixed(self.own[one][users], own, CORRELATION)
            place = _mixed(mine, common, self.size.own)
            rate = self.rate(one)
            below = NormalDist().inv_cdf(rate) if rate > 0 else -np.inf
            found[one] = (place < below).astype(np.float64)
        return found

    def _wander(self, own: Values, updates: int) -> Values:
        kept = self.size.kept**updates
        return _mixed(own, self.rng.normal(size=len(own)), kept**2)


def _mixed(one: Values, other: Values, share: float) -> Values:
    """Two normal variables as one; share: of the first in its variance."""
    return np.sqrt(share) * one + np.sqrt(1 - share) * other


def days_of(size: Size, loss: float, seed: int, anchors: bool = True) -> Iterator[Judged]:
    """A series of days, judged one after the other. anchors: False for the daily test alone."""
    rng = np.random.default_rng(seed)
    policies = Policies(size, loss, rng)
    served: list[int] = []  # the champion of each day
    past: list[tuple[npt.NDArray[np.int64], Values, Values]] = []  # of served policies
    champion = 0
    for _ in range(DAYS):
        challenger = policies.update(champion)
        served.append(champion)
        week = served[max(0, len(served) - WEEK)] if len(served) >= WEEK else 0
        users = rng.choice(policies.users, size.user_days, replace=False)
        hits = policies.hits(users, sorted({0, week, champion, challenger}))
        worse = _worse(hits[challenger], hits[champion])
        today = (users, hits[challenger] - hits[0], hits[challenger] - hits[week])
        below = anchors and _below([*past, today])
        judged = Judged(champion, worse, below)
        yield judged
        if judged.accepted:
            champion = challenger
        past.append((users, hits[champion] - hits[0], hits[champion] - hits[week]))
        del past[: -(WEEK - 1)]


def _worse(challenger: Values, champion: Values) -> bool:
    """By the daily test, as `gates.decide` puts it."""
    difference = challenger - champion
    lost, gained = int((difference < 0).sum()), int((difference > 0).sum())
    high, mean = _difference(lost, gained, len(difference))
    return high < -LIMITS.margin or mean < -LIMITS.max_drop


@cache
def _difference(lost: int, gained: int, n: int) -> tuple[float, float]:
    """Upper limit and mean. Each user has one value a day, so their order tells nothing."""
    values = np.repeat([-1.0, 1.0, 0.0], [lost, gained, n - lost - gained])
    found = paired_bootstrap(values, np.zeros(n), seed=0, resamples=LIMITS.resamples)
    return found.high, found.mean


def _below(days: list[tuple[npt.NDArray[np.int64], Values, Values]]) -> bool:
    users = np.concatenate([day[0] for day in days])
    pools = [
        (anchor, Pool(np.concatenate([day[column] for day in days]), users.tolist(), len(days)))
        for column, anchor in ((1, "sft"), (2, "week ago"))
    ]
    found = against_anchors(pools, LIMITS.anchors, LIMITS.min_user_days)
    return any(one.below for one in found)


class Rates(NamedTuple):
    """Shares of the series, and the mean loss of the true hit rate after DAYS days."""

    passes_first: float
    accepted: float
    stopped_in_a_week: float
    by_anchor_in_a_week: float
    by_anchor: float
    lost: float
    lost_without: float


def rates(size: Size, loss: float, series: int, seed: int) -> Rates:
    """What becomes of many series of days with one loss."""
    rows = []
    for one in range(series):
        days = list(days_of(size, loss, seed + one))
        alone = list(days_of(size, loss, seed + one, anchors=False))
        rows.append(
            Rates(
                float(days[0].accepted),
                float(np.mean([day.accepted for day in days])),
                float(not all(day.accepted for day in days[:WEEK])),
                float(any(day.below_anchor for day in days[:WEEK])),
                float(any(day.below_anchor for day in days)),
                min(size.rate, loss * days[-1].champion),
                min(size.rate, loss * alone[-1].champion),
            )
        )
    return Rates(*np.mean(rows, axis=0))


def main(
    series: Annotated[int, typer.Option(help="Series of days of each size and loss.")] = 1000,
    losses: Annotated[
        list[float] | None, typer.Option("--loss", help="True loss of HR@30 a day.")
    ] = None,
    seed: int = 0,
) -> None:
    """Simulate series of days at the sizes of the demo."""
    columns = ("day 1 accepted", "days accepted", "stopped in 7", "by anchor in 7")
    late = (f"by anchor in {DAYS}", f"lost in {DAYS}", "without anchors")
    table = Table("user-days", "HR@30", "loss a day", *columns, *late, box=None)
    for size in SIZES:
        for loss in losses or (0.0, 0.005, 0.01, 0.02):
            found = rates(size, loss, series, seed)
            table.add_row(
                str(size.user_days),
                f"{size.rate:.2f}",
                f"{loss:.3f}",
                *(f"{value:.3f}" for value in found),
            )
    Console(width=140).print(table)
    print(f"{series} series of {DAYS} days each; shares, but for what is lost of HR@30")


if __name__ == "__main__":
    typer.run(main)
