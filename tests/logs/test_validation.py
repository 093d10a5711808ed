from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import EVENT_TIME, SCHEMAS, empty
from aigq_tasks.logs.validation import check_rows

DAY = date(2017, 11, 6)
NOON = pd.Timestamp("2017-11-06 12:00").as_unit("us")


def impressions(**columns: Any) -> pd.DataFrame:
    """Four good impressions, with some columns replaced."""
    good = {
        "request_id": ["r1-0", "r2-0", "r3-0", "r4-0"],
        "user_id": "h1",
        "time": NOON,
        "position": 1,
        "query": "milk",
        "source": "popularity",
        "rank_score": 0.5,
        "propensity": 0.2,
        "explored": False,
        "clicked": False,
        "click_time": pd.Series([pd.NaT] * 4, dtype="datetime64[us]"),
        "release": 1,
    }
    return pd.DataFrame({**good, **columns})


def searches(**columns: Any) -> pd.DataFrame:
    good = {
        "event_id": ["a", "b", "c", "d"],
        "user_id": "h1",
        "time": pd.Series([NOON] * 4),
        "query": "milk",
    }
    return pd.DataFrame({**good, **columns})


def moments(*texts: str | None) -> pd.Series:
    return pd.Series(pd.to_datetime(list(texts), format="mixed"), dtype="datetime64[us]")


def test_good_rows_pass_as_they_are() -> None:
    checked = check_rows("hint_impressions", impressions(), DAY)
    pd.testing.assert_frame_equal(checked.good, impressions())
    assert (len(checked.bad), checked.reasons) == (0, {})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"propensity": [0.2, 0.0, 1.0, 1.1]}, {"propensity": 2}),
        ({"propensity": [0.2, float("nan"), 0.2, 0.2]}, {"not_nullable": 1}),
        ({"query": ["milk", "a\tb", "a\x7fb", "a\nb"]}, {"control_character": 3}),
        # A click needs its time, a time its click, and nobody clicks before the hint is shown.
        ({"clicked": [False, True, False, False]}, {"click_time": 1}),
        ({"click_time": pd.Series([NOON, pd.NaT, pd.NaT, pd.NaT])}, {"click_time": 1}),
        (
            {
                "clicked": True,
                "click_time": moments(
                    "2017-11-06 11:59:59",
                    "2017-11-06 12:00",
                    "2017-11-06 12:06",
                    "2017-11-06 23:59",
                ),
            },
            {"click_time": 1},
        ),
        # A request and position occur once; another position of the request is another row.
        ({"request_id": ["r1-0", "r1-0", "r1-0", "r2-0"]}, {"duplicate": 2}),
        ({"request_id": "r1-0", "position": [1, 2, 3, 1]}, {"duplicate": 1}),
    ],
)
def test_impressions_that_break_a_rule(columns: dict[str, Any], reason: dict[str, int]) -> None:
    checked = check_rows("hint_impressions", impressions(**columns), DAY)
    assert checked.reasons == reason
    assert len(checked.bad) == sum(reason.values())
    assert len(checked.good) + len(checked.bad) == 4
    assert checked.good.dtypes.equals(impressions().dtypes)


def test_the_day_has_both_its_ends() -> None:
    time = moments(
        "2017-11-05 23:59:59.999999", "2017-11-06", "2017-11-06 23:59:59.999999", "2017-11-07"
    )
    checked = check_rows("searches", searches(time=time), DAY)
    assert checked.reasons == {"other_day": 2}
    assert checked.good["event_id"].tolist() == ["b", "c"]
    assert checked.bad["event_id"].tolist() == ["a", "d"]
    assert checked.bad["reason"].tolist() == ["other_day"] * 2


def test_a_row_without_a_time_belongs_to_no_day() -> None:
    time = moments("2017-11-06", None, "2017-11-06", "2017-11-06")
    assert check_rows("searches", searches(time=time), DAY).reasons == {"other_day": 1}


def test_late_clicks_are_of_the_day_on_which_they_arrive() -> None:
    late = pd.DataFrame(
        {
            "request_id": ["r1-0", "r2-0"],
            "position": [1, 2],
            "click_time": moments("2017-11-06 00:01", "2017-11-05 23:59"),
        }
    )
    assert check_rows("late_clicks", late, DAY).good["request_id"].tolist() == ["r1-0"]


def test_of_equal_keys_the_first_row_stays() -> None:
    rows = searches(event_id=["a", "b", "a", "a"], query=["one", "two", "three", "four"])
    checked = check_rows("searches", rows, DAY)
    assert checked.good["query"].tolist() == ["one", "two"]
    assert checked.bad["query"].tolist() == ["three", "four"]


