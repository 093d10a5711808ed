from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import EVENT_TIME, SCHEMAS, empty
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.storage.tables import from_parquet, to_parquet

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
        "release": "one",
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
        ({"propensity": [0.2, float("nan"), 0.2, 0.2]}, {"missing": 1}),
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
    assert checked.reasons == {"future": 1, "other_day": 1}
    assert checked.good["event_id"].tolist() == ["b", "c"]
    assert checked.bad["event_id"].tolist() == ["a", "d"]
    assert checked.bad["reason"].tolist() == ["other_day", "future"]


def test_a_row_without_a_time_belongs_to_no_day() -> None:
    time = moments("2017-11-06", None, "2017-11-06", "2017-11-06")
    assert check_rows("searches", searches(time=time), DAY).reasons == {"missing": 1}


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
    users = pd.DataFrame({"user_id": ["h1"], "attributes": [""]})
    assert check_rows("users", users, DAY).reasons == {}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("65+; 35-49k; 2 adults no kids", None),
        ("a" * 400, None),
        ("a" * 401, "length"),
        ("a" * 300 + "\t", "control_character"),  # at its end as at its beginning
    ],
)
def test_what_attributes_may_hold(attributes: str, reason: str | None) -> None:
    users = pd.DataFrame({"user_id": ["h1"], "attributes": [attributes]})
    items = pd.DataFrame(
        {"item_id": ["1"], "title": ["tea"], "category": ["TEA"], "attributes": [attributes]}
    )
    expected = {reason: 1} if reason else {}
    assert check_rows("users", users, DAY).reasons == expected
    assert check_rows("items", items, DAY).reasons == expected


def test_positions_count_from_one_to_any_number() -> None:
    rows = impressions(position=[0, 1, 4, 1000])
    checked = check_rows("hint_impressions", rows, DAY)
    assert checked.reasons == {"position": 1}
    assert checked.good["position"].tolist() == [1, 4, 1000]
    late = pd.DataFrame(
        {"request_id": "r1-0", "position": [-1, 17], "click_time": moments(*["2017-11-06"] * 2)}
    )
    assert check_rows("late_clicks", late, DAY).good["position"].tolist() == [17]


def test_quarantine_names_the_rule_of_a_built_in_check() -> None:
    rows = searches(query=["", "milk", "milk", "milk"])
    assert check_rows("searches", rows, DAY).reasons == {"length": 1}
    rows = impressions(position=[1, 0, 1, 1])
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


@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        ({"time": [NOON, "2017-11-06", 1509969600, NOON.tz_localize("UTC")]}, "bcd"),
        ({"time": "2017-11-06"}, "abcd"),
        ({"query": ["milk", 5, b"milk", ["milk"]]}, "bcd"),
        ({"query": ["milk", "\ud800", "milk", {"q": "milk"}]}, "bd"),  # cannot be written as UTF-8
    ],
)
def test_a_value_of_another_type(columns: dict[str, Any], wrong: str) -> None:
    checked = check_rows("searches", searches(**columns), DAY)
    assert checked.reasons == {"wrong_type": len(wrong)}
    assert checked.bad["event_id"].tolist() == list(wrong)
    assert checked.good.dtypes.equals(empty("searches").dtypes)
    stored = from_parquet(to_parquet(checked.bad))  # what is quarantined can be stored
    assert stored["reason"].tolist() == ["wrong_type"] * len(wrong)


