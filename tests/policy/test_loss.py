"""The loss that trains: TRL's, with the advantages and bounds that the trainer gives it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from datasets import Dataset

from aigq_tasks.context.interests import Interest, ThinkLimits, render_interests
from aigq_tasks.context.tokens import add_special_tokens, think_tokens
from aigq_tasks.policy.batches import Batch
from aigq_tasks.policy.config import Clip, GrpoConfig, PolicySample, RewardConfig
from aigq_tasks.policy.grpo_run import train_arguments
from aigq_tasks.policy.rewards import FloatArray
from aigq_tasks.policy.rollouts import Layout, ListLayout, ThinkLayout
from aigq_tasks.policy.trainer import ILGRPOTrainer

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


def scorer(users: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([CLICKS[query] for query in queries])


class ByHand(ILGRPOTrainer):
    """The trainer with rollouts, log-probabilities and entropies of its tokens given by hand."""

    def given(self, written: list[list[int]], logps: torch.Tensor, entropies: torch.Tensor) -> None:
        self.hand = written, logps, entropies

    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return self.hand[0], None

    def _get_per_token_logps_and_entropies(self, *_: Any, **__: Any) -> Any:
        _, logps, entropies = self.hand
        self._logps = logps.detach()
        return logps, entropies, None


@pytest.fixture
def thinker(policy: Any) -> tuple[Any, Any]:
    model, tokenizer = policy()
    add_special_tokens(tokenizer, model, think_tokens(3))
    return model, tokenizer


def by_hand(
    thinker: tuple[Any, Any], layout: Layout, samples: list[PolicySample], config: GrpoConfig
) -> ByHand:
    rows = Dataset.from_list([vars(sample) for sample in samples])
    trainer = ByHand(
        thinker[0],
        train_arguments(config, seed=0),
        rows,
        thinker[1],
        layout=layout,
        scorer=scorer,
        config=config,
    )
    trainer.current_gradient_accumulation_steps = 1  # set by `train`, which is not called here
    trainer.state.max_steps = 4
    trainer.model.train()
    return trainer


def test_every_token_has_the_coefficient_worked_out_by_hand(thinker: tuple[Any, Any]) -> None:
    _, tokenizer = thinker
    # No weight for length; otherwise click · 4 + ROUGE-L, filled places of 3, minus duplicates.
    config = GrpoConfig(
        minibatches=1,
        prompts_per_step=2,
        generations=3,
        rollout_rules=False,
        entropy_bonus=0.0,
        reward_range=(-100.0, 100.0),
        reward=RewardConfig(w_rouge=1.0, w_len=0.0),
    )
    samples = [PolicySample("u", "tea", [], render_interests(points)) for points in LABELS]
    layout = ThinkLayout(*thinker, LIMITS, lines=3, length=3)
    trainer = by_hand(thinker, layout, samples, config)
    logps = torch.zeros(6, 16, requires_grad=True)
    trainer.given([tokenizer(text)["input_ids"] for text in ROLLOUTS], logps, torch.ones(6, 16))
    batch = trainer._generate_and_score_completions(
        [vars(sample) for sample in samples for _ in range(3)]
    )
    trainer._compute_loss(trainer.model, batch).backward()

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
    assert batch["completion_mask"].sum() == 52
    expected = torch.tensor([[-x / 52 for x in row] + [0.0] * (16 - len(row)) for row in table])
    torch.testing.assert_close(logps.grad, expected, atol=3e-5, rtol=0)  # ε = 1e-4


@pytest.fixture
def trainer(thinker: tuple[Any, Any]) -> ByHand:
    """A trainer of lists with bounds 0.1, 0.2 and, for uncertain tokens, 0.3, 0.5."""
    config = GrpoConfig(
        minibatches=1,
        prompts_per_step=1,
        generations=2,
        rollout_rules=False,
        certain=Clip(0.1, 0.2),
        uncertain=Clip(0.3, 0.5),
        entropy_bonus=0.0,
    )
    sample = PolicySample("u", "tea", ["milk"])
    return by_hand(thinker, ListLayout(*thinker, 2), [sample], config)


def a_batch(ratio: list[list[float]], advantages: list[list[float]]) -> tuple[Batch, torch.Tensor]:
    """A batch whose tokens have moved by these ratios from −1, and their log-probabilities."""
    moved = torch.tensor(ratio)
    tokens = torch.ones(moved.shape, dtype=torch.int64)
    batch = {
        "prompt_ids": tokens[:, :1],
        "prompt_mask": tokens[:, :1],
        "completion_ids": tokens,
        "completion_mask": tokens,
        "advantages": torch.tensor(advantages),
        "old_per_token_logps": torch.full(moved.shape, -1.0),
        "num_items_in_batch": tokens.sum(),
    }
    return batch, (moved.log() - 1.0).requires_grad_()


def test_a_ratio_beyond_its_own_bound_counts_as_the_bound(trainer: ByHand) -> None:
    """Four tokens of the same ratios, certain in the first rollout, uncertain in the second."""
    ratio, advantages = [1.4, 1.6, 1.6, 0.8], [2.0, 2.0, -2.0, -2.0]
    batch, logps = a_batch([ratio, [*ratio[:3], 0.6]], [advantages, advantages])
    batch["is_uncertain"] = torch.tensor([[False] * 4, [True] * 4])
    trainer.given([], logps, torch.ones(2, 4))
    loss = trainer._compute_loss(trainer.model, batch)
    # Certain: 1.4 and 1.6 are worth 1.2 · 2; bad and likelier is not cut: −3.2; bad and already
    # less likely: 0.9 · −2. Uncertain: 1.4 · 2 is within; 1.5 · 2; −3.2; 0.7 · −2.
    objective = [2.4, 2.4, -3.2, -1.8, 2.8, 3.0, -3.2, -1.4]
    assert loss.item() == pytest.approx(-sum(objective) / 8, abs=1e-6)
    loss.backward()
    # Where the bound counts nothing moves; elsewhere −ρ A of 8 tokens.
    gradient = torch.tensor([[0.0, 0.0, 3.2, 0.0], [-2.8, 0.0, 3.2, 0.0]]) / 8
    torch.testing.assert_close(logps.grad, gradient)
    metrics = trainer._metrics["train"]
    assert (metrics["clipped/certain"], metrics["clipped/uncertain"]) == ([3 / 4], [2 / 4])


def test_padding_counts_for_nothing(trainer: ByHand) -> None:
    batch, logps = a_batch([[1.0, 1.0], [1.0, 9.0]], [[1.0, 2.0], [3.0, 4.0]])
    batch["completion_mask"] = torch.tensor([[1, 1], [1, 0]])
    batch["num_items_in_batch"] = torch.tensor(3)
    batch["is_uncertain"] = torch.zeros(2, 2, dtype=torch.bool)
    trainer.given([], logps, torch.ones(2, 2))
    loss = trainer._compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx(-(1 + 2 + 3) / 3)
    loss.backward()
    torch.testing.assert_close(logps.grad, torch.tensor([[-1.0, -2.0], [-3.0, 0.0]]) / 3)


def test_the_entropy_bonus_is_taken_off_at_the_weight_of_its_step(thinker: tuple[Any, Any]) -> None:
    config = GrpoConfig(
        minibatches=1, prompts_per_step=1, generations=2, rollout_rules=False, entropy_bonus=0.4
    )
    layout = ListLayout(*thinker, 2)
    trainer = by_hand(thinker, layout, [PolicySample("u", "tea", ["milk"])], config)
    losses = []
    for step in (0, 1, 4):
        batch, logps = a_batch([[1.0, 1.0]], [[1.0, -0.5]])
        entropies = torch.tensor([[0.5, 1.5]], requires_grad=True)
        trainer.state.global_step = step
        trainer.given([], logps, entropies)
        losses.append(trainer._compute_loss(trainer.model, batch).item())
    # −(1 − 0.5) / 2 = −0.25, less 0.4, 0.3 and 0 times the mean entropy of 1.
    assert losses == pytest.approx([-0.65, -0.55, -0.25])
