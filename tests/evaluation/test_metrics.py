"""Every expectation is worked out by hand; the working stands beside it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.evaluation.metrics import (
    category_hit,
    need_segments,
    query_hit,
    scored_users,
    semantic_similarity,
    unique_categories,
    user_segments,
    valid_list,
)

CATEGORY = {"milk": "dairy", "oat milk": "dairy", "cheddar": "cheese", "brie": "cheese"}
DAY = pd.Timestamp("2017-06-30")


def classify(texts: Sequence[str]) -> list[str]:
    return [CATEGORY.get(text, "") for text in texts]


def on_plane(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Unit vectors at known angles, so that the cosine of two texts is known."""
    degrees = {"east": 0, "north": 90, "northeast": 45, "west": 180}
    angles = np.radians([degrees[text] for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def behaviours(*rows: tuple[str, str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["user_id", "time", "content"])
    return table.assign(time=pd.to_datetime(table["time"]), kind="search")


def test_scored_users_are_sorted_and_have_truth() -> None:
    assert scored_users({"b": {"x"}, "c": set(), "a": {"y"}}) == ["a", "b"]


def test_query_hit_looks_at_the_top_k_only() -> None:
    lists = {"b": ["milk", "eggs", "tea"], "a": ["salt", "tea"], "z": ["tea"]}
    truth = {"a": {"tea"}, "b": {"tea", "rice"}, "c": {"tea"}, "d": set()}
    # a: tea is 2nd; b: tea is 3rd; c has no list; d has no truth; z has none either.
    assert query_hit(lists, truth, 1).tolist() == [0.0, 0.0, 0.0]
    assert query_hit(lists, truth, 2).tolist() == [1.0, 0.0, 0.0]
    assert query_hit(lists, truth, 3).tolist() == [1.0, 1.0, 0.0]


def test_query_hit_compares_normalised_texts_whole() -> None:
    lists = {"a": ["Ben & Jerry's"], "b": ["oat milk"]}
    truth = {"a": {"ben jerry s"}, "b": {"milk"}}
    assert query_hit(lists, truth, 30).tolist() == [1.0, 0.0]


def test_category_hit_maps_both_sides() -> None:
    lists = {"a": ["brie", "milk"], "b": ["brie", "milk"], "c": ["gibberish"]}
    truth = {"a": {"oat milk"}, "b": {"oat milk"}, "c": {"nonsense"}}
    # k=1: a, b have {cheese} against {dairy}. k=2: {cheese, dairy} against {dairy}.
    # c: both sides unknown, and unknown is no category to share.
    assert category_hit(lists, truth, 1, classify).tolist() == [0.0, 0.0, 0.0]
    assert category_hit(lists, truth, 2, classify).tolist() == [1.0, 1.0, 0.0]


def test_semantic_similarity_is_the_mean_best_cosine() -> None:
    lists = {"a": ["east", "northeast", "north"], "b": ["west"], "c": []}
    truth = {"a": {"east", "north"}, "b": {"east", "north"}, "c": {"east"}}
    # k=2, a: best(east) = cos 0 = 1, best(north) = cos 45 = 0.70711; mean 0.85355.
    # b: cos(east, west) = -1, cos(north, west) = 0; mean -0.5. c: no list, 0.
    result = semantic_similarity(lists, truth, 2, on_plane)
    assert result == pytest.approx([(1 + np.sqrt(0.5)) / 2, -0.5, 0.0])
    # k=3 adds north itself for a.
    assert semantic_similarity(lists, truth, 3, on_plane)[0] == pytest.approx(1.0)


def test_unique_categories_counts_known_categories_of_the_top_k() -> None:
    lists = {"b": ["milk", "oat milk", "brie"], "a": ["zzz", "brie"], "c": []}
    # a: "" and cheese; b: dairy, dairy, cheese.
    assert unique_categories(lists, 3, classify).tolist() == [1.0, 2.0, 0.0]
    assert unique_categories(lists, 2, classify).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("queries", "valid"),
    [
        (["milk", "tea"], 1.0),
        (["milk"], 0.0),  # too short a list
        (["milk", "Milk!"], 0.0),  # one query twice
        (["milk", "x"], 0.0),  # one character is no query
        (["milk", "one two three four five six seven"], 0.0),  # seven words
    ],
)
def test_valid_list(queries: list[str], valid: float) -> None:
    assert valid_list({"a": queries}, 2).tolist() == [valid]


def test_need_segments_split_at_28_days_by_own_history() -> None:
    history = behaviours(
        ("a", "2017-06-02 00:00:00", "tea"),  # 28 days to the second: still repeat
        ("a", "2017-06-01 23:59:59", "milk"),  # a second longer ago
        ("a", "2017-03-01 10:00:00", "salt"),  # long ago and ...
        ("a", "2017-06-29 10:00:00", "salt"),  # ... yesterday: the last time counts
        ("a", "2017-06-30 00:00:00", "rice"),  # on the day itself: no history yet
        ("b", "2017-06-29 10:00:00", "rice"),  # somebody else's history
    )
    truth = {"a": {"tea", "milk", "salt", "rice"}, "b": {"milk"}, "c": {"brie"}, "d": set()}
    assert need_segments(truth, history, DAY) == {
        "repeat": {"a": {"tea", "salt"}},
        "rediscovered": {"a": {"milk"}},
        "new": {"a": {"rice"}, "b": {"milk"}, "c": {"brie"}},
    }


def test_segment_hit_rate_scores_the_users_of_the_segment_on_its_queries() -> None:
    history = behaviours(("a", "2017-06-29", "tea"), ("b", "2017-06-29", "milk"))
    truth = {"a": {"tea", "brie"}, "b": {"milk"}}
    lists = {"a": ["brie"], "b": ["milk"]}
    segments = need_segments(truth, history, DAY)
    # repeat: a needs tea (missed), b needs milk (hit). new: a needs brie (hit), b has none.
    assert query_hit(lists, segments["repeat"], 30).tolist() == [0.0, 1.0]
    assert query_hit(lists, segments["new"], 30).tolist() == [1.0]
    assert query_hit(lists, segments["rediscovered"], 30).size == 0


def test_user_segments_count_events_before_the_day() -> None:
    history = behaviours(
        ("a", "2017-06-01", "tea"),
        ("a", "2017-06-02", "tea"),
        ("b", "2017-06-29", "tea"),
        ("b", "2017-06-30", "tea"),  # not before the day
    )
    truth = {"a": {"x1"}, "b": {"x2"}, "c": {"x3"}, "d": set()}
    segments = user_segments(truth, history, DAY, min_events=2)
    assert segments == {"cold": {"b": {"x2"}, "c": {"x3"}}, "warm": {"a": {"x1"}}}


queries = st.sampled_from(["milk", "oat milk", "cheddar", "brie", "tea"])
users = st.sampled_from(["a", "b", "c"])


@given(
    st.dictionaries(users, st.lists(queries, max_size=5)),
    st.dictionaries(users, st.sets(queries)),
    st.integers(1, 5),
)
def test_invariants(lists: dict[str, list[str]], truth: dict[str, set[str]], k: int) -> None:
    hits = query_hit(lists, truth, k)
    assert len(hits) == len(scored_users(truth))
    assert (query_hit(lists, truth, k + 1) >= hits).all()  # a longer list never loses a hit
    known = {user: needs & CATEGORY.keys() for user, needs in truth.items()}
    by_query, by_category = query_hit(lists, known, k), category_hit(lists, known, k, classify)
    assert (by_category >= by_query).all()  # the same query has the same category
    everything = {user: sorted(needs) for user, needs in truth.items()}
    assert query_hit(everything, truth, 5).all()


@given(st.dictionaries(users, st.sets(queries)), st.lists(st.tuples(users, queries), max_size=12))
def test_need_segments_partition_the_truth(
    truth: dict[str, set[str]], met: list[tuple[str, str]]
) -> None:
    rows = [(user, f"2017-0{1 + i % 6}-15", query) for i, (user, query) in enumerate(met)]
    segments = need_segments(truth, behaviours(*rows), DAY)
    parts = [
        (user, query)
        for segment in segments.values()
        for user, needs in segment.items()
        for query in needs
    ]
    assert sorted(parts) == sorted((user, query) for user in truth for query in truth[user])
