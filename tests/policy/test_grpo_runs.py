"""Whole IL-GRPO runs: what is learned, that it repeats, and how it goes on after a fault."""

import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from datasets import Dataset
from scorers import letters, likes_tea
from trl import GRPOTrainer  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import save_policy
from aigq_tasks.policy.config import Clip, GrpoConfig, PolicySample, RewardConfig
from aigq_tasks.policy.generate import Sampling, decode, noise
from aigq_tasks.policy.grpo_run import WHOLE, train_arguments, train_il_grpo
from aigq_tasks.policy.rewards import CtrScorer, FloatArray
from aigq_tasks.policy.rollouts import ListLayout
from aigq_tasks.policy.trainer import ILGRPOTrainer


def test_the_policy_learns_what_the_reward_likes(warm: Any, samples: list[PolicySample]) -> None:
    model, tokenizer = warm()
    config = GrpoConfig(
        steps=15,
        prompts_per_step=4,
        learning_rate=5e-3,
        list_length=2,
        max_new_tokens=8,
        reward=RewardConfig(w_rouge=0.0, w_len=0.0),
    )
    layout = ListLayout(model, tokenizer, 2)
    model, history = train_il_grpo(model, tokenizer, samples, layout, likes_tea, config, seed=0)
    assert len(history) == 30  # two minibatches a step; the rewards are logged with the first
    clicks = [entry["reward/ctr"] for entry in history if "reward/ctr" in entry]
    assert len(clicks) == 15
    assert np.mean(clicks[:3]) < 0.2
    assert np.mean(clicks[-3:]) > np.mean(clicks[:3]) + 0.3


def test_two_runs_are_equal_and_micro_batches_only_round(
    warm: Any, samples: list[PolicySample], tmp_path: Path
) -> None:
    runs = []
    for micro_batch in (0, 0, 2):
        model, tokenizer = warm()
        config = GrpoConfig(
            steps=2, prompts_per_step=2, generations=4, micro_batch=micro_batch, max_new_tokens=8
        )
        layout = ListLayout(model, tokenizer, config.list_length)
        model, history = train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=1)
        runs.append((save_policy(model, tokenizer), history, model))
        assert "forward" not in vars(model)
        assert not model.training
    assert runs[0][:2] == runs[1][:2]
    assert runs[0][1][0]["reward"] == runs[2][1][0]["reward"]
    assert not [key for key in runs[0][1][0] if "time" in key or "runtime" in key]
    # Adam moves a weight by the learning rate even where its gradient is rounding alone, so only
    # the mean says something: four updates of 2e-4 that differ in their roundings.
    pairs = zip(runs[0][2].parameters(), runs[2][2].parameters(), strict=True)
    apart = torch.cat([(whole - split).abs().flatten() for whole, split in pairs])
    assert apart.mean() < 1e-6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GrpoConfig(prompts_per_step=5), "4 samples do not fill"),
        (GrpoConfig(prompts_per_step=2, generations=4, micro_batch=3), "micro-batches of 3"),
        (GrpoConfig(prompts_per_step=3, generations=5), "the 15 rollouts .* 2 minibatches"),
    ],
)
def test_what_cannot_fill_a_step_is_an_error(
    policy: Any, samples: list[PolicySample], config: GrpoConfig, message: str
) -> None:
    model, tokenizer = policy()
    layout = ListLayout(model, tokenizer, config.list_length)
    with pytest.raises(AigqError, match=message):
        train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=0)


