from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recall.source_cases import AS_OF, RecallSourceCases, behaviours

from aigq_tasks.recall import cooccurrence
from aigq_tasks.recall.asked import Asked, top_k
from aigq_tasks.recall.cooccurrence import KINDS, CoOccurrence, Kind

BY_NAME = {kind.name: kind for kind in KINDS}


def last_word(texts: Sequence[str]) -> list[str]:
    """A unit that several texts share, "" for one."""
    return ["" if text == "heroin" else text.split()[-1] for text in texts]


class _Cases(RecallSourceCases):
    kind: Kind

    @classmethod
    def build(cls, history: pd.DataFrame, as_of: pd.Timestamp) -> CoOccurrence:  # type: ignore[override]
        units = None if cls.kind.unit == "text" else last_word
        return cooccurrence.build(history, as_of, cls.kind, units)


class TestCoSearch(_Cases):
    kind = BY_NAME["cosearch"]


class TestCoClick(_Cases):
    kind = BY_NAME["coclick"]


class TestCategory(_Cases):
    kind = BY_NAME["category"]


class TestLast(_Cases):
    kind = BY_NAME["last"]


class TestCluster(_Cases):
    kind = BY_NAME["cluster"]


# Three user-days: {bread, jam}, {bread, jam, tea}, {bread, tea}. Only jam and tea are searched.
HISTORY = behaviours(
    ("u1", 5.5, "item_click", "bread"),
    ("u1", 5.4, "search", "jam"),
    ("u1", 3.5, "item_click", "bread"),
    ("u1", 3.5, "item_click", "bread"),  # again on the same day: counts once
    ("u1", 3.4, "item_click", "jam"),
    ("u1", 3.3, "search", "jam"),
    ("u1", 3.3, "hint_click", "tea"),
    ("u2", 3.5, "item_click", "bread"),
    ("u2", 3.4, "hint_click", "tea"),
)


def rows(source: CoOccurrence) -> list[tuple[str, str, float]]:
    return [(c, q, pytest.approx(s)) for c, q, s in source.ties.itertuples(index=False, name=None)]


def test_scores_are_shrunk_cosines() -> None:
    # n: bread 3, jam 2, tea 2. Together: bread+jam 2, bread+tea 2, jam+tea 1.
    # s(bread, jam) = 2/√(3·2) · 2/(2+1);  s(jam, tea) = 1/√(2·2) · 1/(1+1) = 1/4.
    strong, weak = 2 / np.sqrt(6) * 2 / 3, 0.25
    source = cooccurrence.build(HISTORY, AS_OF, BY_NAME["coclick"], shrinkage=1.0)
    assert rows(source) == [
        ("bread", "jam", strong),
        ("bread", "tea", strong),
        ("jam", "tea", weak),
        ("tea", "jam", weak),
    ]


def test_only_searches_lead_somewhere_by_co_search() -> None:
    # Jam was searched on two days, on one of them with tea: 1/√(2·2) · 1/2.
    source = cooccurrence.build(HISTORY, AS_OF, BY_NAME["cosearch"], shrinkage=1.0)
    assert rows(source) == [("jam", "tea", 0.25)]
    now = behaviours(("new", 2.0, "item_click", "jam"))
    assert source.recall(["new"], now, AS_OF, 5) == {"new": []}  # nobody searched it


def test_what_follows_is_what_came_later_that_day() -> None:
    # Bread is before jam on two days and before tea on two; jam before tea on one (clicked at 3.4,
    # tea at 3.3); tea is before nothing.
    source = cooccurrence.build(HISTORY, AS_OF, BY_NAME["last"], shrinkage=1.0)
    strong, weak = 2 / np.sqrt(6) * 2 / 3, 0.25
    assert rows(source) == [
        ("bread", "jam", strong),
        ("bread", "tea", strong),
        ("jam", "tea", weak),
    ]


def test_units_pass_their_score_on_by_share() -> None:
    history = behaviours(
        ("u1", 3.4, "search", "oat milk"),
        ("u1", 3.3, "search", "oat milk"),
        ("u1", 3.2, "search", "milk"),
        ("u1", 3.1, "search", "black tea"),
    )
    source = cooccurrence.build(history, AS_OF, BY_NAME["category"], last_word, shrinkage=1.0)
    # n(milk) = n(tea) = n(both) = 1: 1/√1 · 1/2. Two of three searches of milk are "oat milk".
    assert rows(source) == [
        ("milk", "black tea", 0.5),
        ("tea", "oat milk", 0.5 * 2 / 3),
        ("tea", "milk", 0.5 / 3),
    ]
    # A wording that was not counted is known by its unit, where somebody tells it.
    now = behaviours(("new", 0.1, "search", "green tea"))
    assert [query for query, _ in source.recall(["new"], now, AS_OF, 5)["new"]] == [
        "oat milk",
        "milk",
    ]
    stored = CoOccurrence.from_files(source.to_files())
    assert stored.recall(["new"], now, AS_OF, 5)["new"] == []


