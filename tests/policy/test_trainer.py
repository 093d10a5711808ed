import random
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import save_policy
from aigq_tasks.policy.generate import ListRules, Sampling, decode, noise
from aigq_tasks.policy.il_sft import train_il_sft
from aigq_tasks.policy.parse import parse_completions
from aigq_tasks.policy.rewards import CtrScorer, FloatArray, RewardConfig, r_len, rouge_l
from aigq_tasks.policy.rollouts import ListLayout
from aigq_tasks.policy.train import WHOLE, train_arguments, train_il_grpo
from aigq_tasks.policy.trainer import ILGRPOTrainer
from aigq_tasks.policy.training import Clip, GrpoConfig, PolicySample, SftConfig, trl_arguments


def likes_tea(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([0.25 if query == "tea" else 0.0 for query in queries])


def letters(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([min(len(query), 20) / 100 for query in queries])


@pytest.fixture
def samples(prompts: list[str]) -> list[PolicySample]:
    lists = [["whole milk", "tea"], ["beer"], ["rye bread", "eggs", "milk"], ["free range eggs"]]
    return [
        PolicySample(f"u{i}", prompt, queries)
        for i, (prompt, queries) in enumerate(zip(prompts, lists, strict=True))
    ]


@pytest.fixture
def warm(policy: Any, prompts: list[str]) -> Callable[[], tuple[Any, Any]]:
    """warm() -> a policy that has seen lists of one to three queries: it writes well-formed
    lists more often than not, and has no favourite."""
    draw = random.Random(0)
    queries = ["whole milk", "tea", "beer", "rye bread", "eggs", "dark bread", "free range eggs"]
    seen = [
        PolicySample("u", prompt, draw.sample(queries, draw.randint(1, 3)))
        for prompt in prompts * 16
    ]

    def build() -> tuple[Any, Any]:
        model, tokenizer = policy()
        train_il_sft(model, tokenizer, seen, SftConfig(epochs=6, learning_rate=5e-3), seed=0)
        return model, tokenizer

    return build


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
        train_arguments(config, 1, tmp_path, keep=False)
    free = config.model_copy(update={"rollout_rules": False})
    monkeypatch.setattr("aigq_tasks.policy.train.find_spec", lambda name: None)
    with pytest.raises(AigqError, match="vllm, which is not installed"):
        train_arguments(free, 1, tmp_path, keep=False)
    monkeypatch.setattr("aigq_tasks.policy.train.find_spec", lambda name: object())
    assert train_arguments(free, 1, tmp_path, keep=False).use_vllm
    own = GrpoConfig(rollout_rules=False)
    assert not train_arguments(own, 1, tmp_path, keep=False).use_vllm


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
        arguments = train_arguments(config, 3, tmp_path, keep=False)
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
