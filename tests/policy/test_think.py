import pytest

from aigq_tasks.context.interests import Interest
from aigq_tasks.policy.think import (
    STRUCTURE,
    ParsedThink,
    Segment,
    ThinkFormat,
    parse_think,
)

# Ids of a toy vocabulary: markers, behaviours 1-3, the end, an unknown special token, words.
WHY, PAIR, ASK, SEP, B1, B2, B3, EOS, PAD = range(9)
WORDS = {10: "often", 11: "milk", 12: " bread", 13: "tea", 14: " "}
FORMAT = ThinkFormat(WHY, PAIR, ASK, SEP, EOS, {B1: 1, B2: 2, B3: 3}, frozenset(WORDS))
OFTEN, MILK, BREAD, TEA, SPACE = WORDS


def decode(piece: tuple[int, ...]) -> str:
    return "".join(WORDS[i] for i in piece)


def parse(*ids: int) -> ParsedThink:
    return parse_think(ids, FORMAT, decode, max_interests=2, max_queries=2)


def test_two_interests_token_by_token() -> None:
    parsed = parse(
        *(WHY, OFTEN, MILK, WHY, TEA),
        *(PAIR, B1, B3, ASK, MILK, BREAD, SEP, MILK),
        *(PAIR, B2, ASK, TEA, EOS, PAD),
    )
    assert parsed.valid
    assert parsed.reason == ""
    assert parsed.interests == {
        0: Interest("oftenmilk", (1, 3), ("milk bread", "milk")),
        1: Interest("tea", (2,), ("tea",)),
    }
    structure, why_0, why_1 = STRUCTURE, Segment("rationale", 0), Segment("rationale", 1)
    assert parsed.spans == [
        *(structure, why_0, why_0, structure, why_1),
        *(structure, Segment("trigger", 0), Segment("trigger", 0), structure),
        *(Segment("query", 0, 0), Segment("query", 0, 0), structure, Segment("query", 0, 1)),
        *(structure, Segment("trigger", 1), structure, Segment("query", 1, 0)),
        *(structure, structure),
    ]


GOOD = (WHY, OFTEN, WHY, TEA, PAIR, B1, ASK, MILK, PAIR, B2, ASK, TEA, EOS)


@pytest.mark.parametrize(
    ("ids", "reason", "kept"),
    [
        (GOOD, "", {0, 1}),
        ((), "truncated", set()),
        ((EOS,), "text before the first rationale", set()),
        ((MILK, *GOOD), "text before the first rationale", {0, 1}),
        (GOOD[:-1], "truncated", {0}),  # the last query may not be whole
        ((WHY, WHY, TEA, *GOOD[4:]), "empty rationale", {1}),
        ((WHY, OFTEN, *GOOD[4:]), "unpaired", {0}),  # pair 1 has no rationale
        ((WHY, OFTEN, WHY, TEA, PAIR, B1, ASK, MILK, EOS), "unpaired", {0}),
        ((*GOOD[:4], ASK, MILK, EOS), "out of order", set()),
        ((*GOOD[:8], WHY, OFTEN, EOS), "out of order", {0}),
        ((*GOOD[:5], ASK, MILK, *GOOD[8:]), "no triggers", {1}),
        ((*GOOD[:5], B1, MILK, ASK, MILK, *GOOD[8:]), "no triggers", {1}),
        ((*GOOD[:5], B1, B1, ASK, MILK, *GOOD[8:]), "repeated trigger", {1}),
        ((*GOOD[:5], B1, *GOOD[8:]), "out of order", set()),  # a pair without <queries>
        ((*GOOD[:8], SEP, *GOOD[8:]), "empty query", {1}),
        ((*GOOD[:7], SPACE, *GOOD[8:]), "empty query", {1}),
        ((*GOOD[:7], B2, *GOOD[8:]), "special token", {1}),
        ((*GOOD[:8], SEP, TEA, SEP, TEA, *GOOD[8:]), "too many", {1}),
        ((WHY, TEA, *GOOD[:-1], PAIR, B3, ASK, TEA, EOS), "too many", {0, 1}),
    ],
)
def test_each_defect_drops_what_it_touches(
    ids: tuple[int, ...], reason: str, kept: set[int]
) -> None:
    parsed = parse(*ids)
    assert parsed.reason == reason
    assert parsed.valid == (reason == "")
    assert set(parsed.interests) == kept
