from math import log, log2

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall.source_cases import CONTENTS, RecallSourceCases

from aigq_tasks.recall.config import X2qConfig
from aigq_tasks.recall.x2q import RECENT, X2qSource, x2q_entries
from aigq_tasks.storage.tables import from_parquet, to_parquet

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


# --- recall from the index ---------------------------------------------------------------------


class TestX2qSource(RecallSourceCases):
    """Its index is given, only what triggers comes from the history; it is stored as a table."""

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> X2qSource:
        rows = [
            (trigger, place, query, 1 / (place + number))
            for number, trigger in enumerate(CONTENTS[:6], 1)
            for place, query in enumerate((query for query in CONTENTS if query != trigger), 1)
        ]
        return X2qSource(pd.DataFrame(rows, columns=["trigger", "rank", "query", "score"]))

    @staticmethod
    def files(source: X2qSource) -> dict[str, bytes]:
        return {"x2q.parquet": to_parquet(source.entries)}

    @staticmethod
    def restore(files: dict[str, bytes], like: object) -> X2qSource:
        return X2qSource(from_parquet(files["x2q.parquet"]))


INDEX = pd.DataFrame(
    [
        ("milk", 1, "oat milk", 0.9),
        ("milk", 2, "butter", 0.5),
        ("bread", 1, "butter", 0.7),
        ("bread", 2, "jam", 0.5),
        ("old", 1, "dust", 1.0),
    ],
    columns=["trigger", "rank", "query", "score"],
)
NOW = pd.Timestamp("2017-11-06T12:00")


def searched(*rows: tuple[str, str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["user_id", "time", "content"])
    return table.assign(time=table["time"].to_numpy().astype("M8[us]"), kind="search")


def test_the_best_score_over_the_triggers_of_a_user() -> None:
    log = searched(
        ("u1", "2017-11-05", "milk"),
        ("u1", "2017-11-06", "bread"),
        ("u2", "2017-11-06T12:00", "milk"),  # not before now
        ("u3", "2017-11-05", "nothing known"),
    )
    assert X2qSource(INDEX).recall(["u1", "u2", "u3"], log, NOW, 3) == {
        # butter: 0.5 by milk, 0.7 by bread. jam and nothing else has 0.5 then.
        "u1": [("oat milk", 0.9), ("butter", 0.7), ("jam", 0.5)],
        "u2": [],
        "u3": [],
    }
    assert X2qSource(INDEX).recall(["u1"], log, NOW, 1) == {"u1": [("oat milk", 0.9)]}


def test_only_the_latest_distinct_contents_trigger() -> None:
    days = np.arange("2017-10-01", "2017-11-01", dtype="M8[D]").astype(str)
    newer = [("u1", days[2 + i], f"thing {i % RECENT}") for i in range(2 * RECENT)]
    log = searched(("u1", days[0], "old"), *newer)
    assert X2qSource(INDEX).recall(["u1"], log, NOW, 3) == {"u1": []}
    fewer = searched(("u1", days[0], "old"), *[r for r in newer if r[2] != "thing 0"])
    assert X2qSource(INDEX).recall(["u1"], fewer, NOW, 3) == {"u1": [("dust", 1.0)]}
