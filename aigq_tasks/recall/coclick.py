"""Recall by co-occurrence: queries that go with what this shopper did lately.

Item-based collaborative filtering over shopping days (Sarwar et al., WWW 2001): contents are
alike when the same users touch both on the same day.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.tables import from_parquet, to_parquet

TABLE_FILE, CONFIG_FILE = "coclick.parquet", "coclick.json"
_USERS_AT_ONCE = 512  # keeps the dense block of scores (users × queries) at some tens of MB


@dataclass(frozen=True)
class CoClick:
    """`neighbours`: content, query, score; sorted by content, then best first."""

    name: ClassVar[str] = "coclick"
    neighbours: pd.DataFrame
    days: int
    half_life_days: float

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """Per user the k best queries by score(u, q) = Σ_c w(u, c) · s(c, q).

        w(u, c) = Σ over the user's events of c in the last `days` of 2^(−age / half_life), age in
        days. Queries that no recent content leads to are left out; ties go by query text.

        Args:
            user_ids: whom to answer for; unknown users get an empty list.
            history: behaviours; rows at or after `as_of` are not read.
        """
        contents, queries, links = self._links
        weights = self._recent_weights(user_ids, contents, history, as_of)
        recalled: dict[str, list[tuple[str, float]]] = {}
        for start in range(0, len(user_ids), _USERS_AT_ONCE):
            users = user_ids[start : start + _USERS_AT_ONCE]
            scores = (weights[start : start + _USERS_AT_ONCE] @ links).toarray()
            best = top_k(np.where(scores > 0, scores, -np.inf), k)
            for user, (columns, values) in zip(users, best, strict=True):
                recalled[user] = list(zip(queries[columns], values.tolist(), strict=True))
        return recalled

    @cached_property
    def _links(self) -> tuple[pd.Index, pd.Index, sparse.csr_array]:
        """Contents, queries, and s(c, q) of them, float64 (contents, queries)."""
        row, contents = pd.factorize(self.neighbours["content"], sort=True)
        column, queries = pd.factorize(self.neighbours["query"], sort=True)
        shape, score = (len(contents), len(queries)), self.neighbours["score"].to_numpy()
        return contents, queries, sparse.csr_array((score, (row, column)), shape=shape)

    def _recent_weights(
        self,
        user_ids: Sequence[str],
        contents: pd.Index,
        history: pd.DataFrame,
        as_of: pd.Timestamp,
    ) -> sparse.csr_array:
        """w(u, c), float64 (users, contents)."""
        recent = _window(history, as_of, self.days)
        row = pd.Index(user_ids).get_indexer(pd.Index(recent["user_id"]))
        column = contents.get_indexer(pd.Index(recent["content"]))
        age = (as_of - recent["time"]).dt.total_seconds().to_numpy() / 86_400
        linked = (row >= 0) & (column >= 0)  # an asked user, and a content that leads somewhere
        weight = np.exp2(-age / self.half_life_days)[linked]
        shape = (len(user_ids), len(contents))
        return sparse.csr_array((weight, (row[linked], column[linked])), shape=shape)

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        config = {"days": self.days, "half_life_days": self.half_life_days}
        return {
            TABLE_FILE: to_parquet(self.neighbours),
            CONFIG_FILE: to_json(config),
        }

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        neighbours = from_parquet(files[TABLE_FILE])
        return cls(neighbours, **json.loads(files[CONFIG_FILE]))


def build(
    behaviours: pd.DataFrame,
    as_of: pd.Timestamp,
    days: int = 90,
    half_life_days: float = 14.0,
    shrinkage: float = 10.0,
    neighbours: int = 50,
) -> CoClick:
    """Count which contents share a user's day, and keep the best queries for each content.

    s(c, q) = n_cq / √(n_c · n_q) · n_cq / (n_cq + shrinkage): the cosine of the two day
    indicators, shrunk towards 0 while the pair was seen few times (Bell & Koren, ICDM 2007,
    section 3). n_c: user-days with c; n_cq: user-days with both. q ranges over searched and
    hint-clicked queries; a content does not recall itself (that is own_history's part).

    Args:
        behaviours: user_id, time, kind, content; only rows in the last `days` before `as_of`.
        half_life_days: decay of a user's contents at recall, in days.
        neighbours: queries kept for each content.
    """
    recent = _window(behaviours, as_of, days)
    contents, column = np.unique(recent["content"].to_numpy(dtype=object), return_inverse=True)
    user_day = recent.groupby(["user_id", recent["time"].dt.normalize()]).ngroup().to_numpy()
    shape = (user_day.max(initial=-1) + 1, len(contents))
    ones = np.ones(len(recent), dtype=np.int64)
    together = sparse.csr_array((ones, (user_day, column)), shape=shape)
    together.data[:] = 1  # a content counts once a day, however often it was touched
    searched = np.unique(column[(recent["kind"] != "item_click").to_numpy()])
    pairs = (together.T @ together[:, searched]).tocoo()
    c, q, n_cq = pairs.row, searched[pairs.col], pairs.data
    c, q, n_cq = (values[c != q] for values in (c, q, n_cq))
    n = together.sum(axis=0)
    score = n_cq / np.sqrt(n[c] * n[q]) * n_cq / (n_cq + shrinkage)
    order = np.lexsort((q, -score, c))
    order = order[_rank_in_group(c[order]) < neighbours]
    table = pd.DataFrame(
        {"content": contents[c[order]], "query": contents[q[order]], "score": score[order]}
    ).astype({"content": "str", "query": "str"})
    return CoClick(table, days, half_life_days)


def top_k(
    scores: NDArray[np.floating], k: int
) -> list[tuple[NDArray[np.intp], NDArray[np.floating]]]:
    """The k best columns of each row: (column indices, their scores), best first.

    Equal scores go by column; columns at −inf are never returned. scores: (rows, columns).
    """
    k = min(k, scores.shape[1])
    if k == 0:
        return [(np.empty(0, np.intp), np.empty(0, scores.dtype))] * len(scores)
    # Everything that ties with the k-th best stays in until the exact sort: np.partition alone
    # would settle ties at the border by memory order.
    kth = np.partition(scores, -k, axis=1)[:, -k]
    row, column = np.nonzero((scores >= kth[:, None]) & (scores > -np.inf))
    value = scores[row, column]
    order = np.lexsort((column, -value, row))
    order = order[_rank_in_group(row[order]) < k]
    cuts = np.searchsorted(row[order], np.arange(1, len(scores)))
    return list(zip(np.split(column[order], cuts), np.split(value[order], cuts), strict=True))


def _rank_in_group(sorted_keys: NDArray[np.integer]) -> NDArray[np.intp]:
    """0, 1, 2, ... within each run of equal keys."""
    return np.arange(len(sorted_keys)) - np.searchsorted(sorted_keys, sorted_keys)


def _window(behaviours: pd.DataFrame, as_of: pd.Timestamp, days: int) -> pd.DataFrame:
    time = behaviours["time"]
    return behaviours[(time < as_of) & (time >= as_of - pd.Timedelta(days=days))]
