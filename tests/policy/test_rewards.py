from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.policy.parse import Rollout, Slots
from aigq_tasks.policy.rewards import (
    FloatArray,
    RewardConfig,
    query_rewards,
    query_terms,
    r_ctr,
    r_dup,
    r_format,
    r_len,
    rouge_l,
    sequence_rewards,
    sequence_terms,
    trigger_rewards,
)

CONFIG = RewardConfig()
NAN = np.nan


def slots(*queries: str) -> Slots:
    return Slots(dict(enumerate(queries)), {})


def rollout(*queries: str, valid: bool = True) -> Rollout:
    return Rollout(slots(*queries), [], valid)


def test_the_ctr_reward_is_scaled_and_capped() -> None:
    # α = 4, c = 1: 0.1 -> 0.4; 0.25 -> 1; 0.9 -> 3.6, cut to 1.
    rewards = r_ctr(np.array([0.0, 0.1, 0.25, 0.9]), scale=4.0, cap=1.0)
    np.testing.assert_allclose(rewards, [0.0, 0.4, 1.0, 1.0])


@pytest.mark.parametrize(
    ("query", "reference", "f1"),
    [
        ("whole milk", "whole milk", 1.0),
        ("whole milk", "organic whole milk", 0.8),  # LCS 2, P = 2/2, R = 2/3
        ("milk whole", "whole milk", 0.5),  # LCS 1, P = R = 1/2: order counts
        ("beer", "whole milk", 0.0),
    ],
)
def test_rouge_l(query: str, reference: str, f1: float) -> None:
    assert rouge_l(query, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("query", "reward"),
    [
        ("whole milk", 1.0),
        ("one two three four five six", 1.0),
        ("a b c d e f g h", 6 / 8),  # 8 words, at most 6
        ("x", 1 / 2),  # 1 character, at least 2
        ("x" * 50, 40 / 50),
        ("abcdefghi " * 7 + "abcdefghij", 40 / 80),  # 8 words: 0.75; 80 characters: 0.5
    ],
)
def test_the_length_reward_falls_with_the_ratio_to_the_bound(query: str, reward: float) -> None:
    assert r_len(query, CONFIG) == pytest.approx(reward)


@given(st.integers(6, 60))
def test_a_longer_query_is_never_worth_more(words: int) -> None:
    query = " ".join(["ab"] * words)
    assert r_len(query + " ab", CONFIG) <= r_len(query, CONFIG) <= 1.0


def test_the_format_reward_is_the_filled_share_of_a_well_formed_list() -> None:
    assert r_format(rollout("a b", "c d", "e f"), list_length=4) == 0.75
    assert r_format(rollout("a b", "c d", "e f", "g h"), list_length=4) == 1.0
    assert r_format(rollout("a b", valid=False), list_length=4) == 0.0


def test_duplicates_are_the_share_of_queries_seen_before_in_any_word_order() -> None:
    # "milk whole" sorts to "milk whole" as "whole milk" does: ratio 100; "bread" is new.
    assert r_dup(["whole milk", "bread", "milk whole", "whole milk"], 90.0) == -2 / 4
    # token_sort_ratio("bananas", "banana") = 100 · 2 · 6 / 13 = 92.3: a near duplicate.
    assert r_dup(["bananas", "banana"], 90.0) == -1 / 2
    assert r_dup(["bananas", "banana"], 95.0) == 0.0
    assert r_dup([], 90.0) == 0.0


