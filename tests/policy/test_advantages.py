from typing import Any

import pytest
import torch  # noqa: TID253
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.policy.advantages import (
    clip_bounds,
    entropy_threshold,
    entropy_weight,
    group_normalize,
    informative_groups,
    list_advantages,
    pad_segments,
    scatter_advantages,
    sequence_advantages,
    trigger_advantages,
)
from aigq_tasks.policy.config import Clip
from aigq_tasks.policy.parse import parse_completions

NAN = float("nan")


def test_statistics_are_over_the_rollouts_that_have_the_position() -> None:
    rewards = torch.tensor([[1.0, 4.0, 7.0], [2.0, NAN, NAN], [3.0, 6.0, NAN]])
    # Position 0: μ = 2, σ = sqrt((1 + 0 + 1) / 2) = 1, so ∓1 / 1.0001. Position 1: μ = 5 and
    # σ = sqrt(2 / 1) over two holders, so ∓1 / 1.4143136. Position 2: one holder alone: 0.
    a, b = 1 / 1.0001, 1 / 1.4143136
    expected = torch.tensor([[-a, -b, 0.0], [0.0, 0.0, 0.0], [a, b, 0.0]])
    torch.testing.assert_close(group_normalize(rewards, group_size=3), expected)


def test_groups_do_not_see_each_other() -> None:
    rewards = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    # Group 1: μ = 1, σ = √2. Group 2: μ = 12, σ = 2√2. So ∓1 / 1.9142136 and ∓2 / 3.3284271.
    expected = torch.tensor([[-0.5224078], [0.5224078], [-0.6008845], [0.6008845]])
    torch.testing.assert_close(group_normalize(rewards, group_size=2, eps=0.5), expected)


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=8), st.floats(-5, 5, width=32))
def test_a_shift_of_all_rewards_changes_nothing_and_advantages_sum_to_zero(
    values: list[float], shift: float
) -> None:
    rewards = torch.tensor(values, dtype=torch.float64)[:, None]
    advantages = group_normalize(rewards, len(values))
    moved = group_normalize(rewards + shift, len(values))
    torch.testing.assert_close(advantages, moved, atol=1e-5, rtol=1e-5)
    assert advantages.sum().abs() < 1e-4


def test_equal_rewards_are_no_advantage() -> None:
    assert not group_normalize(torch.full((7, 1), 0.1), group_size=7).abs().gt(1e-9).any()


def test_advantages_are_clipped_after_the_parts_are_added() -> None:
    queries = torch.tensor([[0.0], [2.0]])  # normalised: ∓1 / (√2 + 0.0001) = ∓0.7070568
    sequence = torch.tensor([0.0, 2.0])
    slots, structure = list_advantages(queries, sequence, 2, sequence_weight=0.5, bound=0.9)
    torch.testing.assert_close(slots, torch.tensor([[-0.9], [0.9]]))  # 0.7070568 · 1.5 ≈ 1.06
    torch.testing.assert_close(structure, torch.tensor([-0.3535284, 0.3535284]))


def test_scatter_reads_the_segment_of_each_token() -> None:
    slots = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    segments = pad_segments([[0, 0, -1, 1], [1]], length=5)
    expected = torch.tensor([[1.0, 1.0, 9.0, 2.0, 9.0], [4.0, 8.0, 8.0, 8.0, 8.0]])
    assert scatter_advantages(slots, torch.tensor([9.0, 8.0]), segments).equal(expected)


