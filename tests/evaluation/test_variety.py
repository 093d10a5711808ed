"""How varied lists are: by hand, and the floor on pairs labelled by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.evaluation.encoder import SentenceEncoder
from aigq_tasks.evaluation.variety import (
    COSINE_FLOOR,
    distinct_queries,
    first_of,
    global_top,
    near_duplicates,
    popular_share,
)

PAIRS = Path(__file__).parent / "query_pairs.csv"
ANGLES = {"tea": 0, "black tea": 50, "milk": 90, "milk oat": 140, "oat milk": 200}  # degrees


def on_plane(texts: Sequence[str]) -> np.ndarray:
    radians = np.radians([ANGLES[text] for text in texts])
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_the_global_top_is_what_is_searched() -> None:
    rows = [("search", "tea")] * 3 + [("search", "jam")] * 2 + [("search", "ham")] * 2
    rows += [("item_click", "milk")] * 9 + [("search", f"query {n:02}") for n in range(40)]
    top = global_top(pd.DataFrame(rows, columns=["kind", "content"]))
    assert top == {"tea", "ham", "jam", *(f"query {n:02}" for n in range(27))}


def test_popular_share_by_hand() -> None:
    first = first_of({"ann": ["Tea", "rye"] + ["x"] * 9, "bob": ["rye"]}, ["ann", "bob", "eve"])
    assert [len(queries) for queries in first.values()] == [10, 1, 0]
    assert popular_share(first, list(first), {"tea", "x"}).tolist() == [0.9, 0.0, 0.0]


def test_near_duplicates_by_hand() -> None:
    """cos 50° = 0.64 is above the floor, cos 60° below it; words in another order are the same."""
    lists = {
        "ann": ["tea", "black tea", "milk"],  # black tea after tea, milk at 40° to black tea
        "bob": ["oat milk", "tea", "milk oat"],  # 60° and 140° away, but the same words
        "eve": ["tea", "milk"],
        "sue": [],
    }
    shares = near_duplicates(lists, ["ann", "bob", "eve", "sue"], on_plane)
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0, 0.0])


def test_distinct_queries_of_all_users() -> None:
    lists = {"b": {"ann": ["tea", "Milk"], "bob": ["milk"]}, "a": {"ann": ["x"] * 10 + ["y"]}}
    table = distinct_queries(lists, ["ann", "bob"])
    assert table.to_dict("list") == {
        "arm": ["a", "b"],
        "distinct_queries": [1, 2],
        "users": [2, 2],
    }


def test_the_floor_is_the_best_of_its_kind_on_pairs_labelled_by_hand() -> None:
    pairs = pd.read_csv(PAIRS)
    assert len(pairs) == 200
    encode = SentenceEncoder()
    cosine = (encode(pairs["one"].tolist()) * encode(pairs["two"].tolist())).sum(axis=1)
    same = pairs["same_need"].to_numpy(bool)

    def balanced(floor: float) -> float:
        said = cosine >= floor
        return float(said[same].mean() + (~said)[~same].mean()) / 2

    assert balanced(COSINE_FLOOR) == pytest.approx(0.769, abs=0.002)
    steps = np.arange(0.50, 0.90, 0.05)
    assert max(map(balanced, steps)) == pytest.approx(balanced(COSINE_FLOOR))
