from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from datasets import Dataset
from scorers import letters
from trl import GRPOConfig, GRPOTrainer  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.config import Clip, GrpoConfig, PolicySample, RewardConfig
from aigq_tasks.policy.generate import ListRules
from aigq_tasks.policy.grpo_run import train_arguments, train_il_grpo
from aigq_tasks.policy.parse import parse_completions
from aigq_tasks.policy.rewards import FloatArray, r_len, rouge_l
from aigq_tasks.policy.rollouts import ListLayout
from aigq_tasks.policy.trainer import ILGRPOTrainer
from aigq_tasks.policy.trl_common import trl_arguments


def trainer_of(
    policy: tuple[Any, Any], samples: list[PolicySample], folder: Path, *, rules: bool
) -> ILGRPOTrainer:
    model, tokenizer = policy
    config = GrpoConfig(
        prompts_per_step=2,
        generations=6,
        list_length=2,
        max_new_tokens=10,
        rollout_rules=rules,
    )
    arguments = GRPOConfig(
        **trl_arguments(str(folder), 0),
        per_device_train_batch_size=12,
        num_generations=6,
        temperature=0.7,
        shuffle_dataset=False,
        remove_unused_columns=False,
    )
    rows = Dataset.from_list([vars(sample) for sample in samples])
    return ILGRPOTrainer(
        model,
        arguments,
        rows,
        tokenizer,
        [],
        layout=ListLayout(model, tokenizer, 2),
        scorer=letters,
        config=config,
    )


