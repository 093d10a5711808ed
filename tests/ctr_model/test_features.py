"""Feature values by hand on five behaviours, and that the future never reaches them."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctr_model.features import FEATURES, FeatureBuilder
from ctr_model.history import EventLog

AS_OF = pd.Timestamp("2017-11-30")


def behaviours(*rows: tuple[str, float, str, str]) -> pd.DataFrame:
    """Rows of (user, days before AS_OF, kind, content)."""
    return pd.DataFrame(
        {
            "user_id": pd.Series([r[0] for r in rows], dtype="str"),
            "time": _times([r[1] for r in rows]),
            "kind": pd.Series([r[2] for r in rows], dtype="str"),
            "content": pd.Series([r[3] for r in rows], dtype="str"),
        }
    )


def impressions(*rows: tuple[str, float, int, str, float | None]) -> pd.DataFrame:
    """Rows of (user, days before AS_OF, position, query, days before AS_OF of the click)."""
    return pd.DataFrame(
        {
            "user_id": pd.Series([r[0] for r in rows], dtype="str"),
            "time": _times([r[1] for r in rows]),
            "position": pd.Series([r[2] for r in rows], dtype="int64"),
            "query": pd.Series([r[3] for r in rows], dtype="str"),
            "clicked": pd.Series([r[4] is not None for r in rows], dtype="bool"),
            "click_time": _times([r[4] for r in rows]),
        }
    )


def _times(ages: list[float | None]) -> pd.Series:
    moments = [pd.NaT if age is None else AS_OF - pd.Timedelta(days=age) for age in ages]
    return pd.Series(moments, dtype="datetime64[us]")


FIVE = behaviours(
    ("ann", 20.0, "search", "milk"),
    ("ann", 10.0, "search", "milk"),
    ("ann", 8.0, "item_click", "milk 1 gal"),
    ("ann", 4.0, "hint_click", "milk"),
    ("bob", 2.0, "search", "bleach 1 gal"),
)
SHOWN = impressions(
    ("ann", 4.0, 1, "milk", 4.0),
    ("ann", 4.0, 2, "bleach 1 gal", None),
    ("bob", 2.0, 1, "milk", None),
)


def row(builder: FeatureBuilder, user: str, query: str, position: int = 1) -> dict[str, float]:
    values = builder.pairs([user], [query], position)
    assert values.shape == (1, len(FEATURES))
    assert values.dtype == np.float32
    return dict(zip(FEATURES, values[0].tolist(), strict=True))


@pytest.fixture(scope="module")
def builder() -> FeatureBuilder:
    return FeatureBuilder.from_behaviours(
        FIVE, SHOWN, AS_OF, (), lambda q: "dairy" if "milk" in q else ""
    )


def agrees(got: dict[str, float], **expected: float) -> None:
    actual = {name: got[name] for name in expected}
    assert actual == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_user_features(builder: FeatureBuilder) -> None:
    # Ann: events at 20, 10, 8 and 4 days; two searches; "milk" and "milk 1 gal"; four days.
    # Hints: 3 shown, 1 click, overall 1/3; position 1 clicks 1 of 2, position 2 none of 1.
    # Ann was expected to click 1/2 + 0, clicked 1: 1/3 * (1 + 1) / (1/2 + 1) = 4/9.
    agrees(
        row(builder, "ann", "milk"),
        user_events_7d=1,
        user_events_28d=4,
        user_searches_28d=2,
        user_phrases=2,
        user_active_days_28d=4,
        user_days_since_event=4,
        user_own_brand_share=0,
        user_hints_28d=2,
        user_hint_ctr=4 / 9,
    )
    # Bob: 1/3 * (0 + 1) / (1/2 + 1) = 2/9.
    agrees(row(builder, "bob", "milk"), user_hints_28d=1, user_hint_ctr=2 / 9)


def test_query_features(builder: FeatureBuilder) -> None:
    # "milk": 1 click of 2 hints at position 1 (expected 1): 1/3 * (1 + 1) / (1 + 1) = 1/3.
    # Its only word was in those same two hints, so the word's rate is the same.
    agrees(
        row(builder, "bob", "milk"),
        query_words=1,
        query_characters=4,
        query_own_brand=0,
        query_number=0,
        query_seen=1,
        query_searches_7d=0,
        query_searches_28d=2,
        query_hints_28d=2,
        query_ctr=1 / 3,
        query_word_users=1,
        query_word_ctr=1 / 3,
    )
    agrees(
        row(builder, "bob", "bleach 1 gal"), query_number=1, query_searches_7d=1, query_hints_28d=1
    )


def test_what_names_the_own_brand_is_said_by_the_shop() -> None:
    history = behaviours(
        ("ann", 4.0, "search", "milk store brand"),
        ("ann", 3.0, "search", "milk"),
        ("ann", 2.0, "search", "bookstore brands"),
        ("ann", 1.0, "item_click", "acme eggs"),
    )

    def brand(query: str, *own_brand: str) -> tuple[float, float]:
        got = row(FeatureBuilder.from_behaviours(history, SHOWN, AS_OF, own_brand), "ann", query)
        return got["query_own_brand"], got["user_own_brand_share"]

    assert brand("store brand oats", "store brand") == (1, 0.25)
    assert brand("oats store brand", "acme", "store brand") == (1, 0.5)
    # Only whole words, next to each other, of any one phrase.
    assert brand("bookstore brands", "store brand") == (0, 0.25)
    assert brand("brand store", "store brand") == (0, 0.25)
    assert brand("acme oats", "acme", "store brand") == (1, 0.5)
    # A shop that says nothing has none.
    assert brand("milk store brand") == (0, 0)


def test_pair_features(builder: FeatureBuilder) -> None:
    # Ann and "milk": days 20, 10 and 4, so the mean gap is (20 - 4) / 2 = 8, due 4 / 8.
    agrees(
        row(builder, "ann", "milk"),
        pair_searches=2,
        pair_clicks=1,
        pair_days_since=4,
        pair_gap=8,
        pair_due=0.5,
        near_similarity=1,
        near_containment=1,
        near_searches=2,
        near_due=0.5,
    )
    nan = float("nan")
    agrees(
        row(builder, "bob", "milk"),
        pair_searches=0,
        pair_clicks=0,
        pair_days_since=nan,
        pair_gap=nan,
        pair_due=nan,
        near_similarity=0,
        near_days_since=nan,
        word_affinity=0,
    )


def test_a_query_never_seen_meets_the_history_by_its_words(builder: FeatureBuilder) -> None:
    # Two users: idf = ln(3 / (1 + users)) + 1: milk ln(3/2) + 1, gal 1 (both users), and the
    # unknown word "2" ln 3 + 1.  q = {milk, 2, gal}; Ann's phrases are {milk}, {milk, 1, gal}.
    milk, gal, unknown = np.log(1.5) + 1, 1.0, np.log(3) + 1
    mass = milk + unknown + gal
    only_milk = milk / mass
    milk_1_gal = (milk + gal) / (mass + (milk + 1 + gal) - (milk + gal))
    assert milk_1_gal > only_milk
    # Recency weights 2^(-age/14): milk has all four events of Ann, gal the one of 8 days ago.
    weight = {"milk": sum(2 ** (-a / 14) for a in (20, 10, 8, 4)), "gal": 2 ** (-8 / 14)}
    agrees(
        row(builder, "ann", "milk 2 gal"),
        query_seen=0,
        query_hints_28d=0,
        query_ctr=1 / 3,  # the overall rate
        query_word_users=0,
        pair_searches=0,
        near_similarity=milk_1_gal,
        near_containment=(milk + gal) / mass,
        near_searches=0,
        near_clicks=1,
        near_days_since=8,
        near_gap=float("nan"),
        word_affinity=(milk * weight["milk"] + gal * weight["gal"]) / mass,
    )


def test_the_nearest_phrase_is_the_most_recent_of_equals() -> None:
    history = behaviours(
        ("ann", 9.0, "search", "old wine"),
        ("ann", 5.0, "search", "red wine"),
        ("ann", 7.0, "search", "white wine"),
    )
    builder = FeatureBuilder.from_behaviours(history, SHOWN, AS_OF, ())
    agrees(row(builder, "ann", "green wine"), near_days_since=5)


def test_fatigue_features() -> None:
    shown = impressions(
        ("ann", 20.0, 1, "milk", None),
        ("ann", 12.0, 1, "milk", 12.0),
        ("ann", 3.0, 2, "milk", None),
        ("bob", 1.0, 1, "milk", None),
        ("ann", 30.0, 1, "eggs", 30.0),  # older than the 28 days that are looked at
    )
    builder = FeatureBuilder.from_behaviours(FIVE, shown, AS_OF, ())
    agrees(
        row(builder, "ann", "milk"),
        shown_ignored_7d=1,
        shown_ignored_28d=2,
        shown_clicked_28d=1,
        shown_days_since=3,
    )
    agrees(
        row(builder, "ann", "eggs"),
        shown_ignored_28d=0,
        shown_clicked_28d=0,
        shown_days_since=float("nan"),
    )


def test_category_features(builder: FeatureBuilder) -> None:
    # Dairy holds all of Ann's events: days 20, 10, 8, 4; gap (20 - 4) / 3; due 4 / (16 / 3).
    agrees(
        row(builder, "ann", "skim milk"),
        category_share=1,
        category_searches=2,
        category_clicks=2,
        category_days_since=4,
        category_gap=16 / 3,
        category_due=0.75,
        category_ctr=1 / 3,
    )
    agrees(row(builder, "bob", "milk"), category_share=0, category_days_since=float("nan"))
    assert np.isnan(row(builder, "ann", "bleach")["category_share"])  # it has no category


def test_a_cold_user_has_counts_of_zero_and_no_recency(builder: FeatureBuilder) -> None:
    agrees(
        row(builder, "nobody", "milk"),
        user_events_28d=0,
        user_days_since_event=float("nan"),
        user_hint_ctr=1 / 3,  # the overall rate
        pair_searches=0,
        near_similarity=0,
        shown_ignored_28d=0,
    )


def test_history_older_than_a_season_is_forgotten() -> None:
    history = behaviours(("ann", 90.9, "search", "milk"), ("ann", 91.1, "search", "eggs"))
    builder = FeatureBuilder.from_behaviours(history, SHOWN, AS_OF, ())
    assert row(builder, "ann", "milk")["pair_searches"] == 1
    assert row(builder, "ann", "eggs")["pair_searches"] == 0


def test_rows_do_not_depend_on_the_batch(builder: FeatureBuilder) -> None:
    users, queries = ["ann", "bob", "nobody", "ann"], ["milk", "milk", "eggs", "milk 2 gal"]
    positions = np.array([1, 2, 3, 1])
    together = builder.pairs(users, queries, positions)
    alone = [
        builder.pairs([u], [q], int(p)) for u, q, p in zip(users, queries, positions, strict=True)
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert together[:, -1].tolist() == [1, 2, 3, 1]


def test_empty_logs_and_empty_queries() -> None:
    builder = FeatureBuilder.from_behaviours(behaviours(), impressions(), AS_OF, ())
    cold = row(builder, "ann", "milk")
    agrees(cold, query_seen=0, near_similarity=0, query_ctr=float("nan"), position=1)
    assert np.isnan(row(builder, "ann", "")["query_word_users"])
    assert builder.pairs([], [], 1).shape == (0, len(FEATURES))


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="behaviours lack the columns kind"):
        FeatureBuilder.from_behaviours(FIVE.drop(columns="kind"), SHOWN, AS_OF, ())
    builder = FeatureBuilder.from_behaviours(FIVE, SHOWN, AS_OF, ())
    with pytest.raises(ValueError, match="2 users for 1 queries"):
        builder.pairs(["ann", "bob"], ["milk"], 1)


USERS = st.sampled_from(["ann", "bob", "eve"])
TEXTS = st.sampled_from(["milk", "milk 1 gal", "eggs", "bleach store brand", "aa", "zz top"])
KINDS = st.sampled_from(["search", "item_click", "hint_click"])
PAST = st.floats(0.001, 100)
FUTURE = st.floats(-5, 0)  # at as_of itself, or later
EVENTS = st.tuples(USERS, PAST, KINDS, TEXTS)
LATER_EVENTS = st.tuples(st.sampled_from(["ann", "new"]), FUTURE, KINDS, TEXTS)
HINTS = st.tuples(USERS, PAST, st.integers(1, 3), TEXTS, st.one_of(st.none(), st.just(0.0005)))
LATER_HINTS = st.tuples(USERS, FUTURE, st.integers(1, 3), TEXTS, st.one_of(st.none(), FUTURE))


def everything(builder: FeatureBuilder) -> np.ndarray:
    users = ["ann", "bob", "eve", "new"]
    queries = ["milk", "eggs", "aa", "milk 2 gal", "eggs store brand", "never met"]
    return builder.pairs(
        [u for u in users for _ in queries], [q for _ in users for q in queries], 1
    )


@settings(deadline=None)
@given(
    st.lists(EVENTS, max_size=12),
    st.lists(HINTS, max_size=8),
    st.lists(LATER_EVENTS, max_size=6),
    st.lists(LATER_HINTS, max_size=6),
    st.randoms(use_true_random=False),
)
def test_nothing_at_or_after_as_of_changes_a_feature(events, hints, later, later_hints, random):
    def category(query: str) -> str:
        return query.split()[0]

    past = FeatureBuilder.from_behaviours(
        behaviours(*events), impressions(*hints), AS_OF, (), category
    )
    # An impression of the past that is clicked at or after as_of is still unclicked.
    clicked_later = [
        (u, t, p, q, -1.0 if i % 2 else 0.0) if click is None else (u, t, p, q, click)
        for i, (u, t, p, q, click) in enumerate(hints)
    ]
    all_events, all_hints = [*events, *later], [*clicked_later, *later_hints]
    random.shuffle(all_events)
    random.shuffle(all_hints)
    tables = behaviours(*all_events), impressions(*all_hints)
    expected = everything(past)
    again = FeatureBuilder.from_behaviours(*tables, AS_OF, (), category)
    np.testing.assert_array_equal(everything(again), expected)
    # The log that training days share is coded with the future in it.
    shared = FeatureBuilder(EventLog.of(*tables, category), AS_OF, ())
    np.testing.assert_array_equal(everything(shared), expected)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=12), st.lists(HINTS, max_size=8))
def test_the_own_brand_moves_its_two_features_alone(events, hints) -> None:
    tables = behaviours(*events), impressions(*hints)
    plain = everything(FeatureBuilder.from_behaviours(*tables, AS_OF, ()))
    with_brand = FeatureBuilder.from_behaviours(*tables, AS_OF, own_brand=("store brand",))
    branded = everything(with_brand).reshape(4, 6, -1)  # users, queries, features
    share, asked = map(FEATURES.index, ("user_own_brand_share", "query_own_brand"))
    assert branded[..., asked].tolist() == [[0, 0, 0, 0, 1, 0]] * 4
    for user, rows in zip(("ann", "bob", "eve", "new"), branded, strict=True):
        own = [
            text.endswith("store brand") for who, age, _, text in events if who == user and age < 91
        ]
        expected = np.full(6, np.mean(own) if own else np.nan, np.float32)
        np.testing.assert_array_equal(rows[:, share], expected)
    others = [i for i in range(len(FEATURES)) if i not in (share, asked)]
    np.testing.assert_array_equal(branded.reshape(plain.shape)[:, others], plain[:, others])


@given(EVENTS)
def test_an_event_before_as_of_is_counted(event: tuple[str, float, str, str]) -> None:
    user, age, kind, text = event
    builder = FeatureBuilder.from_behaviours(behaviours(event), impressions(), AS_OF, ())
    got = row(builder, user, text)
    assert got["pair_searches"] + got["pair_clicks"] == (age < 91)
    assert got["pair_searches"] == (kind == "search" and age < 91)


def test_as_of_is_a_moment_not_only_a_day() -> None:
    noon = (AS_OF - timedelta(days=1)) + timedelta(hours=12)
    history = behaviours(("ann", 0.6, "search", "milk"), ("ann", 0.4, "search", "milk"))
    got = row(FeatureBuilder.from_behaviours(history, SHOWN, noon, ()), "ann", "milk")
    assert noon == datetime(2017, 11, 29, 12)
    agrees(got, pair_searches=1, pair_days_since=0.1)
