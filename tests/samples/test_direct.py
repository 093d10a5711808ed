import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.context.prompt import Histories
from aigq_tasks.samples.direct import direct_samples
from aigq_tasks.samples.engine import engine


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


RANKINGS = pd.DataFrame(
    {
        "request_id": ["r2", "r2", "r2", "r1", "r5"],
        "user_id": ["h1", "h1", "h1", "h2", "h1"],
        "rank": [2, 1, 3, 1, 1],
        "query": ["tea", "milk", "beer", "tea", "ham"],
    }
)
USERS = pd.DataFrame({"user_id": ["h1", "h2"], "attributes": ["65+", ""]})
BEHAVIOURS = pd.DataFrame(
    {
        "user_id": ["h1", "h1", "h1"],
        "time": np.array(["2017-11-03T10:00", "2017-11-06T09:59", "2017-11-06T10:00"], "M8[us]"),
        "kind": ["search", "search", "hint_click"],
        "content": ["tea", "beer", "milk"],
    }
)


def samples(
    held_out: set[str], shown: pd.DataFrame | None = None, rankings: pd.DataFrame = RANKINGS
) -> pd.DataFrame:
    shown = impressions() if shown is None else shown
    histories = Histories.of(BEHAVIOURS)
    with engine("duckdb") as execute:
        return direct_samples(shown, rankings, USERS, histories, held_out, 3, 60, execute)


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
    pd.testing.assert_frame_equal(samples(set(), impressions()[::-1], RANKINGS[::-1]), table)


WORDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=30)
@given(clicked=WORDS, ranked=WORDS)
def test_labels_are_unique_and_keep_both_orders(clicked: list[str], ranked: list[str]) -> None:
    shown = impressions().iloc[:1].merge(pd.DataFrame({"query": clicked}), "cross")
    shown = shown.assign(query=shown["query_y"], position=range(1, len(clicked) + 1))
    places = pd.DataFrame(
        {"request_id": "r2", "user_id": "h1", "rank": range(1, len(ranked) + 1), "query": ranked}
    )
    (labels,) = samples(set(), shown, places)["labels"]
    # Eq 3: the clicks, then the ranking; what stands earlier is not repeated.
    assert labels == list(dict.fromkeys([*clicked, *ranked]))[:3]


def test_held_out_users_give_no_sample() -> None:
    table = samples(held_out={"h1", "h4"})
    assert table["user_id"].tolist() == ["h2"]


def test_a_day_without_clicks_has_columns_but_no_rows() -> None:
    for table in (
        samples(held_out={"h1", "h2", "h4"}),
        samples(set(), impressions().assign(clicked=False)),
    ):
        assert len(table) == 0
        assert list(table.columns) == ["sample_id", "user_id", "time", "prompt", "labels"]