def test_the_advantages_of_real_rollouts_follow_the_equations(
    warm: Any, samples: list[PolicySample], tmp_path: Path
) -> None:
    trainer = trainer_of(warm(), samples, tmp_path, rules=False)
    trainer.model.train()
    inputs = [vars(sample) for sample in samples[:2] for _ in range(6)]
    batch = trainer._generate_and_score_completions(inputs)
    ids, mask = batch["completion_ids"], batch["completion_mask"].bool()
    assert batch["advantages"].shape == ids.shape
    written = [row[own].tolist() for row, own in zip(ids, mask, strict=True)]
    lists = parse_completions(written, trainer.processing_class, max_queries=2)
    # Not a trivial case: lists of different length, and a malformed one.
    assert {len(parsed.queries) for parsed in lists} >= {1, 2}
    assert {parsed.valid for parsed in lists} == {True, False}

    def query_reward(i: int, j: int) -> float:
        query, reference = lists[i].queries[j], samples[i // 6].reference
        click = min(4 * min(len(query), 20) / 100, 1.0)
        rouge = rouge_l(query, reference[j]) if j < len(reference) else 0.0
        return click + 0.3 * rouge + 0.1 * r_len(query, RewardConfig())

    def standard(value: float, values: list[float]) -> float:
        return float((value - np.mean(values)) / (np.std(values, ddof=1) + 1e-4))

    for i, parsed in enumerate(lists):
        group = range(i // 6 * 6, i // 6 * 6 + 6)
        sequence = [trainer._rewards.sequence[g].item() for g in group]
        whole = 0.5 * standard(sequence[i % 6], sequence)
        for t, j in enumerate(parsed.spans):
            expected = whole
            holders = [g for g in group if j >= 0 and len(lists[g].queries) > j]
            if len(holders) > 1:
                expected += standard(query_reward(i, j), [query_reward(g, j) for g in holders])
            assert batch["advantages"][i, t].item() == pytest.approx(expected, abs=2e-3)


def test_scores_with_a_shared_prefill_equal_those_of_trl(
    warm: Any, samples: list[PolicySample], tmp_path: Path
) -> None:
    trainer = trainer_of(warm(), samples, tmp_path, rules=False)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(
        [vars(sample) for sample in samples[1:3] for _ in range(6)]  # of different length
    )
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length, keep = batch["completion_ids"].size(1), batch["completion_mask"].bool()
    results = []
    for cls, size in ((ILGRPOTrainer, None), (ILGRPOTrainer, 5), (GRPOTrainer, None)):
        trainer.model.zero_grad()
        logps, entropies, _ = cls._get_per_token_logps_and_entropies(
            trainer, trainer.model, ids, mask, length, batch_size=size, compute_entropy=True
        )
        logps[keep].sum().backward()
        gradient = trainer.model.model.layers[0].self_attn.k_proj.weight.grad.clone()
        results.append((logps[keep].detach(), entropies[keep].detach(), gradient))
    for ours in results[:2]:
        torch.testing.assert_close(ours, results[2], atol=2e-4, rtol=1e-4)


def test_rules_need_own_rollouts(
    warm: Any, samples: list[PolicySample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for vLLM, DeepSpeed and FSDP: their rollouts are free, and scores under rules would
    # be those of another policy.
    monkeypatch.setattr(ILGRPOTrainer, "_rollouts_are_own", False)
    with pytest.raises(AigqError, match="rollout_rules to false"):
        trainer_of(warm(), samples, tmp_path, rules=True)
    trainer_of(warm(), samples, tmp_path, rules=False)
    monkeypatch.undo()
    trainer = trainer_of(warm(), samples, tmp_path, rules=False)
    assert trainer._rollouts_are_own
    for engine in ("use_vllm", "is_deepspeed_enabled", "is_fsdp_enabled"):
        with monkeypatch.context() as patch:
            patch.setattr(trainer, engine, True)
            assert not trainer._rollouts_are_own, engine


def test_what_writes_rollouts_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GrpoConfig(engine="vllm")
    with pytest.raises(AigqError, match="to false as well"):
        train_arguments(config, 1)
    free = config.model_copy(update={"rollout_rules": False})
    monkeypatch.setattr("aigq_tasks.policy.grpo_run.find_spec", lambda name: None)
    with pytest.raises(AigqError, match="vllm, which is not installed"):
        train_arguments(free, 1)
    monkeypatch.setattr("aigq_tasks.policy.grpo_run.find_spec", lambda name: object())
    assert train_arguments(free, 1).use_vllm
    own = GrpoConfig(rollout_rules=False)
    assert not train_arguments(own, 1).use_vllm


def test_rollouts_under_rules_are_scored_under_the_same_rules(
    warm: Any, samples: list[PolicySample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_token = partial(ListRules, max_query_tokens=1)
    monkeypatch.setattr("aigq_tasks.policy.rollouts.ListRules", one_token)
    trainer = trainer_of(warm(), samples, tmp_path, rules=True)
    batch = trainer._generate_and_score_completions(
        [vars(sample) for sample in samples[:2] for _ in range(6)]
    )
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    written, keep = batch["completion_ids"], batch["completion_mask"].bool()
    lists = parse_completions(
        [row[own].tolist() for row, own in zip(written, keep, strict=True)],
        trainer.processing_class,
        max_queries=2,
    )
    assert all(parsed.valid for parsed in lists)  # free rollouts of this policy often are not
    assert all(len(set(parsed.queries)) == len(parsed.queries) for parsed in lists)
    assert {len(parsed.queries) for parsed in lists} == {1, 2}
    logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, written.size(1), compute_entropy=True
    )
    assert entropies.isfinite().all()
    eos = trainer.processing_class.eos_token_id
    for row, parsed, logp in zip(written.tolist(), lists, logps, strict=True):
        end = row.index(eos)
        # A query has one token here. After the second only the end is left: its probability is
        # 1, whatever the model says. After the first the list may also go on.
        assert (logp[end].item() == 0.0) == (len(parsed.queries) == 2)
        assert (logp[:end] > -50).all()  # nothing was drawn that the rules ban


def test_the_scorer_is_called_once_per_step(warm: Any, samples: list[PolicySample]) -> None:
    calls = []

    def scorer(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        calls.append(set(user_ids))
        return letters(user_ids, queries)

    model, tokenizer = warm()
    config = GrpoConfig(steps=3, prompts_per_step=2, generations=4, max_new_tokens=8)
    layout = ListLayout(model, tokenizer, config.list_length)
    train_il_grpo(model, tokenizer, samples, layout, scorer, config, seed=1)
    # Two prompts a step in the order of the samples, then from the start again.
    assert calls == [{"u0", "u1"}, {"u2", "u3"}, {"u0", "u1"}]


def test_prompts_that_teach_nothing_make_way_for_spare_ones(
    warm: Any, samples: list[PolicySample]
) -> None:
    """Of users u0 and u1 only the first has rollouts of different reward; u2 steps in."""

    def scorer(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        known = letters(user_ids, queries)
        return np.where(np.array(user_ids) == "u1", 0.1, known)

    config = GrpoConfig(
        steps=1,
        minibatches=1,
        prompts_per_step=2,
        generations=4,
        list_length=2,
        max_new_tokens=8,
        reward=RewardConfig(w_rouge=0.0, w_len=0.0, w_format=0.0, w_dup=0.0),
    )
    seen: list[set[str]] = []

    def watched(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
        seen.append(set(user_ids))
        return scorer(user_ids, queries)

    model, tokenizer = warm()
    layout = ListLayout(model, tokenizer, 2)
    _, [step] = train_il_grpo(model, tokenizer, samples[:3], layout, watched, config, seed=1)
    assert seen == [{"u0", "u1"}, {"u2"}]
    assert (step["dropped_prompts"], step["refilled_prompts"]) == (1.0, 1.0)
    seen.clear()
    _, [step] = train_il_grpo(model, tokenizer, samples[:2], layout, watched, config, seed=1)
    assert seen == [{"u0", "u1"}]  # no spare one: the step goes without
    assert step["dropped_prompts"] == 1.0


def test_both_classes_of_tokens_are_clipped_within_their_bounds(
    warm: Any, samples: list[PolicySample]
) -> None:
    def clipped(certain: float, uncertain: float) -> tuple[float, float]:
        config = GrpoConfig(
            steps=3,
            prompts_per_step=4,
            generations=8,
            max_new_tokens=8,
            learning_rate=2e-2,
            certain=Clip(low=certain, high=certain),
            uncertain=Clip(low=min(uncertain, 0.999), high=uncertain),
        )
        model, tokenizer = warm()
        layout = ListLayout(model, tokenizer, config.list_length)
        _, history = train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=1)
        assert all(step["clipped/certain"] == 0.0 for step in history[::2])  # the ratio is 1 yet
        later = history[1::2]
        return (
            float(np.mean([step["clipped/certain"] for step in later])),
            float(np.mean([step["clipped/uncertain"] for step in later])),
        )

    narrow, wide = clipped(0.01, 0.01), clipped(0.01, 1000.0)
    assert min(narrow) > 0.0
    assert wide[0] > 0.0
    assert wide[1] == 0.0


def test_the_entropy_bonus_keeps_the_policy_open(warm: Any, samples: list[PolicySample]) -> None:
    ends = []
    for bonus in (0.0, 0.5):
        config = GrpoConfig(
            steps=6,
            prompts_per_step=4,
            max_new_tokens=8,
            learning_rate=5e-3,
            entropy_bonus=bonus,
        )
        model, tokenizer = warm()
        layout = ListLayout(model, tokenizer, config.list_length)
        _, history = train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=1)
        ends.append(history[-1]["entropy"])
        weights = [step.get("entropy_coef", 0.0) for step in history]
        assert weights == pytest.approx([bonus * (1 - s / 12) for s in range(12)])
    assert ends[1] > ends[0]


def test_the_anchor_is_the_parent(warm: Any, samples: list[PolicySample]) -> None:
    config = GrpoConfig(
        steps=3, prompts_per_step=4, max_new_tokens=8, learning_rate=5e-3, anchor=0.1
    )
    model, tokenizer = warm()
    layout = ListLayout(model, tokenizer, config.list_length)
    _, history = train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=1)
    assert history[0]["kl"] == pytest.approx(0.0, abs=1e-6)  # nothing has moved yet
    assert history[-1]["kl"] > 1e-4