def test_neighbours_are_cut_per_content_and_bread_is_never_proposed() -> None:
    source = cooccurrence.build(HISTORY, AS_OF, BY_NAME["coclick"], neighbours=1)
    assert source.ties[["content", "query"]].to_numpy().tolist() == [
        ["bread", "jam"],  # ties with tea: by text
        ["jam", "tea"],
        ["tea", "jam"],
    ]


def test_recall_adds_up_recent_contents() -> None:
    kind = Kind("coclick", "text", half_life_days=2.0)
    source = cooccurrence.build(HISTORY, AS_OF, kind, shrinkage=1.0)
    now = behaviours(
        ("new", 6.0, "item_click", "bread"),  # not the latest time
        ("new", 4.0, "item_click", "bread"),  # weight 2^(-4/2) = 1/4
        ("new", 2.0, "search", "jam"),  # weight 2^(-2/2) = 1/2
        ("new", -1.0, "search", "tea"),  # in the future
        ("new", 91.0, "search", "tea"),  # out of the window
        ("new", 1.0, "search", "unheard of"),
    )
    strong, weak = 2 / np.sqrt(6) * 2 / 3, 0.25
    recalled = source.recall(["new", "nobody"], now, AS_OF, k=5)
    assert recalled["nobody"] == []
    assert [query for query, _ in recalled["new"]] == ["tea", "jam"]
    scores = [score for _, score in recalled["new"]]
    assert scores == pytest.approx([strong / 4 + weak / 2, strong / 4])
    assert source.recall(["new"], now, AS_OF, k=1)["new"] == recalled["new"][:1]


def test_only_the_latest_contents_count() -> None:
    kind = Kind("coclick", "text", recent=1, half_life_days=0.0)
    source = cooccurrence.build(HISTORY, AS_OF, kind, shrinkage=1.0)
    now = behaviours(("new", 4.0, "item_click", "bread"), ("new", 2.0, "search", "jam"))
    assert source.recall(["new"], now, AS_OF, 5)["new"] == [("tea", pytest.approx(0.25))]


def test_scores_of_single_pairs() -> None:
    source = cooccurrence.build(HISTORY, AS_OF, BY_NAME["last"], shrinkage=1.0)
    now = behaviours(("a", 2.0, "search", "jam"), ("b", 2.0, "search", "salt"))
    asked = Asked.at(now, ["a", "b"], AS_OF)
    texts = np.array(["jam", "salt", "tea"], dtype=object)
    request, query = np.array([0, 0, 0, 1]), np.array([2, 0, 1, 2])
    assert source.pair_scores(asked, request, query, texts).tolist() == [0.25, 0, 0, 0]
    empty = cooccurrence.build(behaviours(), AS_OF, BY_NAME["last"])
    assert empty.pair_scores(asked, request, query, texts).tolist() == [0, 0, 0, 0]


def test_an_empty_log_recalls_nothing() -> None:
    source = cooccurrence.build(behaviours(), AS_OF, BY_NAME["coclick"])
    assert source.recall(["u1"], HISTORY, AS_OF, k=5) == {"u1": []}
    full = cooccurrence.build(HISTORY, AS_OF, BY_NAME["coclick"])
    assert full.recall(["u1"], behaviours(), AS_OF, k=5) == {"u1": []}


scores = st.lists(
    st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=5, max_size=5),
    min_size=1,
    max_size=4,
)


@given(scores, st.integers(0, 7))
def test_top_k_is_a_stable_sort(rows: list[list[float]], k: int) -> None:
    best = top_k(np.array(rows), k)
    assert len(best) == len(rows)
    for row, (columns, values) in zip(rows, best, strict=True):
        finite = [i for i in range(5) if row[i] > -np.inf]
        expected = sorted(finite, key=lambda i: (-row[i], i))[:k]
        assert columns.tolist() == expected
        assert values.tolist() == [row[i] for i in expected]
