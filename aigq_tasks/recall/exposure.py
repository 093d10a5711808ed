"""From a ranking to hints on a page, with the exact propensity of each.

`expose` draws pages; `slot_chances` says what a ranking puts into each slot, over all pages that it
may draw.
"""

import hashlib
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.recall.config import SLOTS, Exposure

EXACT, DRAWN = 1000, 512  # beginnings of pages gone through; pages drawn where there are more


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


def slot_chances(
    scores: NDArray[np.float64], valid: NDArray[np.bool_], slots: int, exposure: Exposure
) -> NDArray[np.float64]:
    """The chance that each candidate lands in each slot, over all pages that the ranking may draw.

    Exact, by going through the beginnings of pages (see `expose` for what follows one), as long as
    there are at most EXACT of them; of longer pages the slots below are the mean over DRAWN pages,
    drawn with a seed of their own, of what follows their beginnings.

    Args:
        scores, valid: as in `fill_slots`.
        slots: of a page, of which one explores; of more slots than `top_n`, the others draw from as
            many ranks as there are slots.

    Returns:
        (rankings, slots, candidates): sums to 1 over candidates, or is 0 below the last one.
    """
    candidates = scores.shape[1]
    exact = 1
    while exact < slots and candidates**exact <= EXACT:
        exact += 1
    chances = np.zeros((len(scores), slots, candidates))
    pages = _Pages(scores, valid, slots, exposure)
    _follow(pages, np.ones(len(scores)), 0, exact, chances)
    if exact < slots:
        uniforms = np.random.default_rng(0).random((DRAWN, 1 + slots))
        for row in range(len(scores)):
            same = np.repeat(row, DRAWN)
            chances[row, exact:] = _drawn(scores[same], valid[same], uniforms, exposure)[exact:]
    return chances


def _follow(
    pages: "_Pages",
    weight: NDArray[np.float64],
    slot: int,
    exact: int,
    chances: NDArray[np.float64],
) -> None:
    """Add to `chances` what follows a beginning of pages that has the probability `weight` (of each
    ranking), down to slot `exact`."""
    exploit, explore = pages.offers()
    own = weight[:, None] * pages.chances(slot, exploit, explore)
    chances[:, slot] += own
    if slot + 1 == exact:
        return
    for pick in range(own.shape[1]):
        if own[:, pick].any():
            longer = pages.copy()
            longer.take(slot, np.full(len(own), pick), exploit, explore)
            _follow(longer, own[:, pick], slot + 1, exact, chances)


def _drawn(
    scores: NDArray[np.float64],
    valid: NDArray[np.bool_],
    uniforms: NDArray[np.float64],
    exposure: Exposure,
) -> NDArray[np.float64]:
    """(slots, candidates): the mean of what follows the beginnings of drawn pages of one ranking,
    which `scores` and `valid` repeat."""
    filled = fill_slots(scores, valid, uniforms, exposure)
    pages = _Pages(scores, valid, filled.chosen.shape[1], exposure)
    chances = np.zeros((filled.chosen.shape[1], scores.shape[1]))
    for slot in range(len(chances)):
        exploit, explore = pages.offers()
        chances[slot] = pages.chances(slot, exploit, explore).mean(axis=0)
        pages.take(slot, filled.chosen[:, slot], exploit, explore)
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

    def copy(self) -> "_Pages":
        """Pages with the same beginning, to be filled in another way."""
        copied = copy(self)
        copied.left, copied.odds = self.left.copy(), self.odds.copy()
        return copied

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