def test_from_token_ids_to_the_table_of_token_advantages(policy: Any) -> None:
    """Two prompts, three rollouts each, lists of different length, one of them malformed."""
    _, tokenizer = policy()
    texts = [
        "whole milk<sep>tea<eos>",
        "bread<eos>",
        "beer<sep>rye bread<sep>eggs<eos>",
        "tea<eos>",
        "milk<sep>eggs<eos>",
        "eggs<sep><sep>dark rye<eos>",  # the empty query is dropped, "dark rye" is query 1
    ]
    lists = parse_completions([tokenizer(t)["input_ids"] for t in texts], tokenizer, 3)
    query = [[1.0, 0.5, NAN], [2.0, NAN, NAN], [3.0, 1.5, 9.0]]
    query += [[1.0, NAN, NAN], [1.0, 0.0, NAN], [4.0, 2.0, NAN]]
    sequence = [0.0, 3.0, 3.0, 1.0, 1.0, 0.0]

    slots, structure = list_advantages(
        torch.tensor(query), torch.tensor(sequence), 3, sequence_weight=0.5, bound=5.0
    )
    table = scatter_advantages(slots, structure, pad_segments([p.spans for p in lists], 7))

    # Group 1. Sequence: μ = 2, σ = √3: −1.15470, 0.57735, 0.57735; times λ = 0.5:
    #   −0.57735, 0.28868, 0.28868.
    # Position 0: μ = 2, σ = 1: −1, 0, 1. Position 1 (rollouts 1 and 3): μ = 1, σ = 0.70711:
    #   −0.70711, 0.70711. Position 2: rollout 3 alone: 0.
    # Group 2. Sequence: μ = 2/3, σ = 0.57735: 0.57735, 0.57735, −1.15470; times λ:
    #   0.28868, 0.28868, −0.57735.
    # Position 0: μ = 2, σ = √3: −0.57735, −0.57735, 1.15470. Position 1 (rollouts 5 and 6):
    #   −0.70711, 0.70711.
    # Token = query part + sequence part; structure and padding = sequence part.
    expected = [
        # whole    milk      <sep>     tea       <eos>     pad       pad
        [-1.57735, -1.57735, -0.57735, -1.28446, -0.57735, -0.57735, -0.57735],
        # bread   <eos>    pad ...
        [0.28868, 0.28868, 0.28868, 0.28868, 0.28868, 0.28868, 0.28868],
        # beer    <sep>    rye      bread    <sep>    eggs     <eos>
        [1.28868, 0.28868, 0.99578, 0.99578, 0.28868, 0.28868, 0.28868],
        # tea      <eos>    pad ...
        [-0.28868, 0.28868, 0.28868, 0.28868, 0.28868, 0.28868, 0.28868],
        # milk     <sep>    eggs      <eos>    pad ...
        [-0.28868, 0.28868, -0.41843, 0.28868, 0.28868, 0.28868, 0.28868],
        # eggs    <sep>     <sep>     dark     rye      <eos>     pad
        [0.57735, -0.57735, -0.57735, 0.12976, 0.12976, -0.57735, -0.57735],
    ]
    torch.testing.assert_close(table, torch.tensor(expected), atol=5e-4, rtol=0)  # ε = 1e-4


def test_a_rollout_group_must_be_whole() -> None:
    with pytest.raises(RuntimeError):
        group_normalize(torch.zeros(5, 1), group_size=2)


def test_triggers_have_statistics_of_their_own() -> None:
    rewards = torch.tensor([[1.0, NAN], [0.5, 0.8], [0.0, 0.2]])
    # Interest 0: μ = 0.5, σ = sqrt(0.5 / 2) = 0.5, so ±0.5 / 0.5001 = ±0.99980.
    # Interest 1, two holders: μ = 0.5, σ = 0.42426, so ±0.3 / 0.42436 = ±0.70694.
    expected = torch.tensor([[0.99980, 0.0], [0.0, 0.70694], [-0.99980, -0.70694]])
    torch.testing.assert_close(trigger_advantages(rewards, 3, 5.0), expected, atol=1e-5, rtol=0)
    assert trigger_advantages(rewards, 3, 0.5).abs().max() == 0.5


def test_canonical_grpo_has_one_advantage_per_rollout() -> None:
    # Group 1: μ = 2, σ = √2. Group 2: equal rewards, nothing to learn.
    advantages = sequence_advantages(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2, bound=5.0)
    torch.testing.assert_close(advantages, torch.tensor([-0.7070568, 0.7070568, 0.0, 0.0]))


def test_a_group_teaches_if_its_rollouts_differ_and_are_neither_hopeless_nor_perfect() -> None:
    rewards = torch.tensor([0.0, 1.0, 0.5, 0.5, -3.0, 0.0, 2.0, 4.0])
    # Means: 0.5 (kept), 0.5 without variance, −1.5 below, 3 above.
    kept = informative_groups(rewards, group_size=2, low=0.0, high=2.0)
    assert kept.tolist() == [True, False, False, False]


def test_the_threshold_is_a_quantile_over_the_tokens_of_the_whole_batch() -> None:
    entropies = torch.tensor([[0.1, 0.2, 9.9], [0.3, 0.4, 0.5]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    # 0.1 0.2 0.3 0.4 0.5: the 80th percentile lies at place 0.8 · 4 = 3.2: 0.4 + 0.2 · 0.1.
    torch.testing.assert_close(entropy_threshold(entropies, mask), torch.tensor(0.42))
    assert entropy_threshold(entropies, torch.zeros(2, 3)).isinf()


def test_uncertain_tokens_have_the_wider_bounds() -> None:
    is_uncertain = torch.tensor([[0.1, 0.42, 0.5]]) >= torch.tensor(0.42)
    low, high = clip_bounds(is_uncertain, certain=Clip(0.1, 0.2), uncertain=Clip(0.3, 0.4))
    torch.testing.assert_close(low, torch.tensor([[0.1, 0.3, 0.3]]))
    torch.testing.assert_close(high, torch.tensor([[0.2, 0.4, 0.4]]))


def test_the_entropy_bonus_fades_linearly() -> None:
    # β_0 = 0.01 over 4 steps: 0.01, 0.0075, 0.005, 0.0025, and nothing after the last.
    assert [entropy_weight(s, 4, 0.01) for s in range(6)] == pytest.approx(
        [0.01, 0.0075, 0.005, 0.0025, 0.0, 0.0]
    )
