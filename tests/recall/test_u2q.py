from datetime import date

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from recall.source_cases import CONTENTS, USERS, RecallSourceCases, behaviours

from aigq_tasks.recall import u2q
from aigq_tasks.storage.tables import from_parquet, to_parquet

MONDAY, TUESDAY = date(2025, 3, 3), date(2025, 3, 4)


class TestU2qSource(RecallSourceCases):
    """Its lists are what a policy wrote, whatever the history; they are stored as a table."""

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> u2q.U2qSource:
        lists = {user: CONTENTS[n % 4 :] for n, user in enumerate(USERS[1:])}
        return u2q.U2qSource(u2q.build(lists, as_of.date()))

    @staticmethod
    def files(source: u2q.U2qSource) -> dict[str, bytes]:
        return {"u2q.parquet": to_parquet(source.entries)}

    @staticmethod
    def restore(files: dict[str, bytes], like: object) -> u2q.U2qSource:
        return u2q.U2qSource(from_parquet(files["u2q.parquet"]))


def rows(entries: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(entries.itertuples(index=False, name=None))


def test_build_normalises_and_keeps_the_order() -> None:
    entries = u2q.build({"b": ["Milk!", "jam", "  milk", "--"], "a": ["tea"], "c": ["?"]}, MONDAY)
    assert rows(entries) == [
        ("a", 1, "tea", 1.0, "2025-03-03"),
        ("b", 1, "milk", 1.0, "2025-03-03"),
        ("b", 2, "jam", 0.5, "2025-03-03"),
    ]


def test_merge_replaces_refreshed_users_and_carries_the_others_over() -> None:
    parent = u2q.build({"a": ["tea", "jam"], "c": ["ham"]}, MONDAY)
    fresh = u2q.build({"a": ["milk"], "b": ["salt"]}, TUESDAY)
    assert rows(u2q.merge(parent, fresh)) == [
        ("a", 1, "milk", 1.0, "2025-03-04"),
        ("b", 1, "salt", 1.0, "2025-03-04"),
        ("c", 1, "ham", 1.0, "2025-03-03"),
    ]


lists = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.sampled_from(["x", "y", "Z "]), max_size=4)
)


@given(lists, lists)
def test_merge_is_a_fold_over_users(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    merged = u2q.merge(u2q.build(old, MONDAY), u2q.build(new, TUESDAY))
    expected = {user: (MONDAY, queries) for user, queries in old.items() if queries}
    expected |= {user: (TUESDAY, queries) for user, queries in new.items() if queries}
    assert sorted(merged["user_id"].unique()) == sorted(expected)
    for user, entries in merged.groupby("user_id"):
        day, queries = expected[str(user)]
        assert entries["query"].tolist() == list(dict.fromkeys(q.strip().lower() for q in queries))
        assert entries["rank"].tolist() == list(range(1, len(entries) + 1))
        assert set(entries["day"]) == {day.isoformat()}
    assert u2q.merge(merged, merged).equals(merged)


def test_recall_reads_the_first_k() -> None:
    source = u2q.U2qSource(u2q.build({"a": ["tea", "jam", "ham"], "b": ["salt"]}, MONDAY))
    recalled = source.recall(["a", "nobody"], behaviours(), pd.Timestamp(TUESDAY), k=2)
    assert recalled == {"a": [("tea", 1.0), ("jam", 0.5)], "nobody": []}
