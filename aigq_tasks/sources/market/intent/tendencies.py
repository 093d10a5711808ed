"""R1 and R4 on the lines of all baskets: how likely a need is typed, and thought over before."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.catalogue import Catalogue, load_catalogue
from aigq_tasks.sources.market.intent.draws import Floats
from aigq_tasks.sources.market.intent.rules import (
    CONSIDERED,
    CONSIDERED_ROUTINE,
    MOST_TYPED,
    RARITY,
    ROUTINE,
    ROUTINE_DAYS,
    TYPED,
)

_STEPS = 40  # of the bisection for a scale


@dataclass(frozen=True)
class Tendencies:
    """By line of the catalogue, float64 in [0, 1]: typed (R1) and considered (R4)."""

    typed: Floats
    considered: Floats


@cache
def tendencies() -> Tendencies:
    """Of all lines of the year, once per process."""
    catalogue = load_catalogue()
    idf = catalogue.idf[catalogue.lines["need"].to_numpy()]
    routine = had_lately(catalogue)
    return Tendencies(
        scaled(idf**RARITY * np.where(routine, ROUTINE, 1.0), MOST_TYPED, TYPED),
        scaled(idf * np.where(routine, CONSIDERED_ROUTINE, 1.0), 1.0, CONSIDERED),
    )


def scaled(weights: Floats, most: float, mean: float) -> Floats:
    """min(most, c · weights) with the c that gives it this mean, most > mean."""
    low, high = 0.0, most / float(weights[weights > 0].min())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if np.minimum(most, middle * weights).mean() < mean:
            low = middle
        else:
            high = middle
    return np.minimum(most, high * weights)


def had_lately(catalogue: Catalogue) -> NDArray[np.bool_]:
    """By line: whether the household bought the need within ROUTINE_DAYS before."""
    lines = catalogue.lines
    household, need = (lines[name].to_numpy(np.int64) for name in ("household_id", "need"))
    pair = household * len(catalogue.needs) + need
    order = np.argsort(pair, kind="stable")  # lines are in the order of time
    time = lines["time"].to_numpy()[order]
    lately = np.zeros(len(lines), bool)
    same = pair[order][1:] == pair[order][:-1]
    lately[order[1:]] = same & (np.diff(time) <= np.timedelta64(ROUTINE_DAYS, "D"))
    return lately
