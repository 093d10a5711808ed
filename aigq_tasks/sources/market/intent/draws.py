"""Stable random numbers: every draw is a hash of the seed, its purpose and ids.

A household's habits, its order of things and its clicks must not depend on which day is replayed,
in which order, or by whom: so there is no running generator, and two arms share their draws.
"""

from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


class Purpose(IntEnum):
    """What a draw is for; no two purposes share their numbers. Append only: a number that moves
    changes the market."""

    KEPT = auto()
    COLD = auto()
    HALF = auto()
    TYPED = auto()
    FIRST = auto()
    ORDER = auto()
    GO_ON = auto()
    NEIGHBOUR = auto()
    CURIOUS_BOUGHT = auto()
    CONSIDERED = auto()
    LOOK = auto()
    AGAIN = auto()
    DECOY = auto()
    GAP = auto()
    REQUEST = auto()
    OWN_WORDING = auto()
    HABIT = auto()
    OTHER_WORDING = auto()
    PARTS = auto()
    FOUND = auto()
    ITEM = auto()
    EXAMINE = auto()
    CLICK = auto()
    NOISE = auto()
    CLICK_TIME = auto()
    LATE = auto()
    LATER = auto()


def uniform(seed: int, purpose: Purpose, *keys: "NDArray[np.int64] | int") -> Floats:
    """Uniforms in [0, 1) from whole-number keys (splitmix64): float64, shape of the keys."""
    mixed = np.full(np.broadcast_shapes(*(np.shape(key) for key in keys)), seed, np.uint64)
    with np.errstate(over="ignore"):
        for key in (np.uint64(purpose), *keys):
            mixed = mixed ^ np.asarray(key).astype(np.uint64)
            mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def gumbel(draws: Floats) -> Floats:
    """Standard Gumbel quantiles: the largest of (log-weight + Gumbel) is a draw by weight."""
    noise: Floats = -np.log(-np.log(np.clip(draws, 1e-300, 1 - 1e-16)))
    return noise


def log_normal(draws: Floats, median: float, sigma: float) -> Floats:
    """Quantiles of LogN(ln median, sigma)."""
    found: Floats = median * np.exp(sigma * ndtri(np.clip(draws, 1e-16, 1 - 1e-16)))
    return found
