import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recall.source_cases import AS_OF, RecallSourceCases, behaviours

from aigq_tasks.recall import coclick


class TestCoClick(RecallSourceCases):
    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> coclick.CoClick:
        return coclick.build(history, as_of)


# Three user-days: {bread, jam}, {bread, jam, tea}, {bread, tea}. Only jam and tea are searched.
HISTORY = behaviours(
    ("u1", 5.5, "item_click", "bread"),
    ("u1", 5.4, "search", "jam"),
    ("u1", 3.5, "item_click", "bread"),
    ("u1", 3.5, "item_click", "bread"),  # again on the same day: counts once
    ("u1", 3.4, "item_click", "jam"),
    ("u1", 3.3, "item_click", "tea"),
    ("u2", 3.5, "item_click", "bread"),
    ("u2", 3.4, "hint_click", "tea"),
)


def test_scores_are_shrunk_cosines() -> None:
    model = coclick.build(HISTORY, AS_OF, shrinkage=1.0)
    # n: bread 3, jam 2, tea 2. Together: bread+jam 2, bread+tea 2, jam+tea 1.
    # s(bread, jam) = 2/√(3·2) · 2/(2+1);  s(jam, tea) = 1/√(2·2) · 1/(1+1) = 1/4.
    strong, weak = 2 / np.sqrt(6) * 2 / 3, 0.25
    expected = [
        ("bread", "jam", strong),
        ("bread", "tea", strong),
        ("jam", "tea", weak),
        ("tea", "jam", weak),
    ]
    rows = model.neighbours.itertuples(index=False, name=None)
    assert [(c, q, pytest.approx(s)) for c, q, s in rows] == expected


def test_neighbours_are_cut_per_content_and_bread_is_never_proposed() -> None:
    model = coclick.build(HISTORY, AS_OF, neighbours=1)
    assert model.neighbours[["content", "query"]].to_numpy().tolist() == [
        ["bread", "jam"],  # ties with tea: by text
        ["jam", "tea"],
        ["tea", "jam"],
    ]


def test_recall_adds_up_recent_contents() -> None:
    model = coclick.build(HISTORY, AS_OF, half_life_days=2.0, days=90, shrinkage=1.0)
    now = behaviours(
        ("new", 4.0, "item_click", "bread"),  # weight 2^(-4/2) = 1/4
        ("new", 2.0, "search", "jam"),  # weight 2^(-2/2) = 1/2
        ("new", -1.0, "search", "tea"),  # in the future
        ("new", 91.0, "search", "tea"),  # out of the window
        ("new", 1.0, "search", "unheard of"),
    )
    strong, weak = 2 / np.sqrt(6) * 2 / 3, 0.25
    recalled = model.recall(["new", "nobody"], now, AS_OF, k=5)
    assert recalled["nobody"] == []
    assert [query for query, _ in recalled["new"]] == ["tea", "jam"]
    scores = [score for _, score in recalled["new"]]
    assert scores == pytest.approx([strong / 4 + weak / 2, strong / 4])
    assert model.recall(["new"], now, AS_OF, k=1)["new"] == recalled["new"][:1]


def test_an_empty_log_recalls_nothing() -> None:
    model = coclick.build(behaviours(), AS_OF)
    assert model.recall(["u1"], HISTORY, AS_OF, k=5) == {"u1": []}
    full = coclick.build(HISTORY, AS_OF)
    assert full.recall(["u1"], behaviours(), AS_OF, k=5) == {"u1": []}


scores = st.lists(
    st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=5, max_size=5),
    min_size=1,
    max_size=4,
)


@given(scores, st.integers(0, 7))
def test_top_k_is_a_stable_sort(rows: list[list[float]], k: int) -> None:
    best = coclick.top_k(np.array(rows), k)
    assert len(best) == len(rows)
    for row, (columns, values) in zip(rows, best, strict=True):
        finite = [i for i in range(5) if row[i] > -np.inf]
        expected = sorted(finite, key=lambda i: (-row[i], i))[:k]
        assert columns.tolist() == expected
        assert values.tolist() == [row[i] for i in expected]
