"""The production stack: candidates of all sources, ranked, and exposed on the home page."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.errors import AigqError

SLOTS = 3
RRF_CONSTANT = 60  # Cormack, Clarke & Buettcher, SIGIR 2009

Scorer = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]


class Source(Protocol):
    """Anything that proposes queries to users: popularity, coclick, own_history, ebr, u2q."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """At most k (query, score) for each of distinct users, best first.

        Only behaviours before `as_of` are read; a user may get an empty list.
        """


@dataclass(frozen=True)
class HintStack:
    """What one release ranks for users, given their history.

    Attributes:
        sources: in order of preference: the first of two sources with equal rank is the one shown.
        score: click probabilities (n,) of pairs user_ids[i], queries[i] at one fixed position; None
            while a release has no CTR model (launch), which ranks by reciprocal-rank fusion.
        per_source: candidates asked of each source.
        top: length of a user's ranking.
    """

    sources: Sequence[Source]
    score: Scorer | None = None
    per_source: int = 30
    top: int = 30

    def candidates(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp
    ) -> pd.DataFrame:
        """Union of all sources, one row per user and query that may be shown.

        Args:
            user_ids: distinct users.
            history: behaviours (user_id, time, kind, content); those at or after as_of count not.

        Returns:
            user_id, query, source (best rank; the earlier source on a tie), sources (all that
            proposed it, in stack order, joined by "+"), fusion (see `_fusion`), sorted by user and
            query.
        """
        proposals = pd.DataFrame(
            [
                (user, query, number, rank)
                for number, source in enumerate(self.sources)
                for user, best in source.recall(user_ids, history, as_of, self.per_source).items()
                for rank, (query, _) in enumerate(best, start=1)
            ],
            columns=["user_id", "query", "source", "rank"],
        ).astype({"user_id": "str", "query": "str"})
        shown = [query for query in proposals["query"].unique() if is_allowed(query)]
        proposals = proposals[proposals["query"].isin(shown)]
        pair = proposals.groupby(["user_id", "query"]).ngroup()
        table = proposals[["user_id", "query"]].drop_duplicates()
        table = table.sort_values(["user_id", "query"], ignore_index=True)
        rank = np.full((len(table), len(self.sources)), np.inf)
        rank[pair, proposals["source"]] = proposals["rank"]
        names = np.array([source.name for source in self.sources], dtype=object)
        table["source"] = pd.Series(names[rank.argmin(axis=1)], dtype="str")
        table["sources"] = pd.Series(_joined(names, np.isfinite(rank)), dtype="str")
        table["fusion"] = _fusion(rank)
        return table

    def rank(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp
    ) -> pd.DataFrame:
        """Each user's candidates (see there for the arguments), best first.

        rank_score is the click probability, or the fused reciprocal rank without a CTR model; ties
        go by query text.

        Returns:
            user_id, rank (1..top), query, source, rank_score (float64), sorted by user and rank.

        Raises:
            AigqError: the scorer returned another number of scores, or one that is not a number.
        """
        table = self.candidates(user_ids, history, as_of)
        scores = table["fusion"].to_numpy()
        if self.score:
            scores = self.score(table["user_id"].tolist(), table["query"].tolist())
            if scores.shape != (len(table),) or not np.isfinite(scores).all():
                raise AigqError("the click model gave no finite score for every candidate pair")
        table = table.assign(rank_score=scores).sort_values(
            ["user_id", "rank_score", "query"], ascending=[True, False, True]
        )
        table["rank"] = table.groupby("user_id").cumcount() + 1
        columns = ["user_id", "rank", "query", "source", "rank_score"]
        return table.loc[table["rank"] <= self.top, columns].reset_index(drop=True)


@dataclass(frozen=True)
class Exposure:
    """How a ranking becomes three hints: two exploit, one explores.

    Attributes:
        top_n: exploit slots draw from the top_n of the ranking (at least SLOTS, so that a slot is
            never left without one).
        temperature: of their softmax, in units of rank_score.
    """

    top_n: int = 10
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.top_n < SLOTS or self.temperature <= 0:
            raise AigqError(f"exposure needs top_n >= {SLOTS} and a temperature above 0")


def expose(
    ranking: pd.DataFrame, requests: pd.DataFrame, exposure: Exposure, seed: int
) -> pd.DataFrame:
    """Draw the three hints of every request, with the exact propensity of each.

    A request draws its exploring slot e uniformly from the three. Slots are filled from the top:
    slot e uniformly from all of the user's candidates not yet shown, the others by Plackett-Luce
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
        ranking: of `HintStack.rank`.
        requests: request_id, user_id, time.

    Returns:
        request_id, user_id, time, position (1..3), query, source, rank_score, propensity, explored;
        in the order of `requests`, then position. A user with fewer than three candidates gets
        as many rows.

    Raises:
        AigqError: a request of a user who has no ranking.
    """
    users = ranking["user_id"].unique()
    user_row = pd.Index(users).get_indexer(pd.Index(requests["user_id"]))
    if (user_row < 0).any():
        missing = requests["user_id"].to_numpy()[user_row < 0][0]
        raise AigqError(f"user {missing} has no ranking; rank every user who makes a request")
    rows = _grid(ranking, users)[user_row]
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
class Slots:
    """What fills the slots of pages; all arrays (pages, SLOTS)."""

    chosen: NDArray[np.intp]  # column of the candidate
    propensity: NDArray[np.float64]
    explored: NDArray[np.bool_]
    filled: NDArray[np.bool_]  # False where no candidate was left


def fill_slots(
    scores: NDArray[np.float64],
    valid: NDArray[np.bool_],
    uniforms: NDArray[np.float64],
    exposure: Exposure,
) -> Slots:
    """The draws of `expose` on arrays.

    Args:
        scores: rank_score (pages, candidates), best candidate first.
        valid: (pages, candidates), False where a page has no candidate.
        uniforms: in [0, 1), (pages, 1 + SLOTS): the exploring slot, then each slot's draw.
    """
    exploring = np.floor(uniforms[:, 0] * SLOTS).astype(int)
    explored = exploring[:, None] == np.arange(SLOTS)
    pages = _Pages(scores, valid, exposure)
    chosen = np.zeros((len(scores), SLOTS), dtype=np.intp)
    propensity = np.zeros((len(scores), SLOTS))
    filled = np.zeros((len(scores), SLOTS), dtype=bool)
    for slot in range(SLOTS):
        exploit, explore = pages.offers()
        pick = _draw(np.where(explored[:, [slot]], explore, exploit), uniforms[:, 1 + slot])
        filled[:, slot] = pages.left.any(axis=1)
        chosen[:, slot] = pick
        propensity[:, slot] = pages.take(slot, pick, exploit, explore)
    return Slots(chosen, propensity, explored, filled)


def page_chances(
    scores: NDArray[np.float64],
    valid: NDArray[np.bool_],
    chosen: NDArray[np.intp],
    exposure: Exposure,
) -> NDArray[np.float64]:
    """The propensities (see `expose`) with which this ranking would fill slots, of all candidates.

    Args:
        scores, valid: as in `fill_slots`.
        chosen: (pages, SLOTS), the column of the candidate in each slot as it is; -1 for none.

    Returns:
        (pages, SLOTS, candidates): what this ranking would put into each slot given the slots above
        it as they are; sums to 1 over candidates, or is 0 below what it cannot show.
    """
    pages, found = _Pages(scores, valid, exposure), np.zeros((*chosen.shape, scores.shape[1]))
    each, possible = np.arange(len(chosen)), np.ones(len(chosen), dtype=bool)
    for slot in range(chosen.shape[1]):
        exploit, explore = pages.offers()
        found[possible, slot] = pages.chances(slot, exploit, explore)[possible]
        pick = np.maximum(chosen[:, slot], 0)
        pages.take(slot, pick, exploit, explore)
        possible &= (chosen[:, slot] >= 0) & (found[each, slot, pick] > 0)
    return found


class _Pages:
    """Pages that are filled slot by slot; see `expose` for the arithmetic."""

    def __init__(
        self, scores: NDArray[np.float64], valid: NDArray[np.bool_], exposure: Exposure
    ) -> None:
        self.logits, self.left = scores / exposure.temperature, valid.copy()
        self.top = np.arange(scores.shape[1]) < exposure.top_n
        # Column e: P(e) times the probability of the queries so far if slot e is the exploring one.
        self.odds = np.full((len(scores), SLOTS), 1 / SLOTS)

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
        given_e = np.repeat(exploit[each, pick][:, None], SLOTS, axis=1)
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


def _fusion(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reciprocal-rank fusion (candidates,) of ranks (candidates, sources), inf where not proposed.

    Mean over the sources of (c + 1) / (c + rank): Cormack et al.'s score with c = 60, scaled so
    that first place in every source gives 1.
    """
    fused: NDArray[np.float64] = ((RRF_CONSTANT + 1) / (RRF_CONSTANT + rank)).mean(axis=1)
    return fused


def _joined(names: NDArray[np.object_], proposed: NDArray[np.bool_]) -> list[str]:
    """The names proposed (candidates, sources) in each row, joined by "+"."""
    kinds, kind = np.unique(proposed, axis=0, return_inverse=True)
    joined = ["+".join(names[of_kind]) for of_kind in kinds]
    return [joined[i] for i in kind]


def _grid(ranking: pd.DataFrame, users: NDArray[np.object_]) -> NDArray[np.intp]:
    """Row numbers of `ranking` by user and rank, (users, longest ranking); -1 where it ends."""
    longest = int(ranking["rank"].max()) if len(ranking) else 1
    grid = np.full((len(users), longest), -1)
    user = pd.Index(users).get_indexer(pd.Index(ranking["user_id"]))
    grid[user, ranking["rank"].to_numpy() - 1] = np.arange(len(ranking))
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
