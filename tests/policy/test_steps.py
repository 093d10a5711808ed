"""What is written out computes what transformers' own forward does, and only where it can."""

from collections.abc import Callable
from typing import Any

import pytest
import torch  # noqa: TID253
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM  # noqa: TID253

from aigq_tasks.policy import generate
from aigq_tasks.policy.buffers import PREFILL_ROWS, ROOM
from aigq_tasks.policy.frozen import FrozenQwen
from aigq_tasks.policy.generate import Sampling, TokenScores, _moved_up, decode, noise
from aigq_tasks.policy.steps import CachedSteps, QwenSteps, is_plain_qwen, steps_of

PAD = 2
SMALL = {
    "vocab_size": 50,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 16,
    "initializer_range": 0.3,  # large, so that every position makes a difference
}


def qwen(**changes: Any) -> Any:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SMALL | changes)).eval()


def random_prompts(lengths: list[int]) -> list[list[int]]:
    torch.manual_seed(1)
    return [torch.randint(3, 50, (length,)).tolist() for length in lengths]


@pytest.fixture(params=["one length", "many lengths", "rollouts", "one token", "one row"])
def prompts(request: pytest.FixtureRequest) -> list[list[int]]:
    return {
        "one length": random_prompts([5] * 4),
        "many lengths": random_prompts([2, 9, 1, 7, 3, 4]),
        "rollouts": [one for one in random_prompts([4, 8, 6]) for _ in range(4)],
        "one token": random_prompts([1] * 3),
        "one row": random_prompts([6]),
    }[request.param]


def written_out(model: Any, prompts: list[list[int]], pad: int) -> QwenSteps:
    return QwenSteps(FrozenQwen.of(model), prompts, pad)


@torch.no_grad()
def followed(steps: Any, prompts: list[list[int]], count: int) -> list[torch.Tensor]:
    """Logits of `count` steps that take the same tokens whatever they say; on the way rows end,
    and others move."""
    seen, token = [], torch.tensor([prompt[-1] for prompt in prompts])
    for step in range(count):
        seen.append(steps.next(token))
        token = (token * 7 + step) % 47 + 3
        if step in (2, 5) and len(token) > 2:
            rows = torch.tensor([len(token) - 1, *range(1, len(token) - 1)])
            steps.keep(rows)
            token = token[rows]
    return seen


def test_logits_are_those_of_the_models_own_forward(
    threads: None, prompts: list[list[int]]
) -> None:
    model = qwen()
    assert type(steps_of(model, prompts, PAD)) is QwenSteps
    plain, written = (
        followed(kind(model, prompts, PAD), prompts, 2 * ROOM)
        for kind in (CachedSteps, written_out)
    )
    assert len(written[-1]) <= max(2, len(prompts) - 2)  # some have ended
    for own, expected in zip(written, plain, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 4, "num_key_value_heads": 2},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 40.0}},
        {"tie_word_embeddings": True},
        {"rms_norm_eps": 0.1},
    ],
    ids=["heads share keys", "other positions", "tied", "other norm"],
)
def test_what_the_configuration_says_counts(
    threads: None, prompts: list[list[int]], changes: dict[str, Any]
) -> None:
    model = qwen(**changes)
    plain, written = (
        followed(kind(model, prompts, PAD), prompts, 9) for kind in (CachedSteps, written_out)
    )
    for own, expected in zip(written, plain, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_prompts_of_similar_length_are_padded_together(threads: None) -> None:
    model, prompts = qwen(), random_prompts([*range(1, 3 * PREFILL_ROWS), 40])
    plain, written = (
        followed(kind(model, prompts, PAD), prompts, 9) for kind in (CachedSteps, written_out)
    )
    for own, expected in zip(written, plain, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_other_models_are_run_by_their_own_forward() -> None:
    eager, old, biased = qwen(), qwen(), qwen(attention_bias=True)
    eager.set_attn_implementation("eager")
    other = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1))
    windows = qwen(layer_types=["sliding_attention"] * 3, use_sliding_window=True, sliding_window=4)
    for model in (eager, old.bfloat16(), biased, other, windows, qwen(hidden_act="gelu")):
        assert not is_plain_qwen(model)
    assert type(steps_of(other, [[3, 4]], PAD)) is CachedSteps
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_plain_qwen(qwen())


def test_a_training_sees_the_same_rollouts_and_scores_either_way(
    policy: Callable[..., tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokenizer = policy()
    model, found = qwen(vocab_size=len(tokenizer)), []
    prompts = [one for one in random_prompts([4, 8, 6]) for _ in range(4)]
    prompts = [[token % len(tokenizer) for token in one] for one in prompts]
    for kind in (written_out, CachedSteps):
        monkeypatch.setattr(generate, "steps_of", kind)
        scores = TokenScores(len(prompts), 1.0)
        sampling = Sampling(1.0, 20, noise(3, 0, len(prompts), 40))
        written = decode(model, prompts, 4, max_new_tokens=40, sampling=sampling, watch=scores)
        found.append((written, scores.tables()))
    assert len({len(one) for one in found[0][0]}) > 2  # rows have ended at different times
    assert found[0][0] == found[1][0]
    for own, expected in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_few_rows_move_where_some_have_ended() -> None:
    assert _moved_up([0, 1, 2]) == [0, 1, 2]
    assert _moved_up([1, 2, 4, 5]) == [5, 1, 2, 4]
    assert _moved_up([3]) == [3]
    assert _moved_up([]) == []
