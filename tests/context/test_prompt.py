from datetime import datetime

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.prompt import (
    Histories,
    HistoryLine,
    history_lines,
    plain_text,
    profile_words,
    render_prompt,
    render_target,
    render_think_prompt,
)

NOW = datetime(2017, 11, 20, 12)


def lines_of(*events: tuple[str, str, str], limit: int = 60) -> list[HistoryLine]:
    """Lines of (time, kind, content) events, which are in time order."""
    times, kinds, contents = zip(*events, strict=True) if events else ((), (), ())
    moments = [np.datetime64(time, "us") for time in times]
    return history_lines(moments, kinds, contents, NOW, limit)


def test_repeats_are_folded_into_one_line() -> None:
    lines = lines_of(
        ("2017-11-03T12:00", "search", "milk"),  # 17 days ago
        ("2017-11-10T12:00", "item_click", "milk"),  # 10 days ago
        ("2017-11-17T11:00", "hint_click", "milk"),  # 3 days and an hour ago: 3 whole days
    )
    # (17 - 3) / 2 = 7 days between; a search is the strongest kind.
    assert lines == [HistoryLine("milk", "search", days_ago=3, times=3, every=7.0)]
    assert lines[0].render() == "<3_day_ago><search><3_time><every_7_day>milk"


def test_a_single_event_has_neither_count_nor_interval() -> None:
    (line,) = lines_of(("2017-11-20T11:59", "item_click", "rye bread"))
    assert line == HistoryLine("rye bread", "item_click", days_ago=0, times=1, every=0.0)
    assert line.render() == "<0_day_ago><item_click>rye bread"


def test_a_hint_click_is_stronger_than_an_item_click() -> None:
    (line,) = lines_of(("2017-11-19", "hint_click", "milk"), ("2017-11-19", "item_click", "milk"))
    assert (line.kind, line.times, line.every) == ("hint_click", 2, 0.0)


def test_nothing_of_now_or_later_is_seen() -> None:
    lines = lines_of(
        ("2017-11-20T11:59:59.999999", "search", "before"),
        ("2017-11-20T12:00", "search", "now"),
        ("2017-11-20T12:01", "search", "after"),
    )
    assert [line.content for line in lines] == ["before"]


def test_the_strongest_lines_stay_oldest_first() -> None:
    # times · exp(-days / 45): old 3 · exp(-45/45) = 1.104; new 1 · exp(-1/45) = 0.978;
    # mid 1 · exp(-10/45) = 0.801; the two strongest are old and new.
    events = [
        ("2017-10-05", "search", "old"),
        ("2017-10-06", "search", "old"),
        ("2017-10-06T12:00", "search", "old"),
        ("2017-11-10T12:00", "search", "mid"),
        ("2017-11-19T12:00", "search", "new"),
    ]
    assert [line.content for line in lines_of(*events, limit=2)] == ["old", "new"]
    assert [line.content for line in lines_of(*events, limit=3)] == ["old", "mid", "new"]


def test_equal_lines_are_ordered_by_their_text() -> None:
    events = [("2017-11-19T12:00", "search", text) for text in ("tea", "beer", "milk")]
    assert [line.content for line in lines_of(*events)] == ["beer", "milk", "tea"]
    assert [line.content for line in lines_of(*events, limit=2)] == ["beer", "milk"]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 24 * 100),  # hours before NOW
        st.sampled_from(["search", "item_click", "hint_click"]),
        st.sampled_from(["milk", "tea", "beer", "rye bread"]),
    ),
    max_size=20,
)


@given(events=EVENTS, limit=st.integers(0, 5))
def test_counts_add_up_and_a_limit_only_drops_lines(
    events: list[tuple[int, str, str]], limit: int
) -> None:
    rows = sorted(events, key=lambda e: -e[0])
    times = [np.datetime64(NOW, "us") - np.timedelta64(hours, "h") for hours, _, _ in rows]
    arguments = (times, [kind for _, kind, _ in rows], [text for _, _, text in rows], NOW)
    everything = history_lines(*arguments, limit=100)
    past = [row for row in rows if row[0] > 0]
    assert sum(line.times for line in everything) == len(past)
    assert len({line.content for line in everything}) == len(everything)
    days = [line.days_ago for line in everything]
    assert days == sorted(days, reverse=True)
    kept = history_lines(*arguments, limit=limit)
    assert len(kept) == min(limit, len(everything))
    assert kept == [line for line in everything if line in kept]


def test_the_whole_prompt() -> None:
    lines = lines_of(
        ("2017-11-13T12:00", "search", "spaghetti sauce"),
        ("2017-11-17T12:00", "search", "spaghetti sauce"),
        ("2017-11-20", "item_click", "milk"),
    )
    # 7 and 3 days ago: every 4 days, the bucket up to 5.
    assert render_prompt("65+ 35-49k 2 adults no kids", lines) == (
        "<profile>65+ 35-49k 2 adults no kids<history>"
        "<3_day_ago><search><2_time><every_5_day>spaghetti sauce"
        "<0_day_ago><item_click>milk<hints>"
    )
    assert render_prompt("", []) == "<profile><history><hints>"
    # AIGQ-Think refers to lines by number, and ends where its reasoning begins.
    assert render_think_prompt("65+", lines) == (
        "<profile>65+<history>"
        "<b_1><3_day_ago><search><2_time><every_5_day>spaghetti sauce"
        "<b_2><0_day_ago><item_click>milk<think>"
    )


def test_the_target_is_the_list_in_order() -> None:
    assert render_target(["milk", "rye bread", "tea"]) == "milk<sep>rye bread<sep>tea"
    assert render_target([]) == ""


def test_profile_words_leave_the_unknown_out() -> None:
    users = pd.DataFrame(
        {
            "user_id": ["h1", "h2", "h3"],
            "attributes": ["65+; 35-49k; 2 adults no kids", "", "25-34; 1 adult no kids"],
        }
    )
    assert profile_words(users) == {
        "h1": "65+ 35-49k 2 adults no kids",
        "h2": "",
        "h3": "25-34 1 adult no kids",
    }


def test_histories_keep_users_apart() -> None:
    table = pd.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "time": pd.to_datetime(["2017-11-18T12:00", "2017-11-19T12:00", "2017-11-13T12:00"]),
            "kind": ["search", "item_click", "search"],
            "content": ["milk", "tea", "milk"],
        }
    )
    histories = Histories.of(table)
    assert list(histories.users()) == ["a", "b"]
    of_a = [(line.content, line.days_ago) for line in histories.lines("a", NOW, 10)]
    assert of_a == [("milk", 2), ("tea", 1)]
    assert histories.lines("b", NOW, 10) == [HistoryLine("milk", "search", 7, 1, 0.0)]
    assert histories.lines("b", np.datetime64("2017-11-13T12:00", "us"), 10) == []
    assert histories.lines("nobody", NOW, 10) == []
    assert list(Histories.of(table.iloc[:0]).users()) == []


def test_plain_text_says_the_same_in_words() -> None:
    lines = [HistoryLine("tea", "search", 3, 2, 7.0), HistoryLine("rye", "item_click", 0, 1, 0.0)]
    words = (
        "suggest search queries user 65+ history 1 3 days ago searched 2 times every 7 days tea "
        "2 0 days ago clicked item rye queries"
    )
    assert plain_text(render_prompt("65+", lines)) == words
    assert plain_text(render_think_prompt("65+", lines)) == words
    assert plain_text(render_prompt("", [])) == "suggest search queries user history queries"
