"""x2q in use: look-up by trigger in Valkey, and recall for a user from what was done lately."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from valkey import Valkey

from aigq_tasks.recall import versions

SPACE = "x2q"
RECENT = 10  # distinct contents of a user, the latest, that trigger queries

Scored = list[tuple[str, float]]


@dataclass(frozen=True)
class X2qSource:
    """Recall from a release's index: trigger, rank, query, score (`x2q.x2q_entries`)."""

    name: ClassVar[str] = "x2q"
    entries: pd.DataFrame

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, Scored]:
        """Per user the k best queries of the latest RECENT contents before `as_of`; a query that
        several of them trigger has its best score. Ties go by query text."""
        before = history[(history["time"] < as_of) & history["user_id"].isin(list(user_ids))]
        latest = before.sort_values("time", kind="stable").drop_duplicates(
            ["user_id", "content"], keep="last"
        )
        latest = latest.groupby("user_id").tail(RECENT)
        hits = latest[["user_id", "content"]].merge(
            self.entries, left_on="content", right_on="trigger"
        )
        best = hits.groupby(["user_id", "query"])["score"].max().reset_index()
        best = best.sort_values(["user_id", "score", "query"], ascending=[True, False, True])
        recalled: dict[str, Scored] = {user: [] for user in user_ids}
        for user, rows in best.groupby("user_id"):
            top = rows.head(k)
            recalled[str(user)] = list(zip(top["query"], top["score"], strict=True))
        return recalled


def load(client: Valkey, version: str, entries: pd.DataFrame) -> int:
    """Make Valkey hold a version of the index, one key per trigger (see `recall.versions`)."""
    lists: dict[str, Scored] = {}
    for trigger, query, score in zip(
        entries["trigger"], entries["query"], entries["score"], strict=True
    ):
        lists.setdefault(trigger, []).append((query, score))
    values = {trigger: json.dumps(queries) for trigger, queries in lists.items()}
    return versions.load(client, SPACE, version, values)


def lookup(client: Valkey, version: str, triggers: Sequence[str]) -> dict[str, Scored]:
    """trigger -> (query, score), best first; [] for a trigger that the index lacks. One round
    trip.

    Raises:
        AigqError: the version is not in Valkey.
    """
    values = versions.get(client, SPACE, version, triggers)
    return {
        trigger: [(query, score) for query, score in json.loads(value)] if value else []
        for trigger, value in zip(triggers, values, strict=True)
    }
