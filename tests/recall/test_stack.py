import numpy as np
import pandas as pd
import pytest
from recall.source_cases import AS_OF, behaviours

from aigq_tasks.errors import AigqError
from aigq_tasks.recall import own_history, popularity, u2q
from aigq_tasks.recall.asked import Asked, Memory, microseconds
from aigq_tasks.recall.config import Candidates
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
    config = Candidates(per_source=per_source, quotas=(), diversity=0.0)
    return HintStack((lists, popularity.build(HISTORY, AS_OF)), config, **options)


def test_candidates_are_a_union_that_remembers_all_sources() -> None:
    popular = popularity.build(HISTORY, AS_OF).queries
    assert (popular[0], popular[1], popular[3]) == ("milk", "jam", "tea")
    pool = stack().pool(Asked.at(HISTORY, ["ann"], AS_OF))
    # Fusion: mean over two sources of 61 / (60 + rank). The source shown has the best rank; milk
    # is second in u2q and first in popularity.
    inf = float("inf")
    expected = {
        "jam": ("popularity", (inf, 2), (61 / 62) / 2),
        "milk": ("popularity", (2, 1), (61 / 62 + 1) / 2),
        "salt": ("u2q", (3, inf), (61 / 63) / 2),
        "tea": ("u2q", (1, 4), (1 + 61 / 64) / 2),
    }
    assert pool.texts[pool.text].tolist() == sorted(expected)  # and the long one is not there
    for row, query in enumerate(sorted(expected)):
        source, ranks, fusion = expected[query]
        assert (pool.source[row], tuple(pool.rank[row])) == (source, ranks)
        assert pool.fusion[row] == pytest.approx(fusion)


def test_equal_ranks_show_the_earlier_source() -> None:
    twice = u2q.U2qSource(u2q.build({"ann": ["milk"]}, DAY))
    popular = popularity.build(HISTORY, AS_OF)
    first = HintStack((twice, popular)).rank(["ann"], HISTORY, AS_OF)
    last = HintStack((popular, twice)).rank(["ann"], HISTORY, AS_OF)
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
    asked: list[tuple[int, str]] = []

    def score(request: np.ndarray, query: np.ndarray, texts: np.ndarray) -> np.ndarray:
        asked.extend(zip(request.tolist(), texts[query].tolist(), strict=True))
        return np.where(texts[query] == "salt", 0.9, 0.1)

    ranking = stack(score=score).rank(["ann"], HISTORY, AS_OF)
    assert asked == [(0, query) for query in ("jam", "milk", "salt", "tea")]
    assert ranking["query"].tolist() == ["salt", "jam", "milk", "tea"]
    assert ranking["rank_score"].tolist() == [0.9, 0.1, 0.1, 0.1]


def test_a_ranking_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigq_tasks.recall.stack.TOP", 3)
    assert stack().rank(["ann"], HISTORY, AS_OF)["query"].tolist() == ["milk", "tea", "jam"]


@pytest.mark.parametrize("scores", [np.array([0.5]), np.full(4, np.nan)])
def test_a_broken_scorer_is_an_error(scores: np.ndarray) -> None:
    with pytest.raises(AigqError, match="click model"):
        stack(score=lambda request, query, texts: scores).rank(["ann"], HISTORY, AS_OF)


def test_quotas_limit_what_is_asked() -> None:
    ranking = stack(per_source=1).rank(["ann"], HISTORY, AS_OF)
    assert set(ranking["query"]) == {"tea", "milk"}
    own = Candidates(per_source=1, quotas=(("u2q", 3), ("popularity", 0)))
    ranking = HintStack(stack().sources, own).rank(["ann"], HISTORY, AS_OF)
    assert set(ranking["query"]) == {"tea", "milk", "salt"}


def test_a_stack_without_proposals_ranks_nothing() -> None:
    empty = HintStack((own_history.build(HISTORY, AS_OF),)).rank(["new"], HISTORY, AS_OF)
    assert len(empty) == 0
    assert empty.columns.tolist() == ["user_id", "rank", "query", "source", "rank_score"]


def test_sources_are_asked_once_for_a_user_who_did_nothing_since() -> None:
    calls: list[int] = []

    class Counted(popularity.Popularity):
        def propose(self, asked: Asked, k: int) -> object:  # type: ignore[override]
            calls.append(len(asked))
            return super().propose(asked, k)

    popular = popularity.build(HISTORY, AS_OF)
    own = Counted(popular.queries, popular.scores)
    times = pd.Series(
        [AS_OF - pd.Timedelta(hours=h) for h in (23, 22, 1)] + [AS_OF + pd.Timedelta(hours=1)]
    )
    more = pd.concat([HISTORY, behaviours(("ann", 0.5, "search", "jam"))], ignore_index=True)
    asked = Asked.of(Memory.of(more), ["ann"] * 4, microseconds(times))
    ranking = HintStack((own,)).ranked(asked)
    # 23 and 22 hours before: one state; jam was searched 12 hours before; then another day.
    assert calls == [3]
    assert ranking.groupby("request").size().tolist() == [3] * 4
