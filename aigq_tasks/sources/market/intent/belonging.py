"""What belongs together (R2, R3): from the baskets of the other half of the households.

No model can learn these tables from a shopper's own half, and they are the market's alone.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, uniform
from aigq_tasks.sources.market.intent.rules import KNOWN_NEEDS, NEIGHBOURS, SHARPNESS, SMOOTHING

_FIXED = 0  # who belongs to which half is the same in every market


@dataclass(frozen=True)
class Belonging:
    """pmi: PMI+ (known, known), 0 on the diagonal; row: need -> its row there, -1 for a need that
    is not among the KNOWN_NEEDS commonest. neighbours: needs (known, NEIGHBOURS), the strongest
    first; reach: their cumulated shares by exp(SHARPNESS · PMI+), 1 in the last column."""

    row: NDArray[np.int64]
    pmi: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    reach: Floats

    def between(self, needs: NDArray[np.int64]) -> NDArray[np.float32]:
        """PMI+ (n, n) of some needs; 0 with one that is not known."""
        rows = self.row[needs]
        known = rows >= 0
        table = self.pmi[np.ix_(rows, rows)]
        return np.where(known[:, None] & known, table, np.float32(0))

    def neighbour(self, need: int, draw: float) -> int:
        """R3: where a uniform draw leads to from a need; -1 from one that is not known."""
        row = self.row[need]
        if row < 0:
            return -1
        place = int(np.searchsorted(self.reach[row], draw, side="right"))
        return int(self.neighbours[row, min(place, NEIGHBOURS - 1)])


def half_of(households: "NDArray[np.int64] | int") -> NDArray[np.int64]:
    """0 or 1, the half of the households that each is in."""
    return (uniform(_FIXED, Purpose.HALF, households) < 0.5).astype(np.int64)


@cache
def belonging(half: int) -> Belonging:
    """For the households of a half, learned from the other."""
    catalogue = load_catalogue()
    common = np.argsort(-catalogue.needs["baskets"].to_numpy(), kind="stable")[:KNOWN_NEEDS]
    row = np.full(len(catalogue.needs), -1)
    row[common] = np.arange(len(common))
    lines = catalogue.lines
    others = half_of(lines["household_id"].to_numpy(np.int64)) != half
    rows = row[lines["need"].to_numpy()[others]]
    pmi = pmi_plus(rows, pd.factorize(lines["basket_id"][others])[0], len(common))
    neighbours, reach = neighbourhoods(pmi)
    return Belonging(row, pmi, common[neighbours], reach)


def pmi_plus(
    rows: NDArray[np.int64], baskets: NDArray[np.int64], known: int
) -> NDArray[np.float32]:
    """max(0, ln((c + 5) / (e + 5))) of pairs of needs, (known, known), 0 on the diagonal: c baskets
    hold both, e = c_a · c_b / baskets is what chance would give. rows: need of each line, -1 for
    one that does not count; baskets: whose it is, numbered from 0."""
    kept, count = rows >= 0, int(baskets.max()) + 1
    ones = np.ones(int(kept.sum()), np.float32)
    held = sparse.csr_matrix((ones, (baskets[kept], rows[kept])), shape=(count, known))
    both = (held.T @ held).toarray()
    alone = both.diagonal().copy()
    expected = np.outer(alone, alone) / np.float32(count)
    table = np.maximum(np.log((both + SMOOTHING) / (expected + SMOOTHING)), 0)
    np.fill_diagonal(table, 0)
    return np.asarray(table, np.float32)


def neighbourhoods(pmi: NDArray[np.float32]) -> tuple[NDArray[np.int64], Floats]:
    """Of each row its NEIGHBOURS strongest others, ties by number, and their cumulated shares."""
    weights = pmi.astype(np.float64)
    np.fill_diagonal(weights, -np.inf)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :NEIGHBOURS]
    share = np.exp(SHARPNESS * np.take_along_axis(weights, order, axis=1))
    reach = np.cumsum(share, axis=1)
    return order, reach / reach[:, -1:]