def rewards_of_lists(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward of the whole list, the same for both trainers: how long it is."""
    return [float(len(ids)) for ids in completion_ids]


class _OwnRollouts(GRPOTrainer):
    """TRL's trainer on rollouts drawn as ours are; its loss is its own."""

    def rollouts_of(self, config: GrpoConfig, seed: int) -> None:
        self.draws, self.drawn = (config, seed), 0

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        config, seed = self.draws
        drawn = noise(seed, self.drawn, len(prompt_ids), config.max_new_tokens)
        self.drawn += len(prompt_ids)
        written = decode(
            self.model,
            prompt_ids,
            self.processing_class.eos_token_id,
            max_new_tokens=config.max_new_tokens,
            sampling=Sampling(config.temperature, config.top_k, drawn),
        )
        return written, None


class _Whole(ILGRPOTrainer):
    """IL-GRPO with a reward for the sequence alone: with λ = 1 that is GRPO."""

    def list_reward(self, completion_ids: list[list[int]], **more: Any) -> list[float | None]:
        super().list_reward(completion_ids, **more)
        whole = np.array(rewards_of_lists(completion_ids))
        query = np.where(np.isnan(self._rewards.query), np.nan, 1.0)
        self._rewards = replace(self._rewards, query=query, sequence=whole, whole=whole)
        return whole.tolist()


@pytest.mark.parametrize("algorithm", ["il_grpo", "grpo"])
def test_without_parts_it_is_grpo(
    warm: Any, samples: list[PolicySample], tmp_path: Path, algorithm: str
) -> None:
    """The losses of ten updates, two per rollout batch, are those of TRL's own trainer."""
    bounds = Clip(low=0.2, high=0.2)
    config = GrpoConfig(
        algorithm=algorithm,
        sequence_weight=1.0,
        certain=bounds,
        uncertain=bounds,
        entropy_bonus=0.0,
        reward_range=(-100.0, 100.0),
        prompts_per_step=2,
        generations=4,
        steps=5,
        max_new_tokens=8,
        top_k=50,
        rollout_rules=False,
        learning_rate=1e-3,
    )
    losses = []
    for ours in (True, False):
        model, tokenizer = warm()
        arguments = train_arguments(config, 3)
        rows = Dataset.from_list([vars(sample) for sample in samples])
        if ours:
            layout = ListLayout(model, tokenizer, 2)
            trainer = _Whole(
                model, arguments, rows, tokenizer, [], layout=layout, scorer=letters, config=config
            )
        else:
            trainer = _OwnRollouts(
                model, [rewards_of_lists], arguments, rows, processing_class=tokenizer
            )
            trainer.rollouts_of(config, 3)
        trainer.train()
        losses.append([step["loss"] for step in trainer.state.log_history if "loss" in step])
    assert len(losses[0]) == 10
    assert np.std(losses[0]) > 0
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_a_run_that_died_goes_on_to_the_same_end(
    warm: Any, samples: list[PolicySample], tmp_path: Path
) -> None:
    config = GrpoConfig(steps=4, prompts_per_step=2, generations=4, max_new_tokens=8)
    calls = []

    def dies(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        calls.append(user_ids)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return letters(user_ids, queries)

    def run(scorer: CtrScorer, checkpoints: Path | None) -> tuple[dict[str, bytes], Any]:
        model, tokenizer = warm()
        layout = ListLayout(model, tokenizer, config.list_length)
        model, history = train_il_grpo(
            model, tokenizer, samples, layout, scorer, config, seed=1, checkpoints=checkpoints
        )
        return save_policy(model, tokenizer), history

    whole = run(letters, None)
    with pytest.raises(RuntimeError, match="killed"):
        run(dies, tmp_path / "held")
    assert run(letters, tmp_path / "held") == whole
    assert len(calls) == 3


def test_a_full_disk_is_one_line_and_what_is_torn_is_not_used(
    warm: Any, samples: list[PolicySample], tmp_path: Path
) -> None:
    """No file may grow beyond a limit when the second checkpoint is written."""
    config = GrpoConfig(steps=3, prompts_per_step=2, generations=4, max_new_tokens=8)
    calls = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_the_disk(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        nonlocal calls
        calls += 1
        if calls == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        return letters(user_ids, queries)

    def run(scorer: CtrScorer, checkpoints: Path | None) -> dict[str, bytes]:
        model, tokenizer = warm()
        layout = ListLayout(model, tokenizer, config.list_length)
        trained, _ = train_il_grpo(
            model, tokenizer, samples, layout, scorer, config, seed=1, checkpoints=checkpoints
        )
        return save_policy(trained, tokenizer)

    whole = run(letters, None)
    try:
        with pytest.raises(AigqError, match="a checkpoint cannot be written to") as caught:
            run(fills_the_disk, tmp_path / "held")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    saved = (tmp_path / "held").glob("checkpoint-*")
    left = {path.name: (path / WHOLE).exists() for path in saved}
    assert left == {"checkpoint-2": True, "checkpoint-4": False}
    steps = []

    def counted(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        steps.append(user_ids)
        return letters(user_ids, queries)

    assert run(counted, tmp_path / "held") == whole
    assert len(steps) == 2  # the first one was not done again
