import pandas as pd
import pytest
from recall.source_cases import AS_OF, RecallSourceCases, behaviours

from aigq_tasks.recall import popularity


class TestPopularity(RecallSourceCases):
    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> popularity.Popularity:
        return popularity.build(history, as_of)


def test_score_is_the_decayed_count_of_queries() -> None:
    history = behaviours(
        ("u", 0.5, "search", "milk"),  # age 0 -> 1
        ("u", 7.5, "search", "milk"),  # age 7, one half-life -> 1/2
        ("u", 14.2, "hint_click", "bread"),  # age 14 -> 1/4
        ("u", 14.9, "search", "apples"),  # age 14 -> 1/4: a tie, so apples goes before bread
        ("u", 0.5, "item_click", "eggs"),  # not a query
        ("u", 28.0, "search", "ham"),  # older than the window of 28 days
        ("u", 27.9, "search", "ham"),  # age 27 -> 2^(-27/7) = 0.069
        ("u", -0.1, "search", "tea"),  # after as_of
    )
    model = popularity.build(history, AS_OF, days=28, half_life_days=7.0)
    assert model.queries == ("milk", "apples", "bread", "ham")
    assert model.scores == pytest.approx((1.5, 0.25, 0.25, 2 ** (-27 / 7)))


def test_every_user_gets_the_same_k_best() -> None:
    model = popularity.build(
        behaviours(("u", 1, "search", "a"), ("u", 1, "search", "a"), ("u", 1, "search", "b")), AS_OF
    )
    recalled = model.recall(["u", "nobody"], behaviours(), AS_OF, k=1)
    assert recalled == {"u": [("a", model.scores[0])], "nobody": [("a", model.scores[0])]}


def test_size_keeps_the_best() -> None:
    history = behaviours(("u", 9, "search", "old"), ("u", 1, "search", "new"))
    assert popularity.build(history, AS_OF, size=1).queries == ("new",)
