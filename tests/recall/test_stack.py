from collections.abc import Sequence

import numpy as np
import pytest
from recall.source_cases import AS_OF, behaviours

from aigq_tasks.errors import AigqError
from aigq_tasks.recall import own_history, popularity, u2q
from aigq_tasks.recall.stack import HintStack

HISTORY = behaviours(
    *[("bob", age, "search", "milk") for age in (1, 2, 3, 4)],
    *[("bob", age, "search", "jam") for age in (1, 2)],
    ("ann", 2, "search", "tea"),
    ("ann", 1, "search", "x" * 41),  # too long to be shown
)
DAY = AS_OF.date()


def stack(per_source: int = 30, **options: object) -> HintStack:
    """u2q and popularity; popularity has milk, jam, the long one, tea."""
    lists = u2q.U2qSource(u2q.build({"ann": ["tea", "milk", "salt"]}, DAY))
    return HintStack((lists, popularity.build(HISTORY, AS_OF)), per_source, **options)


def test_candidates_are_a_union_that_remembers_all_sources() -> None:
    popular = popularity.build(HISTORY, AS_OF).queries
    assert (popular[0], popular[1], popular[3]) == ("milk", "jam", "tea")
    rows = stack().candidates(["ann"], HISTORY, AS_OF)
    # Fusion: mean over two sources of 61 / (60 + rank). The source shown has the best rank; milk
    # is second in u2q and first in popularity.
    expected = {
        "jam": ("popularity", "popularity", (61 / 62) / 2),
        "milk": ("popularity", "u2q+popularity", (61 / 62 + 1) / 2),
        "salt": ("u2q", "u2q", (61 / 63) / 2),
        "tea": ("u2q", "u2q+popularity", (1 + 61 / 64) / 2),
    }
    assert rows["query"].tolist() == sorted(expected)  # and the long one is not there
    for row in rows.itertuples():
        source, sources, fusion = expected[row.query]
        assert (row.source, row.sources) == (source, sources)
        assert row.fusion == pytest.approx(fusion)


def test_equal_ranks_show_the_earlier_source() -> None:
    twice = u2q.U2qSource(u2q.build({"ann": ["milk"]}, DAY))
    popular = popularity.build(HISTORY, AS_OF)
    first = HintStack((twice, popular), 30).candidates(["ann"], HISTORY, AS_OF)
    last = HintStack((popular, twice), 30).candidates(["ann"], HISTORY, AS_OF)
    milk = [rows.loc[rows["query"] == "milk", "source"].item() for rows in (first, last)]
    assert milk == ["u2q", "popularity"]


def test_launch_ranks_by_fusion() -> None:
    ranking = stack().rank(["ann", "new"], HISTORY, AS_OF)
    assert ranking.columns.tolist() == ["user_id", "rank", "query", "source", "rank_score"]
    ann = ranking[ranking["user_id"] == "ann"]
    assert ann["query"].tolist() == ["milk", "tea", "jam", "salt"]
    assert ann["rank"].tolist() == [1, 2, 3, 4]
    # A user whom no personal source knows still gets what is popular.
    assert ranking.loc[ranking["user_id"] == "new", "query"].tolist() == ["milk", "jam", "tea"]


def test_the_scorer_ranks_and_ties_go_by_text() -> None:
    asked: list[tuple[str, str]] = []

    def score(users: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        asked.extend(zip(users, queries, strict=True))
        return np.array([0.9 if query == "salt" else 0.1 for query in queries])

    ranking = stack(score=score).rank(["ann"], HISTORY, AS_OF)
    assert asked == [("ann", query) for query in ("jam", "milk", "salt", "tea")]
    assert ranking["query"].tolist() == ["salt", "jam", "milk", "tea"]
    assert ranking["rank_score"].tolist() == [0.9, 0.1, 0.1, 0.1]


def test_a_ranking_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigq_tasks.recall.stack.TOP", 3)
    assert stack().rank(["ann"], HISTORY, AS_OF)["query"].tolist() == ["milk", "tea", "jam"]


@pytest.mark.parametrize("scores", [np.array([0.5]), np.full(4, np.nan)])
def test_a_broken_scorer_is_an_error(scores: np.ndarray) -> None:
    with pytest.raises(AigqError, match="click model"):
        stack(score=lambda users, queries: scores).rank(["ann"], HISTORY, AS_OF)


def test_per_source_limits_what_is_asked() -> None:
    ranking = stack(per_source=1).rank(["ann"], HISTORY, AS_OF)
    assert set(ranking["query"]) == {"tea", "milk"}


def test_a_stack_without_proposals_ranks_nothing() -> None:
    empty = HintStack((own_history.build(HISTORY, AS_OF),), 30).rank(["new"], HISTORY, AS_OF)
    assert len(empty) == 0
