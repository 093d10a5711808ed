"""Reason, then answer: what AIGQ-Think writes for many prompts (paper 3.4.2)."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.policy.config import LISTS_AT_ONCE
from aigq_tasks.policy.generate import Spelling, generate
from aigq_tasks.policy.think import ParsedThink, ThinkFormat, parse_think
from aigq_tasks.policy.think_rules import ThinkRules


def generate_think(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    lines: Sequence[int],
    limits: ThinkLimits,
    batch_size: int = LISTS_AT_ONCE,
    *,
    constrained: bool = True,
    progress: bool = False,
) -> list[ParsedThink]:
    """One greedy completion per prompt, parsed, in the order of the prompts.

    lines: history lines of each prompt, at least one: there is no reasoning from nothing. With
    constrained (`ThinkRules`) every completion is valid; without, the model is on its own.
    """
    fmt = ThinkFormat.of(tokenizer, max(lines, default=1))
    spelling = Spelling.of(model, tokenizer, fmt)

    @cache
    def decode(piece: tuple[int, ...]) -> str:
        return str(tokenizer.decode(list(piece)))

    def rules_of(rows: Sequence[int]) -> ThinkRules | None:
        if not constrained:
            return None
        return ThinkRules(fmt, spelling, [lines[i] for i in rows], limits)

    completions = generate(
        model,
        tokenizer,
        prompts,
        rules_of,
        max_new_tokens=limits.max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    return [parse_think(ids, fmt, decode, limits.interests, limits.queries) for ids in completions]
