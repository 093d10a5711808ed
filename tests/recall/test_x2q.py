from math import log, log2

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.recall.x2q import X2qConfig, x2q_entries

TIES = pd.DataFrame(
    [
        ("u1", "milk", "oat milk", 1),
        ("u1", "milk", "butter", 2),
        ("u1", "milk", "butter", 5),  # the same user again: the better place counts
        ("u2", "milk", "butter", 1),
        ("u2", "tea", "honey", 3),
    ],
    columns=["user_id", "trigger", "query", "place"],
)
SIGNALS = pd.DataFrame(
    [("butter", 9, 0.02), ("oat milk", 99, 0.08)], columns=["query", "views", "ctr"]
)


def entries(ties: pd.DataFrame, signals: pd.DataFrame, **options: float) -> pd.DataFrame:
    config = X2qConfig(**options)  # type: ignore[arg-type]
    return x2q_entries(ibis.memtable(ties), ibis.memtable(signals), config).to_pandas()


def test_scores_by_hand() -> None:
    found = entries(TIES, SIGNALS, gamma=0.6, prior=2.0)
    # rel(milk, butter): places 2 (u1) and 1 (u2), two users, prior 2
    butter_rel = (1 / log2(3) + 1) / 4
    oat_rel = 1 / 4
    honey_rel = (1 / log2(4)) / 3  # one user has tea
    butter_eff = (log(10) / log(100) + 0.02 / 0.08) / 2
    oat_eff = 1.0
    expected = [
        ("milk", 1, "oat milk", 0.6 * oat_rel + 0.4 * oat_eff),
        ("milk", 2, "butter", 0.6 * butter_rel + 0.4 * butter_eff),
        ("tea", 1, "honey", 0.6 * honey_rel),  # no view and no prediction known
    ]
    assert [tuple(row[:3]) for row in found.itertuples(index=False)] == [e[:3] for e in expected]
    assert found["score"].tolist() == pytest.approx([e[3] for e in expected], abs=2e-6)


def test_relevance_alone_and_effect_alone() -> None:
    assert entries(TIES, SIGNALS, gamma=1.0)["query"].tolist() == ["butter", "oat milk", "honey"]
    assert entries(TIES, SIGNALS, gamma=0.0)["query"].tolist() == ["oat milk", "butter", "honey"]


def test_depth_and_ties_by_text() -> None:
    ties = pd.DataFrame(
        [("u", "t", query, 1) for query in ("b", "c", "a")],
        columns=["user_id", "trigger", "query", "place"],
    )
    found = entries(ties, SIGNALS, depth=2)
    assert found[["rank", "query"]].to_numpy().tolist() == [[1, "a"], [2, "b"]]


def test_nobody_was_ever_shown_anything() -> None:
    nothing = pd.DataFrame({"query": ["butter"], "views": [0], "ctr": [0.0]})
    assert entries(TIES, nothing, gamma=0.0)["score"].eq(0).all()


rows = st.tuples(
    st.sampled_from("uvw"), st.sampled_from("st"), st.sampled_from("abc"), st.integers(1, 9)
)


@settings(deadline=None, max_examples=15)
@given(st.lists(rows, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(ties: list[tuple[object, ...]], shuffle) -> None:  # type: ignore[no-untyped-def]
    columns = ["user_id", "trigger", "query", "place"]
    signals = pd.DataFrame({"query": ["a"], "views": [3], "ctr": [0.1]})
    found = entries(pd.DataFrame(ties, columns=columns), signals)
    shuffle.shuffle(ties)
    pd.testing.assert_frame_equal(
        found, entries(pd.DataFrame(ties, columns=columns), signals), check_exact=True
    )
    assert found["score"].between(0, 1).all()
    assert not found.duplicated(["trigger", "query"]).any()
