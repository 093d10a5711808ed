"""What lists are held against, by hand."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.evaluation.truth import (
    Truths,
    chance_met,
    distinct_needs,
    explored_clicks,
    explored_hit,
    headed,
    same_need,
    searched_after,
    searched_or_clicked,
    truths_of_day,
)

DAY = date(2017, 11, 6)
NOON = pd.Timestamp("2017-11-06T12:00")


def searches(*rows: tuple[str, str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["user_id", "time", "query"])
    return table.assign(time=pd.to_datetime(table["time"]))


SEARCHES = searches(
    ("ann", "2017-11-06T08:00", "Tea!"),
    ("ann", "2017-11-06T12:00", "oat milk"),
    ("ann", "2017-11-06T18:00", "tea"),
    ("bob", "2017-11-06T09:00", "ham"),
    ("bob", "2017-11-06T13:00", "ham"),
    ("eve", "2017-11-05T23:59", "rye"),
    ("eve", "2017-11-07T00:00", "jam"),
    ("sue", "2017-11-06T13:00", "!!"),
)


def test_of_a_nightly_list_all_searches_of_the_day_count() -> None:
    # Eve searched the day before and the day after; Sue's query has no text.
    assert searched_after(SEARCHES, DAY) == {"ann": {"tea", "oat milk"}, "bob": {"ham"}}


def test_what_was_searched_before_the_moment_is_known_already() -> None:
    # Ann's list is of noon: her tea of the morning counts no more, though she asks again. Bob
    # asks for nothing new, so nothing is known of what a list was worth to him.
    assert searched_after(SEARCHES, DAY, {"ann": NOON, "bob": NOON}) == {"ann": {"oat milk"}}
    assert searched_after(SEARCHES, DAY, {"bob": NOON})["ann"] == {"tea", "oat milk"}


SHOWN = pd.DataFrame(
    [
        ("r1", "ann", 1, "Oat Milk", True, True, NOON),
        ("r1", "ann", 2, "jam", False, False, pd.NaT),
        ("r1", "ann", 3, "tea", False, True, NOON),
        ("r2", "bob", 1, "rye", True, True, pd.Timestamp("2017-11-05T12:00")),
        ("r3", "bob", 3, "ham", True, False, pd.NaT),  # clicked later, see LOGS
        ("r4", "eve", 3, "jam", True, True, NOON),
    ],
    columns=["request_id", "user_id", "position", "query", "explored", "clicked", "click_time"],
)
LOGS = {
    "searches": searches(("eve", "2017-11-06T08:00", "Tea!"), ("ann", "2017-11-06T08:00", "tea")),
    "hint_impressions": SHOWN,
    "late_clicks": pd.DataFrame({"request_id": ["r3"], "position": [3], "click_time": [NOON]}),
    "hint_rankings": pd.DataFrame({"request_id": ["r1"] * 30 + ["r4"] * 12}),
}


def test_the_old_truth_is_what_was_searched_or_clicked() -> None:
    assert searched_or_clicked(LOGS, DAY) == {
        "ann": {"oat milk", "tea"},
        "bob": {"ham"},
        "eve": {"jam", "tea"},
    }


def test_clicks_on_explored_slots_by_hand() -> None:
    # Ann's oat milk was one of 30 candidates in slot 1, Eve's jam one of the 10 left for slot 3.
    # Ann's tea was not explored, and of Bob's candidates nothing is logged.
    found = explored_clicks(SHOWN, LOGS["hint_rankings"])
    assert found.to_numpy().tolist() == [["ann", "oat milk", 30.0], ["eve", "jam", 10.0]]
    nothing = explored_clicks(SHOWN.iloc[:0], LOGS["hint_rankings"].iloc[:0])
    assert nothing.empty
    assert list(nothing) == ["user_id", "query", "weight"]


def test_explored_clicks_are_weighted_within_the_user_day() -> None:
    clicks = pd.DataFrame(
        [("ann", "tea", 30.0), ("ann", "jam", 10.0), ("bob", "ham", 5.0), ("out", "ham", 5.0)],
        columns=["user_id", "query", "weight"],
    )
    lists = {"ann": ["Tea", "rye", "jam"], "bob": []}
    users = ["ann", "bob", "eve"]
    # Of ann's 30 + 10 the first two hold the tea: 30 / 40. Eve clicked nothing explored.
    np.testing.assert_equal(explored_hit(lists, clicks, users, 2), [0.75, 0.0, np.nan])
    np.testing.assert_equal(explored_hit(lists, clicks, users, 3), [1.0, 0.0, np.nan])


def test_the_weight_undoes_what_production_prefers() -> None:
    """Two queries are clicked alike when they are seen. Production shows one of them nine times as
    often, but an explored slot shows each of both with the same chance."""
    draw = np.random.default_rng(0)
    explored = draw.random(40_000) < 1 / 3
    chance = np.where(explored, 0.5, 0.9)
    query = np.where(draw.random(40_000) < chance, "usual", "rare")
    one = {"request_id": "r1", "user_id": "ann", "position": 1}
    shown = pd.DataFrame({**one, "query": query, "explored": explored})
    shown["clicked"] = draw.random(40_000) < 0.3
    clicks = explored_clicks(shown, pd.DataFrame({"request_id": ["r1"] * 2}))
    (share,) = explored_hit({"ann": ["usual"]}, clicks, ["ann"], 1)
    assert share == pytest.approx(0.5, abs=0.02)
    assert shown.loc[shown["clicked"], "query"].eq("usual").mean() > 0.7


def test_truths_of_some_users() -> None:
    truths = truths_of_day(LOGS, DAY)
    assert truths.users == ["ann", "bob", "eve"]
    assert list(truths.searched) == ["ann", "eve"]  # Bob only clicked
    own = truths.of(["bob", "eve", "nobody"])
    assert isinstance(own, Truths)
    assert (list(own.searched), list(own.exposed)) == (["eve"], ["bob", "eve"])
    assert own.explored["user_id"].tolist() == ["eve"]


def test_a_need_that_was_met_is_worth_nothing_more() -> None:
    milk, tea = {"milk": 0.8}, {"tea": 0.5, "milk": 0.5}
    assert chance_met([0.8, 0.5]) == pytest.approx(0.9)
    assert chance_met([]) == 0.0
    # Five words for milk: 1 - 0.2^5; two needs: 0.8 for one, and 1 - 0.2 · 0.5 and 0.5 for both.
    assert distinct_needs([milk] * 5) == pytest.approx(0.99968)
    assert distinct_needs([milk, tea]) == pytest.approx(0.9 + 0.5)
    assert distinct_needs([{}, {"soap": 0.0}]) == 0.0
    assert np.isnan(distinct_needs([{"soap": np.nan}]))


def test_a_need_named_again_is_the_same_need() -> None:
    assert same_need([{"milk": 0.0}, {"tea": 1.0}, {"tea": 0.0, "milk": 0.0}, {}]) == 0.25
    assert same_need([]) == 0.0


def test_what_exposure_biases_is_headed_so() -> None:
    assert headed("exposed_hr_30") == "exposed_hr_30 (exposure-biased)"
    assert headed("explored_hr_30") == "explored_hr_30"
