"""u2q: the queries that a release generated for each user, and recall from them.

Entries are a table: user_id, rank (1..), query, score, day; sorted by user and rank. `day`
(YYYY-MM-DD) is that of the release that generated the user's list: a list is carried over from
release to release until the user is refreshed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import pandas as pd

from aigq_tasks.context.queries import normalize


@dataclass(frozen=True)
class U2qSource:
    """Recall from the entries of a release."""

    name: ClassVar[str] = "u2q"
    entries: pd.DataFrame

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """The first k queries of each user's list; history and as_of are not read."""
        recalled: dict[str, list[tuple[str, float]]] = {user: [] for user in user_ids}
        wanted = self.entries["user_id"].isin(list(user_ids)) & (self.entries["rank"] <= k)
        best = self.entries[wanted]
        for user, query, score in zip(best["user_id"], best["query"], best["score"], strict=True):
            recalled[user].append((query, score))
        return recalled


def build(lists: Mapping[str, Sequence[str]], day: date) -> pd.DataFrame:
    """Entries from the lists that a policy wrote for users, best query first.

    Queries are normalised; empty ones and repetitions are dropped, and a user with nothing left has
    no entry. A policy orders but does not score: score = 1 / rank.
    """
    rows = []
    for user in sorted(lists):
        queries = dict.fromkeys(query for text in lists[user] if (query := normalize(text)))
        rows += [
            (user, rank, query, 1 / rank, day.isoformat()) for rank, query in enumerate(queries, 1)
        ]
    return pd.DataFrame(rows, columns=["user_id", "rank", "query", "score", "day"]).astype(
        {"user_id": "str", "rank": "int64", "query": "str", "score": "float64", "day": "str"}
    )


def merge(parent: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """The parent release's entries with those of refreshed users replaced.

    Users who are not in `fresh` keep their list and its day.
    """
    kept = parent[~parent["user_id"].isin(fresh["user_id"])]
    return pd.concat([kept, fresh]).sort_values(["user_id", "rank"], ignore_index=True)
