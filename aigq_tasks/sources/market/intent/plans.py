"""What each session of a day is about: visits, and the looks before them (R4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.belonging import belonging, half_of
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, log_normal, uniform
from aigq_tasks.sources.market.intent.items import usual_products
from aigq_tasks.sources.market.intent.rules import (
    DECOYS,
    EARLIER_HOURS,
    LONGEST_LOOK,
    LOOK_HOURS,
    LOOK_SIGMA,
    LOOK_TYPED,
    LOOKED_AGAIN,
    LOOKS_DAYS,
    SHORTEST_LOOK,
)
from aigq_tasks.sources.market.intent.visits import Visit, visits_between

VISIT, LOOK, EARLIER_LOOK = range(3)  # what a session is; its number is 4 · basket + this


@dataclass(frozen=True)
class Plan:
    """A session before anything of it happens. moment: when a visit is paid, when a look begins.
    By need: the product that is looked at, what is paid for it (0 in a look), and the
    chance that it is typed."""

    number: int
    household: int
    moment: np.datetime64
    needs: NDArray[np.int64]
    products: NDArray[np.int64]
    paid: Floats
    typed: Floats

    @property
    def looking(self) -> bool:
        """Nothing is bought."""
        return self.number % 4 != VISIT


def plans_of(day: date, config: IntentConfig, seed: int) -> list[Plan]:
    """All sessions of a day: its visits, and the looks of visits up to LOOKS_DAYS later."""
    start = np.datetime64(day, "us")
    end = start + np.timedelta64(1, "D")
    plans = []
    for visit in visits_between(day, day + timedelta(days=LOOKS_DAYS), config, seed):
        if visit.paid < end:
            plans.append(_visit(visit))
        if visit.considered.any():
            plans += [look for look in looks_of(visit, seed) if start <= look.moment < end]
    return plans


def _visit(visit: Visit) -> Plan:
    return Plan(
        4 * visit.basket + VISIT,
        visit.household,
        visit.paid,
        visit.needs,
        visit.products,
        visit.paid_values,
        visit.typed,
    )


def looks_of(visit: Visit, seed: int) -> Iterator[Plan]:
    """R4: the look before a visit, and the one before that at some of its needs."""
    own = visit.considered
    decoys = decoys_of(visit, seed)
    usual = [usual_products().pick(need, _key(visit, need, seed)) for need in decoys]
    needs = np.concatenate([visit.needs[own], np.array(decoys, np.int64)])
    products = np.concatenate([visit.products[own], np.array([u.product for u in usual], np.int64)])
    draws = uniform(seed, Purpose.LOOK, visit.basket, np.array([LOOK, EARLIER_LOOK]))
    before, earlier = (
        np.clip(log_normal(draws[i : i + 1], hours, LOOK_SIGMA), SHORTEST_LOOK, LONGEST_LOOK)[0]
        for i, hours in enumerate((LOOK_HOURS, EARLIER_HOURS))
    )
    again = uniform(seed, Purpose.AGAIN, visit.basket, needs) < LOOKED_AGAIN
    for kind, hours, which in (
        (LOOK, before, np.ones(len(needs), bool)),
        (EARLIER_LOOK, before + earlier, again),
    ):
        if which.any():
            yield Plan(
                4 * visit.basket + kind,
                visit.household,
                visit.paid - np.timedelta64(int(hours * 3600), "s"),
                needs[which],
                products[which],
                np.zeros(int(which.sum())),
                np.full(int(which.sum()), LOOK_TYPED),
            )


def decoys_of(visit: Visit, seed: int) -> list[int]:
    """Needs that are looked at beside the considered ones and never bought: DECOYS neighbours of
    each that are not in the basket. A few find none."""
    table = belonging(int(half_of(visit.household)))
    taken = set(visit.needs.tolist())
    found = []
    for need in visit.needs[visit.considered].tolist():
        for nth in range(DECOYS):
            draws = uniform(seed, Purpose.DECOY, visit.basket, need, nth, np.arange(8)).tolist()
            options = (table.neighbour(need, draw) for draw in draws)
            decoy = next((other for other in options if other >= 0 and other not in taken), None)
            if decoy is not None:
                taken.add(decoy)
                found.append(decoy)
    return found


def _key(visit: Visit, need: int, seed: int) -> float:
    return float(uniform(seed, Purpose.ITEM, visit.basket, need))
