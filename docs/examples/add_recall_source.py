"""A recall source: queries that are searched more this week than the week before."""

import json
from dataclasses import dataclass
from typing import ClassVar, Self

import pandas as pd

from aigq_tasks.recall.asked import Asked, Proposals, RecallSource
from aigq_tasks.recall.stack import HintStack
from aigq_tasks.storage.canonical import to_json

FILE = "rising.json"


@dataclass(frozen=True)
class Rising(RecallSource):
    """The same for every request, best first."""

    name: ClassVar[str] = "rising"
    best: tuple[tuple[str, float], ...]

    def propose(self, asked: Asked, k: int) -> Proposals:
        return Proposals.of_lists([self.best[:k]] * len(asked))

    def to_files(self) -> dict[str, bytes]:
        return {FILE: to_json(self.best)}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        return cls(tuple((query, score) for query, score in json.loads(files[FILE])))


def build(behaviours: pd.DataFrame, as_of: pd.Timestamp) -> Rising:
    """From searches before `as_of` alone: searches of the last seven days, less those of the seven
    before."""
    searched = behaviours[(behaviours["kind"] == "search") & (behaviours["time"] < as_of)]
    week = (as_of - searched["time"]).dt.days // 7
    rise = week.map({0: 1.0, 1: -1.0}).fillna(0.0).groupby(searched["content"]).sum()
    risen = rise[rise > 0].rename_axis("query").reset_index(name="rise")
    risen = risen.sort_values(["rise", "query"], ascending=[False, True])
    return Rising(tuple(zip(risen["query"], risen["rise"].tolist(), strict=True)))


NOW = pd.Timestamp("2025-03-15")
log = [(2, "tea"), (3, "tea"), (9, "tea"), (1, "jam"), (8, "milk"), (1, "heroin"), (-1, "milk")]
history = pd.DataFrame(
    [("ann", NOW - pd.Timedelta(days=age), "search", query) for age, query in log],
    columns=["user_id", "time", "kind", "content"],
)
source: RecallSource = build(history, NOW)
assert source.recall(["bob"], history, NOW, 2) == {"bob": [("heroin", 1.0), ("jam", 1.0)]}
ranked = HintStack([source]).rank(["bob"], history, NOW)
assert ranked["query"].tolist() == ["jam", "tea"]  # the stack keeps what may not be shown
