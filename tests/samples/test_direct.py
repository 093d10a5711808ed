import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.prompt import Histories
from aigq_tasks.samples.direct import Session, direct_samples, direct_sessions, label_list


@pytest.mark.parametrize(
    ("clicked", "ranked", "size", "labels"),
    [
        # Eq 3: the clicked hint, then the ranking; what was clicked is not repeated.
        (("milk",), ["tea", "milk", "beer"], 10, ["milk", "tea", "beer"]),
        (("milk",), ["tea", "milk", "beer"], 2, ["milk", "tea"]),
        (("beer", "milk"), ["milk", "tea"], 10, ["beer", "milk", "tea"]),  # order of position
        (("milk", "milk"), [], 10, ["milk"]),
        (("milk", "tea"), ["beer"], 1, ["milk"]),
    ],
)
def test_label_list(
    clicked: tuple[str, ...], ranked: list[str], size: int, labels: list[str]
) -> None:
    assert label_list(clicked, ranked, size) == labels


WORDS = st.lists(st.sampled_from("abcdef"), max_size=8)


@given(clicked=WORDS, ranked=WORDS, size=st.integers(1, 10))
def test_a_label_list_is_unique_and_keeps_both_orders(
    clicked: list[str], ranked: list[str], size: int
) -> None:
    labels = label_list(tuple(clicked), ranked, size)
    assert len(set(labels)) == len(labels) <= size
    assert len(labels) == min(size, len({*clicked, *ranked}))
    first = list(dict.fromkeys(clicked))
    rest = [query for query in dict.fromkeys(ranked) if query not in clicked]
    assert labels == (first + rest)[:size]


def impressions() -> pd.DataFrame:
    """Requests r2 (two clicks, logged out of order), r1 (one click), r3 (none), r4 (one)."""
    rows = [
        ("r2", "h1", "10:00", 3, "rye bread", True),
        ("r2", "h1", "10:00", 1, "milk", True),
        ("r2", "h1", "10:00", 2, "tea", False),
        ("r1", "h2", "09:00", 2, "beer", True),
        ("r3", "h3", "08:00", 1, "milk", False),
        ("r4", "h4", "10:00", 1, "eggs", True),
    ]
    names = ["request_id", "user_id", "time", "position", "query", "clicked"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(time=pd.to_datetime("2017-11-06T" + table["time"]))


def test_a_session_is_an_exposure_with_a_click() -> None:
    at = {hour: pd.Timestamp(f"2017-11-06T{hour}:00") for hour in ("09", "10")}
    assert direct_sessions(impressions()) == [
        Session("r1", "h2", at["09"], ("beer",)),
        Session("r2", "h1", at["10"], ("milk", "rye bread")),
        Session("r4", "h4", at["10"], ("eggs",)),
    ]
    assert direct_sessions(impressions()[::-1]) == direct_sessions(impressions())
    assert direct_sessions(impressions().assign(clicked=False)) == []


RANKINGS = pd.DataFrame(
    {
        "user_id": ["h1", "h1", "h1", "h2"],
        "rank": [2, 1, 3, 1],
        "query": ["tea", "milk", "beer", "tea"],
    }
)
USERS = pd.DataFrame({"user_id": ["h1", "h2"], "age": ["65+", ""], "income": "", "household": ""})
BEHAVIOURS = pd.DataFrame(
    {
        "user_id": ["h1", "h1", "h1"],
        "time": np.array(["2017-11-03T10:00", "2017-11-06T09:59", "2017-11-06T10:00"], "M8[us]"),
        "kind": ["search", "search", "hint_click"],
        "content": ["tea", "beer", "milk"],
    }
)


def samples(held_out: set[str], labels: int = 3) -> pd.DataFrame:
    histories = Histories.of(BEHAVIOURS)
    return direct_samples(impressions(), RANKINGS, USERS, histories, held_out, labels, 60)


def test_samples_of_a_day() -> None:
    table = samples(held_out=set())
    assert table["sample_id"].tolist() == ["r1", "r2", "r4"]
    assert table["user_id"].tolist() == ["h2", "h1", "h4"]
    # The history ends before the request at 10:00: its own click on milk is not in the prompt.
    assert table["prompt"].tolist() == [
        "<profile><history><hints>",
        "<profile>65+<history><3_day_ago><search>tea<0_day_ago><search>beer<hints>",
        "<profile><history><hints>",  # neither profile nor history nor ranking
    ]
    # r2: clicked milk, rye bread; ranked milk, tea, beer; three at most.
    assert table["labels"].tolist() == [["beer", "tea"], ["milk", "rye bread", "tea"], ["eggs"]]
    assert table["time"].tolist() == sorted(table["time"])


def test_held_out_users_give_no_sample() -> None:
    table = samples(held_out={"h1", "h4"})
    assert table["user_id"].tolist() == ["h2"]


def test_a_day_without_clicks_has_columns_but_no_rows() -> None:
    table = samples(held_out={"h1", "h2", "h4"})
    assert len(table) == 0
    assert list(table.columns) == ["sample_id", "user_id", "time", "prompt", "labels"]
