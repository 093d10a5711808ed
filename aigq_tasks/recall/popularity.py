"""Recall by global popularity: what shoppers searched lately, whoever asks."""

import json
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from aigq_tasks.recall.asked import Asked, Proposals, RecallSource
from aigq_tasks.storage.canonical import to_json

FILE = "popularity.json"


@dataclass(frozen=True)
class Popularity(RecallSource):
    """Queries by decayed count, best first; the same answer for every user."""

    name: ClassVar[str] = "popularity"
    queries: tuple[str, ...]
    scores: tuple[float, ...]

    def propose(self, asked: Asked, k: int) -> Proposals:
        """The k most popular queries for every request; the past is not read."""
        best = min(k, len(self.queries))
        return Proposals(
            np.array(self.queries, dtype=object),
            np.repeat(np.arange(len(asked)), best),
            np.tile(np.arange(best), len(asked)),
            np.tile(np.array(self.scores[:best], np.float64), len(asked)),
        )

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        table = {"queries": self.queries, "scores": self.scores}
        return {FILE: to_json(table)}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        table = json.loads(files[FILE])
        return cls(tuple(table["queries"]), tuple(table["scores"]))


def build(
    behaviours: pd.DataFrame,
    as_of: pd.Timestamp,
    days: int = 28,
    half_life_days: float = 7.0,
    size: int = 1000,
) -> Popularity:
    """Time-decayed counts of searched and hint-clicked queries.

    score(q) = Σ over events of q in the last `days` before `as_of` of 2^(−age / half_life),
    age in whole days. Sums of whole-day counts do not depend on the order of the rows.

    Args:
        behaviours: user_id, time, kind, content (see logs/behaviours.py).
        as_of: only events before it count.
        days: window, in days.
        half_life_days: age at which an event counts half, in days.
        size: how many of the best queries to keep.
    """
    age = (as_of - behaviours["time"]).dt.days
    counted = (behaviours["time"] < as_of) & (age < days) & (behaviours["kind"] != "item_click")
    events = pd.DataFrame({"query": behaviours["content"], "age": age})[counted]
    daily = events.groupby(["query", "age"]).size().reset_index(name="events")
    daily["score"] = daily["events"] * np.exp2(-daily["age"] / half_life_days)
    totals = daily.groupby("query")["score"].sum().reset_index()
    best = totals.sort_values(["score", "query"], ascending=[False, True]).head(size)
    return Popularity(tuple(best["query"]), tuple(best["score"].tolist()))
