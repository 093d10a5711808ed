"""u2q: the queries that a release generated for each user, and recall from them.

Entries are a table: user_id, rank (1..), query, score, day; sorted by user and rank. `day`
(YYYY-MM-DD) is that of the release that generated the user's list: a list is carried over from
release to release until the user is refreshed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from aigq_tasks.context.queries import normalize
from aigq_tasks.recall.asked import Asked, Ints, Proposals, RecallSource, Texts, runs_of


@dataclass(frozen=True)
class U2qSource(RecallSource):
    """Recall from the entries of a release."""

    name: ClassVar[str] = "u2q"
    entries: pd.DataFrame

    def propose(self, asked: Asked, k: int) -> Proposals:
        """The first k queries of each user's list; the past is not read."""
        users, texts, text, start = self._lists
        user = users.get_indexer(pd.Index(asked.user_ids, dtype=object))
        known = user >= 0
        first = np.where(known, start[user], 0)
        last = np.where(known, np.minimum(start[user + 1], first + k), 0)
        runs = runs_of(first, last)
        score = self.entries["score"].to_numpy(np.float64)
        return Proposals(texts, runs.owner, text[runs.rows], score[runs.rows])

    @cached_property
    def _lists(self) -> tuple[pd.Index, Texts, Ints, Ints]:
        """Users, texts, the text of each entry, and the first entry of each user."""
        user, users = pd.factorize(self.entries["user_id"])  # sorted already
        text, texts = pd.factorize(self.entries["query"], sort=True)
        start = np.searchsorted(user, np.arange(len(users) + 1))
        queries = np.array(texts, dtype=object)
        return pd.Index(users, dtype=object), queries, text.astype(np.int64), start.astype(np.int64)


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
