import pandas as pd

from aigq_tasks.logs.behaviours import (
    behaviours,
    concat_days,
    hint_clicks,
    with_late_clicks,
)
from aigq_tasks.logs.schema import empty


def times(*texts: str | None) -> pd.Series:
    return pd.Series(pd.to_datetime(list(texts)), dtype="datetime64[us]")


def searches(*rows: tuple[str, str, str]) -> pd.DataFrame:
    user, time, query = zip(*rows, strict=True)
    ids = [f"s{i}" for i in range(len(rows))]
    return pd.DataFrame({"event_id": ids, "user_id": user, "time": times(*time), "query": query})


# Position 1 clicked the same evening, 2 after midnight, 3 never.
IMPRESSIONS = empty("hint_impressions").reindex(range(3)).assign(
    request_id="r1-0",
    user_id="h1",
    time=times(*["2017-11-06 23:58"] * 3),
    position=[1, 2, 3],
    query=["Milk", "rye bread", "tea"],
    clicked=[True, False, False],
    click_time=times("2017-11-06 23:59", None, None),
)  # fmt: skip
LATE = pd.DataFrame(
    {
        "request_id": ["r1-0", "r9-0", "r1-0"],
        "position": [2, 1, 2],
        "click_time": times("2017-11-07 00:01", "2017-11-07 00:02", "2017-11-07 00:03"),
    }
)
ITEM_CLICKS = pd.DataFrame(
    {
        "event_id": ["c1"],
        "user_id": ["h1"],
        "time": times("2017-11-06 23:59"),
        "item_id": ["7"],
        "title": ["Dark-Rye  bread!"],
    }
)


def logs(late: pd.DataFrame = LATE) -> dict[str, pd.DataFrame]:
    return {
        "searches": searches(
            ("h2", "2017-11-06 09:00", "Tea"),
            ("h1", "2017-11-06 23:59", "MILK"),
            ("h1", "2017-11-06 08:00", "???"),  # normalises to nothing
        ),
        "item_clicks": ITEM_CLICKS,
        "hint_impressions": IMPRESSIONS,
        "late_clicks": late,
    }


def test_three_kinds_in_one_table() -> None:
    table = behaviours(logs())
    # Sorted by user, time, kind ("hint_click" < "item_click" < "search"), content.
    expected = [
        ("h1", "2017-11-06 23:59", "hint_click", "milk"),
        ("h1", "2017-11-06 23:59", "item_click", "dark rye bread"),
        ("h1", "2017-11-06 23:59", "search", "milk"),
        ("h1", "2017-11-07 00:01", "hint_click", "rye bread"),
        ("h2", "2017-11-06 09:00", "search", "tea"),
    ]
    wanted = [(user, pd.Timestamp(time), kind, text) for user, time, kind, text in expected]
    assert list(table.itertuples(index=False, name=None)) == wanted
    assert table["time"].dtype == "datetime64[us]"


def test_an_item_goes_by_its_text_where_it_has_one() -> None:
    another = pd.concat([ITEM_CLICKS, ITEM_CLICKS.assign(event_id="c2", item_id="8")])
    table = behaviours({**logs(), "item_clicks": another}, {"8": "Rye Bread", "9": "beer"})
    clicked = table.loc[table["kind"] == "item_click", "content"]
    assert clicked.tolist() == ["dark rye bread", "rye bread"]


def test_the_order_of_the_log_does_not_matter() -> None:
    shuffled = {name: rows.iloc[::-1] for name, rows in logs().items()}
    shuffled["late_clicks"] = LATE  # of two clicks on one hint the first counts
    pd.testing.assert_frame_equal(behaviours(shuffled), behaviours(logs()))


def test_late_clicks_complete_their_impressions() -> None:
    merged = with_late_clicks(IMPRESSIONS, LATE)
    assert merged["clicked"].tolist() == [True, True, False]
    # The duplicate at 00:03 and the click of the unknown request r9-0 add no row.
    expected = times("2017-11-06 23:59", "2017-11-07 00:01", None)
    assert merged["click_time"].equals(expected)
    assert list(merged.columns) == list(IMPRESSIONS.columns)
    assert IMPRESSIONS["clicked"].tolist() == [True, False, False]  # the input stays as it was


def test_a_click_known_at_the_days_end_keeps_its_time() -> None:
    again = LATE.assign(position=1)
    assert with_late_clicks(IMPRESSIONS, again)["click_time"][0] == pd.Timestamp("2017-11-06 23:59")


def test_without_late_clicks_only_the_known_ones_count() -> None:
    clicks = hint_clicks(logs(late=empty("late_clicks")))
    assert clicks["query"].tolist() == ["Milk"]


def test_an_empty_log_has_no_behaviours() -> None:
    names = ("searches", "item_clicks", "hint_impressions", "late_clicks")
    table = behaviours({name: empty(name) for name in names})
    assert len(table) == 0
    assert list(table.columns) == ["user_id", "time", "kind", "content"]


def test_a_table_without_rows_does_not_change_the_unit_of_time() -> None:
    table = behaviours({**logs(), "item_clicks": empty("item_clicks")})
    assert table["time"].dtype == "datetime64[us]"


def test_days_are_stacked_in_the_order_given() -> None:
    first, second = searches(("h1", "2017-11-06", "a")), searches(("h1", "2017-11-05", "b"))
    stacked = concat_days([{"searches": first}, {"searches": second, "item_clicks": ITEM_CLICKS}])
    assert stacked["searches"]["query"].tolist() == ["a", "b"]
    assert stacked["searches"].index.tolist() == [0, 1]
    pd.testing.assert_frame_equal(stacked["item_clicks"], ITEM_CLICKS)
