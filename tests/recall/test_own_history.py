import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recall.source_cases import AS_OF, RecallSourceCases, behaviours

from aigq_tasks.recall import own_history


class TestOwnHistory(RecallSourceCases):
    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> own_history.OwnHistory:
        return own_history.build(history, as_of)


def rate(k: float, since_first: float, since_last: float) -> float:
    values = (np.array([value], dtype=float) for value in (k, since_first, since_last))
    return float(own_history.return_rate(*values, alpha=0.1, beta=60.0)[0])


def test_return_rate_by_hand() -> None:
    # k = 3 visits 30, 20 and 10 days ago: t_purch = 20, t_mean = 10, t = 10: exactly due.
    assert rate(3, 30, 10) == pytest.approx(3.1 / (20 + 0 + 60))
    # Last visit 4 days ago: |10 − 4| = 6 days off.
    assert rate(3, 24, 4) == pytest.approx(3.1 / (20 + 12 + 60))
    # t = 25 ≥ 2·10: no longer periodic, plain Poisson-Gamma over the 45 days since the first.
    assert rate(3, 45, 25) == pytest.approx(3.1 / (45 + 60))
    # One visit has no interval.
    assert rate(1, 5, 5) == pytest.approx(1.1 / (5 + 60))


@given(st.integers(2, 20), st.floats(1, 60))
def test_return_rate_peaks_at_the_mean_interval_and_is_continuous(k: int, mean: float) -> None:
    between = (k - 1) * mean
    gaps = np.linspace(0.0, 4.0, 81) * mean
    rates = [rate(k, between + gap, gap) for gap in gaps]
    assert int(np.argmax(rates)) == 20  # gap == mean
    assert rate(k, between + 2.001 * mean, 2.001 * mean) == pytest.approx(
        rate(k, between + 1.999 * mean, 1.999 * mean), rel=1e-2
    )


def test_a_query_belongs_to_the_longest_item_text_in_it() -> None:
    shelf = ["spaghetti sauce", "spaghetti", "sauce", "milk", "chocolate"]
    queries = ["spaghetti sauce store brand", "milk chocolate", "2 percent milk", "gift card"]
    assert own_history.needs(queries, shelf) == {
        "spaghetti sauce store brand": "spaghetti sauce",
        "milk chocolate": "chocolate",  # as long as milk, but later
        "2 percent milk": "milk",
        "gift card": "gift card",  # no item text in it
    }
    assert own_history.needs(["sauce for spaghetti"], ["spaghetti sauce"]) == {
        "sauce for spaghetti": "sauce for spaghetti"  # not a run of words
    }


# ann comes back for sauce every 10 days and types it her way; bob bought it once. Milk nobody
# searches; eggs somebody searches by exactly that text.
HISTORY = behaviours(
    ("ann", 30.5, "search", "sauce store brand"),
    ("ann", 20.5, "item_click", "sauce"),
    ("ann", 10.5, "item_click", "sauce"),
    ("ann", 10.5, "item_click", "milk"),
    ("ann", 3.5, "item_click", "eggs"),
    ("bob", 3.5, "item_click", "sauce"),
    ("bob", 3.5, "search", "eggs"),
)


def test_recall_by_hand() -> None:
    model = own_history.build(HISTORY, AS_OF, alpha=0.1, beta_days=60.0)
    # Shares: sauce has users ann (back) and bob (not): (1+1)/(2+2); eggs: (0+1)/(2+2).
    assert model.repeat_share == {"sauce": 0.5, "eggs": 0.25, "milk": pytest.approx(1 / 3)}
    recalled = model.recall(["ann", "bob", "nobody"], HISTORY, AS_OF, k=5)
    # Days run to midnight: ages 31, 21, 11 -> k = 3, t_purch = 20, t_mean = 10, t = 11.
    sauce = 0.5 * 3.1 / (20 + 2 * 1 + 60)
    eggs = 0.25 * 1.1 / (4 + 60)
    assert recalled["ann"] == [
        ("sauce store brand", pytest.approx(sauce)),  # her words for it
        ("eggs", pytest.approx(eggs)),  # she never typed it, but bob did
    ]  # and milk is no query
    # bob never typed sauce, and no one searched plain "sauce".
    assert recalled["bob"] == [("eggs", pytest.approx(eggs))]
    assert recalled["nobody"] == []


def test_a_user_without_history_gets_nothing() -> None:
    model = own_history.build(HISTORY, AS_OF)
    assert model.recall(["nobody"], HISTORY, AS_OF, k=5) == {"nobody": []}
    empty = own_history.build(behaviours(), AS_OF)
    assert empty.recall(["bob"], behaviours(), AS_OF, k=5) == {"bob": []}


def test_phrasing_is_the_most_typed_then_the_latest_then_by_text() -> None:
    typed = behaviours(
        ("u", 9, "search", "big eggs"),
        ("u", 8, "search", "big eggs"),
        ("u", 1, "search", "brown eggs"),
        ("u", 9, "search", "oat milk"),
        ("u", 2, "search", "skim milk"),
        ("u", 2, "search", "b tea"),
        ("u", 2, "search", "a tea"),
        *[("u", 30, "item_click", text) for text in ("eggs", "milk", "tea")],
    )
    recalled = own_history.build(typed, AS_OF).recall(["u"], typed, AS_OF, k=9)
    assert {query for query, _ in recalled["u"]} == {"big eggs", "skim milk", "a tea"}


def test_ties_go_by_text_and_k_cuts() -> None:
    twins = behaviours(("u", 5, "search", "beta"), ("u", 5, "search", "alpha"))
    model = own_history.build(twins, AS_OF)
    assert [q for q, _ in model.recall(["u"], twins, AS_OF, k=2)["u"]] == ["alpha", "beta"]
    assert [q for q, _ in model.recall(["u"], twins, AS_OF, k=1)["u"]] == ["alpha"]


def test_a_need_newer_than_the_release_is_recalled_when_typed() -> None:
    model = own_history.build(HISTORY, AS_OF)
    fresh = behaviours(("ann", 1, "search", "ice cream"), ("ann", 1, "item_click", "ham"))
    # Share of an unseen need 1/2; a day before as_of: k = 1, since_first = 1. Ham is no query.
    expected = [("ice cream", pytest.approx(0.5 * 1.1 / 61))]
    assert model.recall(["ann"], fresh, AS_OF, 5)["ann"] == expected