class Scorer:
    """Click probability = length of the query / 100 for user "u", twice that for others."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, str]]] = []

    def __call__(self, user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        pairs = list(zip(user_ids, queries, strict=True))
        self.batches.append(pairs)
        return np.array([len(q) / 100 * (1 if u == "u" else 2) for u, q in pairs])


def test_query_rewards_are_position_wise_with_one_call_to_the_scorer() -> None:
    scorer = Scorer()
    lists = [slots("whole milk", "tea"), slots("tea"), slots("whole milk", "rye", "eggs")]
    references = [slots("organic whole milk", "beer"), slots("tea"), slots("tea", "rye")]
    terms = query_terms(lists, references, ["u", "v", "u"], scorer, 3, CONFIG)
    # One batch; ("u", "whole milk") occurs in two rollouts and is scored once.
    assert scorer.batches == [
        [("u", "eggs"), ("u", "rye"), ("u", "tea"), ("u", "whole milk"), ("v", "tea")]
    ]
    # α = 4: 10 letters -> 0.1 -> 0.4; "tea" -> 0.12, for user v 0.24; "eggs" -> 0.16.
    ctr = [[0.4, 0.12, NAN], [0.24, NAN, NAN], [0.4, 0.12, 0.16]]
    # Position 3 of the last list lies beyond its reference: 0.
    rouge = [[0.8, 0.0, NAN], [1.0, NAN, NAN], [0.0, 1.0, 0.0]]
    np.testing.assert_allclose(terms["ctr"], ctr)
    np.testing.assert_allclose(terms["rouge"], rouge)
    # 1.0 · ctr + 0.3 · rouge + 0.1 · 1 (every length is within the bounds)
    total = [[0.74, 0.22, NAN], [0.64, NAN, NAN], [0.5, 0.52, 0.26]]
    np.testing.assert_allclose(query_rewards(terms, CONFIG), total)
    clipped = query_rewards(terms, RewardConfig(reward_clip=0.5))
    np.testing.assert_allclose(clipped[2], [0.5, 0.5, 0.26])


def test_no_query_at_all_needs_no_scorer() -> None:
    scorer = Scorer()
    terms = query_terms([slots()], [slots("tea")], ["u"], scorer, 2, CONFIG)
    assert scorer.batches == []
    assert np.isnan(query_rewards(terms, CONFIG)).all()


def test_a_scorer_that_answers_with_the_wrong_number_is_refused() -> None:
    def short(users: Sequence[str], queries: Sequence[str]) -> FloatArray:
        return np.zeros(len(queries) - 1)

    with pytest.raises(ValueError, match="zip"):
        query_terms([slots("tea")], [slots("tea")], ["u"], short, 2, CONFIG)


def test_sequence_rewards_add_format_and_duplicates() -> None:
    lists = [rollout("tea", "milk"), rollout("tea", "tea"), rollout("tea", valid=False)]
    terms = sequence_terms(lists, 2, CONFIG)
    np.testing.assert_allclose(terms["format"], [1.0, 1.0, 0.0])
    np.testing.assert_allclose(terms["dup"], [0.0, -0.5, 0.0])
    np.testing.assert_allclose(
        sequence_rewards(terms, RewardConfig(w_format=2.0, w_dup=1.0)), [2.0, 1.5, 0.0]
    )


def test_triggers_are_compared_as_sequences_of_lines() -> None:
    label = Slots({}, {4: (3, 7), 5: (1,)})
    rollouts = [
        Slots({}, {4: (3, 7), 5: (2,)}),  # equal: 1; disjoint: 0
        Slots({}, {4: (7, 3)}),  # LCS 1 of 2 and 2: F1 1/2, for order counts; no interest 5
        Slots({}, {4: (3,), 6: (1,)}),  # P 1, R 1/2: 2/3; the label has no interest 6: 0
    ]
    expected = [[1.0, 0.0, NAN], [0.5, NAN, NAN], [2 / 3, NAN, 0.0]]
    np.testing.assert_allclose(trigger_rewards(rollouts, [label] * 3, first=4, slots=3), expected)


def test_slots_need_not_be_without_gaps() -> None:
    gaps, label = Slots({0: "tea", 9: "milk"}, {}), Slots({9: "milk"}, {})
    terms = query_terms([gaps], [label], ["u"], Scorer(), 10, CONFIG)
    np.testing.assert_allclose(terms["rouge"][0, [0, 8, 9]], [0.0, NAN, 1.0])