def test_a_row_is_counted_once_under_its_first_reason() -> None:
    rows = searches(
        time=moments("2017-11-05", "2017-11-06", "2017-11-06", "2017-11-06"),
        query=["a\tb", "a\tb", "milk", "milk"],
        event_id=["a", "b", "b", "c"],
    )
    checked = check_rows("searches", rows, DAY)
    # The good row "b" is not a duplicate: the row before it with that key is quarantined.
    assert checked.bad["reason"].tolist() == ["other_day", "control_character"]
    assert checked.reasons == {"control_character": 1, "other_day": 1}


def test_text_has_a_length() -> None:
    rows = searches(query=["", "x" * 200, "x" * 201, "milk"])
    assert check_rows("searches", rows, DAY).good["event_id"].tolist() == ["b", "d"]
    ids = searches(event_id=["", "b" * 64, "c" * 65, "d"])
    assert check_rows("searches", ids, DAY).good["event_id"].tolist() == ["b" * 64, "d"]


def test_an_unknown_profile_is_empty_text() -> None:
    users = pd.DataFrame({"user_id": ["h1"], "age": [""], "income": [""], "household": [""]})
    assert check_rows("users", users, DAY).reasons == {}


def test_quarantine_names_the_rule_of_a_built_in_check() -> None:
    rows = searches(query=["", "milk", "milk", "milk"])
    assert check_rows("searches", rows, DAY).reasons == {"length": 1}
    rows = impressions(position=[1, 4, 1, 1])
    assert check_rows("hint_impressions", rows, DAY).reasons == {"position": 1}


def test_a_bad_row_does_not_take_a_good_one_of_the_same_key_with_it() -> None:
    rows = searches(
        event_id=["a", "a", "b", "c"],
        time=moments("2017-11-05", "2017-11-06", "2017-11-06", "2017-11-06"),
    )
    assert check_rows("searches", rows, DAY).good["event_id"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_a_missing_column_is_a_broken_source(table: str) -> None:
    for column in SCHEMAS[table].columns:
        rows = empty(table).drop(columns=column)
        with pytest.raises(AigqError, match=f"table {table} of 2017-11-06 lacks .*{column}"):
            check_rows(table, rows, DAY)


def test_a_column_of_another_type_is_a_broken_source() -> None:
    with pytest.raises(AigqError, match="column time has a wrong type"):
        check_rows("searches", searches(time="2017-11-06"), DAY)


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_no_rows_are_good_rows(table: str) -> None:
    checked = check_rows(table, empty(table), DAY)
    assert (len(checked.good), len(checked.bad), checked.reasons) == (0, 0, {})
    assert list(checked.good.columns) == list(SCHEMAS[table].columns)


@pytest.mark.parametrize("table", sorted(EVENT_TIME))
def test_times_are_microseconds_even_where_there_are_none(table: str) -> None:
    assert empty(table)[EVENT_TIME[table]].dtype == "datetime64[us]"


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_times_of_another_unit_become_microseconds(unit: str) -> None:
    rows = searches(time=pd.Series([NOON.as_unit(unit)] * 4))
    assert rows["time"].dtype == f"datetime64[{unit}]"
    assert check_rows("searches", rows, DAY).good["time"].dtype == "datetime64[us]"


def test_other_columns_do_not_pass() -> None:
    checked = check_rows("searches", searches(secret="x"), DAY)
    assert list(checked.good.columns) == ["event_id", "user_id", "time", "query"]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["milk", "a\tb", "{query}", "../etc/passwd", "%s"]),
            st.sampled_from(["2017-11-05", "2017-11-06", "2017-11-07"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_row_is_either_good_or_quarantined(rows: list[tuple[str, str, str]]) -> None:
    event, query, time = zip(*rows, strict=True)
    table = pd.DataFrame(
        {"event_id": event, "user_id": "h1", "time": moments(*time), "query": query}
    )
    checked = check_rows("searches", table, DAY)
    assert len(checked.good) + len(checked.bad) == len(rows)
    assert sum(checked.reasons.values()) == len(checked.bad)
    assert not checked.good["event_id"].duplicated().any()
    assert not (checked.good["query"] == "a\tb").any()
    again = check_rows("searches", checked.good, DAY)
    assert again.reasons == {}
    assert again.good["event_id"].tolist() == checked.good["event_id"].tolist()
