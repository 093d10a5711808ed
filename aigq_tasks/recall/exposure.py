"""From a ranking to hints on a page, with the exact propensity of each.

`expose` draws pages; `page_chances` says what another ranking would have put on a page as it is.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.recall.config import SLOTS, Exposure


def expose(
    ranking: pd.DataFrame, requests: pd.DataFrame, exposure: Exposure, seed: int
) -> pd.DataFrame:
    """Draw the SLOTS hints of every request, with the exact propensity of each.

    A request draws its exploring slot e uniformly. Slots are filled from the top:
    slot e uniformly from all of the request's candidates not yet shown, the others by Plackett-Luce
    (softmax of rank_score / temperature over those of the top_n not yet shown). Draws depend on
    (seed, request_id) alone, so other requests, their order, and the arm of an experiment do not
    change them.

    The page does not tell which slot explored, so the propensity of query q in slot j given the
    queries above it marginalises e:

        P(q | above) = Σ_e P(e | above) · P_e(q | above)
        P(e | above) ∝ Π_{i<j} P_e(q_i | above q_i)

    where P_e is uniform in slot e and Plackett-Luce elsewhere. Over all q it sums to 1, and the
    product of a page's propensities is the probability of that page.

    Args:
        ranking: request_id, rank, query, source, rank_score; with user_id in place of request_id
            it is that of all requests of a user.
        requests: request_id, user_id, time.

    Returns:
        request_id, user_id, time, position (1..SLOTS), query, source, rank_score, propensity,
        explored; in the order of `requests`, then position. A request with fewer candidates than
        slots gets as many rows.

    Raises:
        AigqError: a request that has no ranking.
    """
    by = "request_id" if "request_id" in ranking else "user_id"
    ranked = ranking[by].unique()
    ranked_row = pd.Index(ranked).get_indexer(pd.Index(requests[by]))
    if (ranked_row < 0).any():
        missing = requests[by].to_numpy()[ranked_row < 0][0]
        raise AigqError(f"{by} {missing} has no ranking; rank every request")
    rows = _grid(ranking[by], ranking["rank"], ranked)[ranked_row]
    scores = ranking["rank_score"].to_numpy(dtype=np.float64)[rows]
    uniforms = _uniforms(seed, requests["request_id"])
    slots = fill_slots(scores, rows >= 0, uniforms, exposure)
    request, slot = np.nonzero(slots.filled)  # in order of request, then slot
    shown = ranking.iloc[rows[request, slots.chosen[request, slot]]].reset_index(drop=True)
    page = requests[["request_id", "user_id", "time"]].iloc[request].reset_index(drop=True)
    return page.assign(
        position=slot + 1,
        query=shown["query"],
        source=shown["source"],
        rank_score=shown["rank_score"],
        propensity=slots.propensity[request, slot],
        explored=slots.explored[request, slot],
    )


@dataclass(frozen=True)
class FilledSlots:
    """What fills the slots of pages; all arrays (pages, slots)."""

    chosen: NDArray[np.intp]  # column of the candidate
    propensity: NDArray[np.float64]
    explored: NDArray[np.bool_]
    filled: NDArray[np.bool_]  # False where no candidate was left


def fill_slots(
    scores: NDArray[np.float64],
    valid: NDArray[np.bool_],
    uniforms: NDArray[np.float64],
    exposure: Exposure,
) -> FilledSlots:
    """The draws of `expose` on arrays, for pages of any number of slots.

    Args:
        scores: rank_score (pages, candidates), best candidate first.
        valid: (pages, candidates), False where a page has no candidate.
        uniforms: in [0, 1), (pages, 1 + slots): the exploring slot, then each slot's draw.
    """
    slots = uniforms.shape[1] - 1
    exploring = np.floor(uniforms[:, 0] * slots).astype(int)
    explored = exploring[:, None] == np.arange(slots)
    pages = _Pages(scores, valid, slots, exposure)
    chosen = np.zeros((len(scores), slots), dtype=np.intp)
    propensity = np.zeros((len(scores), slots))
    filled = np.zeros((len(scores), slots), dtype=bool)
    for slot in range(slots):
        exploit, explore = pages.offers()
        pick = _draw(np.where(explored[:, [slot]], explore, exploit), uniforms[:, 1 + slot])
        filled[:, slot] = pages.left.any(axis=1)
        chosen[:, slot] = pick
        propensity[:, slot] = pages.take(slot, pick, exploit, explore)
    return FilledSlots(chosen, propensity, explored, filled)


def page_chances(
    scores: NDArray[np.float64],
    valid: NDArray[np.bool_],
    chosen: NDArray[np.intp],
    exposure: Exposure,
) -> NDArray[np.float64]:
    """The propensities (see `expose`) with which this ranking would fill slots, of all candidates.

    Args:
        scores, valid: as in `fill_slots`.
        chosen: (pages, slots), the column of the candidate in each slot as it is; -1 for none.
            Any number of slots, of which one explores; of more slots than `top_n`, the others draw
            from as many ranks as there are slots.

    Returns:
        (pages, slots, candidates): what this ranking would put into each slot given the slots above
        it as they are; sums to 1 over candidates, or is 0 below what it cannot show.
    """
    slots = chosen.shape[1]
    pages = _Pages(scores, valid, slots, exposure)
    chances = np.zeros((*chosen.shape, scores.shape[1]))
    each, possible = np.arange(len(chosen)), np.ones(len(chosen), dtype=bool)
    for slot in range(slots):
        exploit, explore = pages.offers()
        chances[possible, slot] = pages.chances(slot, exploit, explore)[possible]
        pick = np.maximum(chosen[:, slot], 0)
        pages.take(slot, pick, exploit, explore)
        possible &= (chosen[:, slot] >= 0) & (chances[each, slot, pick] > 0)
    return chances


class _Pages:
    """Pages that are filled slot by slot; see `expose` for the arithmetic."""

    def __init__(
        self,
        scores: NDArray[np.float64],
        valid: NDArray[np.bool_],
        slots: int,
        exposure: Exposure,
    ) -> None:
        self.logits, self.left = scores / exposure.temperature, valid.copy()
        self.top = np.arange(scores.shape[1]) < max(exposure.top_n, slots)
        # Column e: P(e) times the probability of the queries so far if slot e is the exploring one.
        self.odds = np.full((len(scores), slots), 1 / slots)

    def offers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the next slot draws from, (pages, candidates) each: as exploiting, as exploring."""
        exploit = plackett_luce(self.logits, self.left & self.top)
        explore = plackett_luce(np.zeros_like(self.logits), self.left)  # equal scores: uniform
        return exploit, explore

    def chances(
        self, slot: int, exploit: NDArray[np.float64], explore: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What the slot holds, whoever explores: (pages, candidates)."""
        total = self.odds.sum(axis=1)
        exploring = (self.odds[:, slot] / np.where(total > 0, total, 1.0))[:, None]
        mixed: NDArray[np.float64] = exploring * explore + (1 - exploring) * exploit
        return mixed

    def take(
        self,
        slot: int,
        pick: NDArray[np.intp],
        exploit: NDArray[np.float64],
        explore: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Put candidate `pick` of each page into the slot; returns its propensity, (pages,)."""
        each = np.arange(len(pick))
        given_e = np.repeat(exploit[each, pick][:, None], self.odds.shape[1], axis=1)
        given_e[:, slot] = explore[each, pick]
        before = self.odds.sum(axis=1)
        self.odds *= given_e
        self.left[each, pick] = False
        propensity: NDArray[np.float64] = self.odds.sum(axis=1) / np.where(before > 0, before, 1.0)
        return propensity


def plackett_luce(logits: NDArray[np.float64], left: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Probability of each alternative for the next place: the softmax over those still left.

    A row with nothing left is all 0. Both arrays, and the result: (requests, candidates).
    """
    masked = np.where(left, logits, -np.inf)
    highest = masked.max(axis=1, keepdims=True, initial=-np.inf)
    weight = np.exp(masked - np.where(np.isfinite(highest), highest, 0.0))
    total = weight.sum(axis=1, keepdims=True)
    probability: NDArray[np.float64] = weight / np.where(total > 0, total, 1.0)
    return probability


def _grid(
    owner: "pd.Series[str]", rank: "pd.Series[int]", owners: NDArray[np.object_]
) -> NDArray[np.intp]:
    """Row numbers of a ranking by owner and rank, (owners, longest ranking); -1 where it ends."""
    longest = int(rank.max()) if len(rank) else 1
    grid = np.full((len(owners), longest), -1)
    grid[pd.Index(owners).get_indexer(pd.Index(owner)), rank.to_numpy() - 1] = np.arange(len(rank))
    return grid


def _uniforms(seed: int, request_ids: pd.Series) -> NDArray[np.float64]:
    """Uniform numbers of each request, (requests, 1 + SLOTS), from (seed, request_id) alone."""
    keys = [
        int.from_bytes(hashlib.sha256(request.encode()).digest()[:16]) for request in request_ids
    ]
    drawn = [np.random.default_rng([seed, key]).random(1 + SLOTS) for key in keys]
    return np.array(drawn).reshape(len(keys), 1 + SLOTS)


def _draw(probability: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.intp]:
    """One column of each row by inversion; an alternative of probability 0 is never drawn."""
    cumulative = probability.cumsum(axis=1)
    reached = cumulative > uniform[:, None] * cumulative[:, -1:]
    column: NDArray[np.intp] = reached.argmax(axis=1)
    return column