@pytest.mark.parametrize(
    ("columns", "reasons"),
    [
        ({"position": [1, "2", 1.5, None]}, {"missing": 1, "wrong_type": 2}),
        ({"position": [1.0, 2.0, None, 10.0**30]}, {"missing": 1, "wrong_type": 1}),
        ({"position": [1, True, 2, 3]}, {"wrong_type": 1}),
        ({"propensity": [0.2, "0.2", True, 1]}, {"wrong_type": 2}),
        ({"clicked": [False, 0, "no", None]}, {"missing": 1, "wrong_type": 2}),
        ({"rank_score": [0.5, float("inf"), None, 0.5]}, {"missing": 1, "rank_score": 1}),
    ],
)
def test_a_number_of_another_type(columns: dict[str, Any], reasons: dict[str, int]) -> None:
    given = pd.DataFrame(
        {**impressions(), **{k: pd.Series(v, dtype=object) for k, v in columns.items()}}
    )
    checked = check_rows("hint_impressions", given, DAY)
    assert checked.reasons == reasons
    assert checked.good.dtypes.equals(impressions().dtypes)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("<script>alert(1)</script>", "markup"),
        ("milk<search>tea", "markup"),  # a token of the prompt
        ("<|im_end|>", "markup"),
        ("&lt;b&gt;", "markup"),
        ("milk'; DROP TABLE users; --", "sql"),
        ("' OR '1'='1", "sql"),
        ("1 UNION SELECT password FROM users", "sql"),
        ("a\u0085b", "control_character"),
        ("a\u202eb", "control_character"),
        ("a\x00b", "control_character"),
        ("m" * 10_000_000, "length"),
        ("drop leaf table", None),
        ("union jack mug & saucer", None),
        ("select cuts from the deli", None),
        ("{query} %s ../etc/passwd", None),  # text is text: nobody formats or opens it
        ("i <3 milk", None),
        ("piñata 50% off", None),
    ],
)
def test_what_a_query_may_hold(query: str, reason: str | None) -> None:
    checked = check_rows("searches", searches(query=["milk", "tea", query, "milk"]), DAY)
    assert checked.reasons == ({reason: 1} if reason else {})
    assert (*checked.good["query"], *checked.bad["query"]).count(query) == 1


def test_a_click_needs_what_was_clicked() -> None:
    late = pd.DataFrame(
        {
            "request_id": ["r1-0", "r1-0", "r9-0", "r2-0"],
            "position": [1, 2, 1, 1],
            "click_time": moments(*["2017-11-06 00:01"] * 4),
        }
    )
    checked = check_rows("late_clicks", late, DAY, known=impressions())
    assert checked.good["request_id"].tolist() == ["r1-0", "r2-0"]
    assert checked.reasons == {"no_impression": 2}
    found = searches()[["event_id", "user_id", "time"]].assign(item_id="1")
    checked = check_rows("search_clicks", found, DAY, known=searches().head(3))
    assert checked.reasons == {"no_search": 1}
    nobody = check_rows("search_clicks", found, DAY, known=empty("searches"))
    assert nobody.reasons == {"no_search": 4}


def test_a_click_of_tomorrow_is_not_known_today() -> None:
    columns = {
        "clicked": [True, False, False, False],
        "click_time": moments("2017-11-07", None, None, None),
    }
    checked = check_rows("hint_impressions", impressions(**columns), DAY)
    assert checked.reasons == {"future": 1}


ANYTHING = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.sampled_from(["milk", "<b>", "a\tb", "'; drop table x", "x" * 300, "\ud800"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
    st.datetimes(),
    st.just(NOON),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS)), st.data())
def test_whatever_comes_nothing_is_lost(table: str, data: st.DataObject) -> None:
    columns = list(SCHEMAS[table].columns)
    row = st.fixed_dictionaries(dict.fromkeys(columns, ANYTHING))
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    given = pd.DataFrame(rows, columns=columns, dtype=object)
    checked = check_rows(table, given, DAY)
    assert len(checked.good) + len(checked.bad) == len(rows)
    assert sum(checked.reasons.values()) == len(checked.bad)
    assert checked.good.dtypes.equals(empty(table).dtypes)
    assert (
        from_parquet(to_parquet(checked.bad))["reason"].tolist() == checked.bad["reason"].tolist()
    )
    assert check_rows(table, checked.good, DAY).reasons == {}


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


@settings(max_examples=30, deadline=None)
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
