"""Rules on a toy vocabulary: whatever is drawn under them can be parsed."""

import pytest
import torch  # noqa: TID253

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.policy.generate import Spelling
from aigq_tasks.policy.parse import ListFormat
from aigq_tasks.policy.think import ThinkFormat
from aigq_tasks.policy.think_rules import ThinkRules

WHY, PAIR, ASK, SEP, B1, B2, B3, EOS, PAD = range(9)
WORDS = {9: "often", 10: "milk", 11: " tea", 12: " ", 13: "m", 14: "ilk"}
TEXT = frozenset(WORDS)
FORMAT = ThinkFormat(WHY, PAIR, ASK, SEP, EOS, {B1: 1, B2: 2, B3: 3}, TEXT)
LIMITS = ThinkLimits(interests=2, triggers=2, queries=2, rationale_tokens=2, query_tokens=2)


class Words:
    """The one method of a tokenizer that Spelling needs."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [WORDS[i] for i in ids]


SPELLING = Spelling(Words(), ListFormat(SEP, EOS, TEXT), 15, torch.device("cpu"))


def allowed(*written: int, lines: int = 3) -> set[int]:
    rules = ThinkRules(FORMAT, SPELLING, [lines], LIMITS)
    for token in written:
        rules.observe([token])
    return set(rules.allowed()[0].nonzero().squeeze(1).tolist())


OFTEN, MILK, TEA, SPACE, M, ILK = WORDS
LETTERS = {OFTEN, MILK, TEA, M, ILK}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ((), {WHY}),
        ((WHY,), LETTERS),
        ((WHY, OFTEN), {*WORDS, WHY, PAIR}),
        ((WHY, OFTEN, TEA), {WHY, PAIR}),  # two tokens of rationale are enough
        ((WHY, OFTEN, WHY, MILK), {*WORDS, PAIR}),  # and so are two interests
        ((WHY, OFTEN, PAIR), {B1, B2, B3}),
        ((WHY, OFTEN, PAIR, B2), {B1, B3, ASK}),
        ((WHY, OFTEN, PAIR, B2, B1), {ASK}),
        ((WHY, OFTEN, PAIR, B2, ASK), LETTERS),
        ((WHY, OFTEN, PAIR, B2, ASK, MILK), {*WORDS, SEP, EOS}),
        # "milk" is taken: not as one token, and not as "m" + "ilk" either
        ((WHY, OFTEN, PAIR, B2, ASK, MILK, SEP), LETTERS - {MILK}),
        ((WHY, OFTEN, PAIR, B2, ASK, MILK, SEP, M), {*WORDS, EOS} - {ILK}),
        # of two rationales one still lacks its pair
        ((WHY, OFTEN, WHY, MILK, PAIR, B2, ASK, TEA), {*WORDS, SEP, PAIR}),
        ((WHY, OFTEN, WHY, MILK, PAIR, B2, ASK, TEA, PAIR), {B1, B2, B3}),
        ((WHY, OFTEN, PAIR, B2, ASK, MILK, EOS), set(range(15))),
    ],
)
def test_what_may_come_next(written: tuple[int, ...], expected: set[int]) -> None:
    assert allowed(*written) == expected


def test_a_trigger_is_a_line_of_the_prompt() -> None:
    assert allowed(WHY, OFTEN, PAIR, lines=1) == {B1}
    assert allowed(WHY, OFTEN, PAIR, B1, lines=1) == {ASK}
