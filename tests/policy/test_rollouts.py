"""From token ids to the coefficient of every token in the loss, in AIGQ-Think's layout."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from aigq_tasks.context.interests import Interest, ThinkLimits, render_interests
from aigq_tasks.context.tokens import add_special_tokens, think_tokens
from aigq_tasks.policy.il_grpo import (
    clipped_surrogate,
    list_advantages,
    pad_segments,
    scatter_advantages,
    trigger_advantages,
)
from aigq_tasks.policy.parse import Slots
from aigq_tasks.policy.rewards import FloatArray, RewardConfig, rewards_of
from aigq_tasks.policy.rollouts import ListLayout, ThinkLayout
from aigq_tasks.policy.training import PolicySample

LIMITS = ThinkLimits(interests=2, triggers=2, queries=2, rationale_tokens=2, query_tokens=2)
CLICKS = {"tea": 0.2, "milk": 0.1, "beer": 0.1, "eggs": 0.0}
LABELS = [
    [Interest("tea", (1, 2), ("tea", "milk")), Interest("milk", (3,), ("beer",))],
    [Interest("milk", (2,), ("beer",))],
]
ROLLOUTS = [
    "<why>tea<why>milk<interest><b_1><b_2><queries>tea<sep>milk<interest><b_3><queries>beer<eos>",
    "<why>tea<interest><b_1><queries>eggs<eos>",
    "<why>tea<interest><b_3><queries>tea<eos>",
    "<why>milk<interest><b_2><queries>beer<eos>",
    "<why>milk<interest><b_2><queries>beer",  # cut off: nothing of it is sure
    "<why>milk<interest><b_1><queries>tea<sep>tea<eos>",
]


@pytest.fixture
def thinker(policy: Any) -> tuple[Any, Any]:
    model, tokenizer = policy()
    add_special_tokens(tokenizer, model, think_tokens(3))
    return model, tokenizer


@pytest.fixture
def layout(thinker: tuple[Any, Any]) -> ThinkLayout:
    return ThinkLayout(*thinker, LIMITS, lines=3, length=3)


def scorer(users: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([CLICKS[query] for query in queries])


def test_every_token_has_the_coefficient_worked_out_by_hand(
    thinker: tuple[Any, Any], layout: ThinkLayout
) -> None:
    _, tokenizer = thinker
    ids = [tokenizer(text)["input_ids"] for text in ROLLOUTS]
    rollouts = layout.parse(ids)
    samples = [PolicySample("u", "", [], render_interests(points)) for points in LABELS]
    labels = [layout.reference(sample) for sample in samples for _ in range(3)]
    # No weight for length; otherwise click · 4 + ROUGE-L, filled places of 3, minus duplicates.
    config = RewardConfig(w_rouge=1.0, w_len=0.0)
    rewards = rewards_of(rollouts, labels, ["u"] * 6, scorer, layout, config)
    query, trigger, sequence = (
        torch.from_numpy(part) for part in (rewards.query, rewards.trigger, rewards.sequence)
    )
    slots, structure = list_advantages(query, sequence, 3, sequence_weight=0.5, bound=5.0)
    slots = torch.cat([slots, trigger_advantages(trigger, 3, 5.0)], dim=1)
    segments = pad_segments([one.segments for one in rollouts], 16)
    advantages = scatter_advantages(slots, structure, segments)
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (16 - len(row)) for row in ids])
    logps = torch.zeros(6, 16, requires_grad=True)
    wide = torch.full((6, 16), 0.2)
    objective = clipped_surrogate((logps - logps.detach()).exp(), advantages, wide, wide)
    (-(objective * mask).sum() / mask.sum()).backward()

    # Prompt 1. Slot (0, 0): tea 0.8 + 1, eggs 0 + 0, tea 1.8: μ = 1.2, σ = 1.03923: 0.57735,
    #   −1.15470, 0.57735. Slots (0, 1) and (1, 0) have one holder: 0.
    # Triggers 0: (1 2), (1), (3) against (1 2): 1, 2/3, 0: μ = 0.55556, σ = 0.50918: 0.87287,
    #   0.21822, −1.09109. Triggers 1: one holder: 0.
    # Sequence: 3/3, 1/3, 1/3: μ = 0.55556, σ = 0.38490: 1.15470, −0.57735, −0.57735; times
    #   λ = 0.5: 0.57735, −0.28868, −0.28868.
    # Prompt 2. Slot (0, 0): beer 0.4 + 1, none, tea 0.8 + 0: μ = 1.1, σ = 0.42426: ±0.70711.
    # Triggers 0: (2), none, (1) against (2): 1, 0: ±0.70711.
    # Sequence: 1/3, 0, 2/3 − 1/2: μ = 1/6, σ = 1/6: 1, −1, 0; times λ: 0.5, −0.5, 0.
    s, a, b = 0.57735, -0.28868, 0.5
    table = [
        # why tea why milk, interest b_1 b_2 queries tea sep milk, interest b_3 queries beer eos
        [s, s, s, s, s, 0.87287, 0.87287, s, 1.15470, s, s, s, 0.0, s, s, s],
        # why tea interest b_1 queries eggs eos
        [a, a, a, 0.21822, a, -1.44338, a],
        # why tea interest b_3 queries tea eos
        [a, a, a, -1.09109, a, 0.28868, a],
        # why milk interest b_2 queries beer eos
        [b, b, b, 0.70711, b, 1.20711, b],
        # why milk interest b_2 queries beer: cut off, so it has the sequence part alone
        [-b] * 6,
        # why milk interest b_1 queries tea sep tea eos; the second tea is alone in its slot
        [0.0, 0.0, 0.0, -0.70711, 0.0, -0.70711, 0.0, 0.0, 0.0],
    ]
    assert mask.sum() == 52
    expected = torch.tensor([[-x / 52 for x in row] + [0.0] * (16 - len(row)) for row in table])
    torch.testing.assert_close(logps.grad, expected, atol=3e-5, rtol=0)  # ε = 1e-4


def test_slots_of_a_list_are_its_places(policy: Any) -> None:
    model, tokenizer = policy()
    layout = ListLayout(model, tokenizer, 2)
    [rollout] = layout.parse([tokenizer("tea<sep>whole milk<eos>")["input_ids"]])
    assert rollout.slots == Slots({0: "tea", 1: "whole milk"}, {})
    assert rollout.segments == [0, -1, 1, 1, -1]
    assert (layout.query_slots, layout.trigger_slots, layout.full_length) == (2, 0, 2)
    label = layout.reference(PolicySample("u", "", ["beer", "tea", "milk"]))
    assert label.queries == {0: "beer", 1: "tea"}  # what lies beyond the list has no slot


def test_rules_know_the_lines_of_each_prompt(thinker: tuple[Any, Any], layout: ThinkLayout) -> None:
    _, tokenizer = thinker
    prompts = [tokenizer(text)["input_ids"] for text in ("<b_1>tea<b_2>milk<think>", "<b_1>tea")]
    rules = layout.rules(prompts)
    assert [row.lines for row in rules.rows] == [2, 1]
