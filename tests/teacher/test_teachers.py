from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from aigq_tasks.context.interests import Interest
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.teacher.teachers import StandIn, rationale

MILK = HistoryLine("milk", "search", 7, 3, 7.0)  # every 7 days, 7 days ago
TEA = HistoryLine("tea", "search", 2, 3, 20.0)
RYE = HistoryLine("rye bread", "item_click", 0, 1, 0.0)
SHOPPER = Shopper("h1", "", (MILK, TEA, RYE))
# Two dimensions: dairy and bread; "hammer" is neither.
VECTORS = {
    "milk": (1.0, 0.0),
    "oat milk": (0.9, 0.1),
    "tea": (0.0, 0.0),
    "rye bread": (0.0, 1.0),
    "toast": (0.1, 0.8),
    "ghee": (0.8, 0.2),
    "honey": (0.0, 0.0),
    "hammer": (0.0, 0.0),
}
NEIGHBOURS = {"tea": {"honey": 0.6, "milk": 0.9}, "milk": {"honey": 0.3, "toast": 0.1}}
CATEGORIES = {"milk": "dairy", "oat milk": "dairy", "toast": "bread", "honey": "spreads"}


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.array([VECTORS[text] for text in texts], dtype=np.float32)


TEACHER = StandIn(NEIGHBOURS, embed, lambda queries: [CATEGORIES.get(q, "") for q in queries], 3)


def test_candidates_go_with_the_whole_history_and_are_new() -> None:
    # honey 0.6 + 0.3, toast 0.1; milk is in the history already
    assert TEACHER.candidates([SHOPPER, Shopper("h2", "", ())], 5) == [["honey", "toast"], []]
    assert TEACHER.candidates([SHOPPER], 1) == [["honey"]]


def test_the_judge_drops_what_follows_from_no_line() -> None:
    queries = ["hammer", "oat milk", "honey"]
    assert TEACHER.judge([SHOPPER, Shopper("h2", "", ())], [queries, queries]) == [
        ["oat milk", "honey"],  # by meaning, by co-occurrence
        [],
    ]


def test_interests_are_categories_with_the_lines_they_follow_from() -> None:
    queries = ["toast", "milk", "hammer", "oat milk", "honey"]
    [interests] = TEACHER.explain([SHOPPER], [queries], 5)
    assert interests == [
        Interest("rye bread lately", (3,), ("toast",)),
        # milk: line 1 (equal, 1.0) and line 2 (0.9 by co-occurrence)
        Interest("milk due again", (1, 2), ("milk", "oat milk")),
        Interest("tea often", (2,), ("honey",)),
    ]
    assert TEACHER.explain([Shopper("h2", "", ())], [queries], 5) == [[]]


def test_an_interest_names_no_more_lines_than_it_may() -> None:
    one = replace(TEACHER, triggers=1)
    [[interest]] = one.explain([SHOPPER], [["milk"]], 5)
    assert interest == Interest("milk due again", (1,), ("milk",))


def test_later_categories_join_the_nearest_interest() -> None:
    # The third category is one too many: ghee is nearer to milk (0.8) than to toast (0.24).
    assert TEACHER.explain([SHOPPER], [["toast", "milk", "ghee"]], 2) == [
        [
            Interest("rye bread lately", (3,), ("toast",)),
            Interest("milk due again", (1, 2), ("milk", "ghee")),
        ]
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (HistoryLine("milk", "search", 7, 3, 7.0), "milk due again"),
        (HistoryLine("tea", "search", 2, 3, 20.0), "tea often"),
        (HistoryLine("rye", "search", 5, 2, 7.0), "rye lately"),  # 5 < 0.8 · 7, twice only
    ],
)
def test_rationales(line: HistoryLine, text: str) -> None:
    assert rationale(line) == text
