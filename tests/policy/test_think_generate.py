import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from aigq_tasks.context.interests import Interest, ThinkLimits, render_interests
from aigq_tasks.context.prompt import HistoryLine, render_think_prompt
from aigq_tasks.context.tokens import add_special_tokens, think_tokens
from aigq_tasks.policy.config import PolicySample, SftConfig
from aigq_tasks.policy.il_sft import train_il_sft
from aigq_tasks.policy.think_generate import generate_think

LIMITS = ThinkLimits(interests=2, triggers=2, queries=2, rationale_tokens=2, query_tokens=2)
INTERESTS = [
    [Interest("tea", (1,), ("rye bread", "eggs")), Interest("milk", (2,), ("beer",))],
    [Interest("eggs", (1,), ("tea",))],
]


@pytest.fixture
def thinker(policy: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
    model, tokenizer = policy()
    add_special_tokens(tokenizer, model, think_tokens(3))
    return model, tokenizer


@pytest.fixture
def prompts() -> list[str]:
    lines = [HistoryLine(text, "search", 1, 1, 0.0) for text in ("milk", "beer", "eggs")]
    return [render_think_prompt("", lines), render_think_prompt("", lines[2:])]


def test_whatever_is_written_under_the_rules_is_valid(
    thinker: tuple[Any, Any], prompts: list[str]
) -> None:
    written = generate_think(*thinker, prompts * 3, [3, 1] * 3, LIMITS, batch_size=2)
    assert all(parsed.valid for parsed in written)
    assert written[0] == written[2] == written[4]  # equal prompts, in other batches
    for parsed, lines in zip(written, [3, 1] * 3, strict=True):
        assert 1 <= len(parsed.interests) <= 2
        for interest in parsed.interests.values():
            assert set(interest.triggers) <= set(range(1, lines + 1))
            assert 1 <= len(interest.queries) <= 2
    free = generate_think(*thinker, prompts, [3, 1], LIMITS, constrained=False)
    assert not any(parsed.valid for parsed in free)  # the model has learnt nothing yet


def test_what_il_sft_taught_is_written(thinker: tuple[Any, Any], prompts: list[str]) -> None:
    samples = [
        PolicySample("u", prompt, [], render_interests(interests))
        for prompt, interests in zip(prompts, INTERESTS, strict=True)
    ]
    config = SftConfig(epochs=30, batch_size=4, learning_rate=1e-2)
    train_il_sft(*thinker, samples * 4, config, seed=0)
    for constrained in (True, False):
        written = generate_think(*thinker, prompts, [3, 1], LIMITS, constrained=constrained)
        assert [list(parsed.interests.values()) for parsed in written] == INTERESTS


@pytest.mark.parametrize("constrained", [True, False])
def test_reasoning_draws_nothing(
    thinker: tuple[Any, Any], prompts: list[str], constrained: bool
) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    generate_think(*thinker, prompts, [3, 1], LIMITS, constrained=constrained)
    assert torch.get_rng_state().equal(before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_no_prompt(thinker: tuple[Any, Any]) -> None:
    assert generate_think(*thinker, [], [], LIMITS) == []
