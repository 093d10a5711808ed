"""Visit features by hand, and that they are those of one request at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctr_model.features import FEATURES, TIE_FEATURES, at_request
from ctr_model.visit import VISIT_FEATURES, Visits, unvisited

PHRASES = ["milk", "oat milk", "rye bread", "tea", "?"]
CATEGORY = {"milk": "dairy", "oat milk": "dairy", "rye bread": "bread", "tea": "drinks"}
# (request, minutes before, phrase), requests 0 and 1; request 2 has no past.
EVENTS = [(0, 200.0, 0), (0, 45.0, 2), (0, 20.0, 1), (0, 5.0, 2), (1, 31.0, 3)]


def categories(texts: list[str]) -> list[str]:
    return [CATEGORY.get(text, "") for text in texts]


def visits(events: list[tuple[int, float, int]] = EVENTS, requests: int = 3) -> Visits:
    request, minutes, phrase = (np.array(column) for column in zip(*events, strict=True))
    return Visits.of(requests, request, minutes, phrase, PHRASES, categories)


def row(request: int, phrase: str) -> dict[str, float]:
    values = visits().columns(np.array([request]), np.array([PHRASES.index(phrase)]))
    return dict(zip(VISIT_FEATURES, values[0].tolist(), strict=True))


def test_a_visit_by_hand() -> None:
    # Request 0: 5, 20 and 45 minutes ago without a pause of 30 (15 and 25); 200 is another visit.
    assert row(0, "oat milk") == {
        "visit_events": 3,
        "visit_minutes_since": 5,
        "visit_query_minutes": 20,
        "visit_category_events": 2,  # milk and oat milk, though milk was not in this visit
        "visit_category_minutes": 20,
        "visit_words": 1,
    }
    tea = row(0, "tea")
    assert (tea["visit_category_events"], tea["visit_words"]) == (0, 0)
    assert np.isnan([tea["visit_query_minutes"], tea["visit_category_minutes"]]).all()
    assert np.isnan(row(0, "?")["visit_category_minutes"])
    # The pause of request 1 has lasted until now.
    assert (row(1, "milk")["visit_events"], row(1, "milk")["visit_minutes_since"]) == (0, 31)
    assert row(1, "tea")["visit_query_minutes"] == 31


def test_without_a_past_it_is_as_if_nothing_were_known() -> None:
    found = visits().columns(np.array([2, 2]), np.array([0, 4]))
    np.testing.assert_array_equal(found, unvisited(2))
    empty = Visits.of(1, *(np.empty(0, np.int64),) * 3, PHRASES, categories)
    np.testing.assert_array_equal(empty.columns(np.array([0]), np.array([0])), unvisited(1))


def test_words_of_the_visit_are_met_in_part() -> None:
    found = visits([(0, 1.0, 0)]).columns(np.array([0, 0]), np.array([1, 2]))
    assert found[:, VISIT_FEATURES.index("visit_words")].tolist() == [0.5, 0.0]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 1400).map(float), st.integers(0, 4)),
        min_size=1,
        max_size=25,
    )
)
def test_company_does_not_change_a_request(events: list[tuple[int, float, int]]) -> None:
    events = sorted(events, key=lambda event: (event[0], -event[1]))
    together = visits(events, 4)
    for request in range(4):
        own = [(0, *event[1:]) for event in events if event[0] == request]
        if not own:
            continue
        phrases = np.arange(len(PHRASES))
        alone = visits(own, 1).columns(np.zeros(5, int), phrases)
        np.testing.assert_array_equal(together.columns(np.full(5, request), phrases), alone)


def test_rows_at_a_request() -> None:
    rows = np.zeros((2, len(FEATURES)), np.float32)
    filled = at_request(rows, unvisited(2) + 1, np.full((2, len(TIE_FEATURES)), 7.0), [1, 3])
    assert rows.sum() == 0
    named = dict(zip(FEATURES, filled[1].tolist(), strict=True))
    assert named["position"] == 3
    assert named["visit_events"] == named["visit_words"] == 1
    assert {named[name] for name in TIE_FEATURES} == {7.0}
    assert sum(value == 0 for value in named.values()) == len(FEATURES) - 10
    assert filled.dtype == np.float32
    assert named["user_phrases"] == pytest.approx(0)
