"""Rewards of IL-GRPO (paper 3.5.1-3.5.3, Eq 10, 14 and 16) as tables of numbers.

Tables have one row per rollout. A table of queries or triggers has one column per slot, and NaN
where a rollout has nothing in it; a sequence table is one number per rollout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from aigq_tasks.policy.config import RewardConfig
from aigq_tasks.policy.parse import Rollout, Slots

FloatArray = NDArray[np.float64]

# (user_ids, queries), equally long -> click probability of each pair
CtrScorer = Callable[[Sequence[str], Sequence[str]], FloatArray]


def r_ctr(probabilities: FloatArray, scale: float, cap: float) -> FloatArray:
    """clip(α · p, 0, c), element by element (Eq 14)."""
    return np.clip(scale * probabilities, 0.0, cap)


@lru_cache(maxsize=65536)
def rouge_l(query: str, reference: str) -> float:
    """ROUGE-L F1 on words, in [0, 1]."""
    return float(_rouge_scorer().score(reference, query)["rougeL"].fmeasure)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # loads NLTK: a second, so not with settings

    return RougeScorer(["rougeL"], use_stemmer=False)


def r_len(query: str, config: RewardConfig) -> float:
    """1 for a query within the bounds on words and characters; else the ratio between the
    number and the bound it misses (the smaller one of words and characters), so that it falls
    towards 0 as a query grows."""
    words = _within(len(query.split()), config.min_words, config.max_words)
    return min(words, _within(len(query), config.min_chars, config.max_chars))


def _within(number: int, low: int, high: int) -> float:
    return min(1.0, number / low if number < low else high / max(number, 1))


def r_format(rollout: Rollout, list_length: int) -> float:
    """0 for a malformed rollout, else the share of the list_length places that are filled.

    The share is there because position-wise advantages compare only rollouts that have the
    position: without it a policy could avoid every duplicate by writing shorter lists.
    """
    return min(1.0, len(rollout.slots.queries) / list_length) if rollout.valid else 0.0


def r_dup(queries: Sequence[str], near_duplicate: float) -> float:
    """Minus the share of queries that equal or nearly equal (rapidfuzz token_sort_ratio at or
    above near_duplicate) an earlier query of the list; 0 for an empty list."""
    repeated = sum(
        any(fuzz.token_sort_ratio(query, earlier) >= near_duplicate for earlier in queries[:j])
        for j, query in enumerate(queries)
    )
    return -repeated / len(queries) if queries else 0.0


def query_terms(
    rollouts: Sequence[Slots],
    references: Sequence[Slots],
    user_ids: Sequence[str],
    scorer: CtrScorer,
    slots: int,
    config: RewardConfig,
) -> dict[str, FloatArray]:
    """The terms of the query reward: "ctr", "rouge", "len", each (N, slots).

    rollouts, references, user_ids: parallel. A query is compared with the reference's query of
    its slot (position-wise, as the paper does). Where the reference has none ROUGE-L is 0, the
    same for all rollouts of the prompt, so it moves no advantage.
    The scorer is called once, with the sorted distinct (user, query) pairs of the batch, and
    not at all when no rollout holds a query.
    """
    cells = [(i, slot) for i, own in enumerate(rollouts) for slot in own.queries]
    queries = [rollouts[i].queries[slot] for i, slot in cells]
    clicks = _click_probabilities([user_ids[i] for i, _ in cells], queries, scorer)
    rouge = [
        rouge_l(query, references[i].queries[slot]) if slot in references[i].queries else 0.0
        for (i, slot), query in zip(cells, queries, strict=True)
    ]
    values = {
        "ctr": r_ctr(clicks, config.ctr_scale, config.ctr_cap),
        "rouge": np.array(rouge),
        "len": np.array([r_len(query, config) for query in queries]),
    }
    rows, columns = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    tables = {term: np.full((len(rollouts), slots), np.nan) for term in values}
    for term, table in tables.items():
        table[rows, columns] = values[term]
    return tables


def _click_probabilities(
    user_ids: Sequence[str], queries: Sequence[str], scorer: CtrScorer
) -> FloatArray:
    pairs = list(zip(user_ids, queries, strict=True))
    distinct = sorted(set(pairs))
    if not distinct:
        return np.empty(0)
    scores = scorer([user for user, _ in distinct], [query for _, query in distinct])
    by_pair = dict(zip(distinct, scores, strict=True))
    return np.array([by_pair[pair] for pair in pairs], dtype=np.float64)


def query_rewards(terms: dict[str, FloatArray], config: RewardConfig) -> FloatArray:
    """R^q of Eq 10, (N, K): the weighted sum of `query_terms`, clipped; NaN stays NaN."""
    total = (
        config.w_ctr * terms["ctr"] + config.w_rouge * terms["rouge"] + config.w_len * terms["len"]
    )
    return np.clip(total, -config.reward_clip, config.reward_clip)


def trigger_rewards(
    rollouts: Sequence[Slots], references: Sequence[Slots], first: int, slots: int
) -> FloatArray:
    """R^trig of Eq 16, (N, slots): ROUGE-L F1 of two sequences of history lines, that of a
    rollout's trigger slot and that of the label's. Column s is slot first + s; NaN where the
    rollout has no such interest, 0 where the label has none."""
    table = np.full((len(rollouts), slots), np.nan)
    for i, (own, reference) in enumerate(zip(rollouts, references, strict=True)):
        for slot, lines in own.triggers.items():
            label = reference.triggers.get(slot, ())
            table[i, slot - first] = rouge_l(_spelt(lines), _spelt(label))
    return table


def _spelt(lines: Sequence[int]) -> str:
    return " ".join(map(str, lines))


def sequence_terms(
    rollouts: Sequence[Rollout], list_length: int, config: RewardConfig
) -> dict[str, FloatArray]:
    """The terms of the sequence reward: "format" and "dup", each (N,)."""
    return {
        "format": np.array([r_format(rollout, list_length) for rollout in rollouts]),
        "dup": np.array(
            [
                r_dup(list(rollout.slots.queries.values()), config.near_duplicate)
                for rollout in rollouts
            ]
        ),
    }


def sequence_rewards(terms: dict[str, FloatArray], config: RewardConfig) -> FloatArray:
    """R^s of Eq 10, (N,): the weighted sum of `sequence_terms`, clipped."""
    total = config.w_format * terms["format"] + config.w_dup * terms["dup"]
    return np.clip(total, -config.reward_clip, config.reward_clip)


class SlotShape(Protocol):
    """How many slots there are, and how many queries fill a whole answer."""

    @property
    def query_slots(self) -> int: ...

    @property
    def trigger_slots(self) -> int: ...

    @property
    def full_length(self) -> int: ...


@dataclass(frozen=True)
class Rewards:
    """Rewards of N rollouts, and the terms that they are made of.

    query: R^q, (N, query slots). trigger: R^trig, (N, trigger slots). sequence: R^s, (N,).
    whole: (N,), the sum of the three with queries and triggers as their means: what canonical
    GRPO gives to a rollout. terms: "ctr", "rouge", "len" (N, query slots), "format", "dup" (N,).
    """

    query: FloatArray
    trigger: FloatArray
    sequence: FloatArray
    whole: FloatArray
    terms: dict[str, FloatArray]


def rewards_of(
    rollouts: Sequence[Rollout],
    labels: Sequence[Slots],
    user_ids: Sequence[str],
    scorer: CtrScorer,
    shape: SlotShape,
    config: RewardConfig,
) -> Rewards:
    """Rewards of rollouts against the labels of their prompts; all sequences are parallel."""
    slots = [rollout.slots for rollout in rollouts]
    of_queries = query_terms(slots, labels, user_ids, scorer, shape.query_slots, config)
    of_sequence = sequence_terms(rollouts, shape.full_length, config)
    query, sequence = query_rewards(of_queries, config), sequence_rewards(of_sequence, config)
    trigger = trigger_rewards(slots, labels, shape.query_slots, shape.trigger_slots)
    whole = row_means(query) + row_means(trigger) + sequence
    return Rewards(query, trigger, sequence, whole, of_queries | of_sequence)


def row_means(table: FloatArray) -> FloatArray:
    """(N, S) -> (N,): the mean of what is not NaN in a row, 0 where all of it is."""
    held = (~np.isnan(table)).sum(axis=1)
    means: FloatArray = np.nansum(table, axis=1) / np.maximum(held, 1)
    return means
