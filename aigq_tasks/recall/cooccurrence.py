"""Recall by co-occurrence: queries that go with what this shopper did lately.

Item-based collaborative filtering over shopping days (Sarwar et al., WWW 2001): things are alike
when the same users touch both on the same day. What counts as a thing, and which behaviours of the
user count, differs between the sources of `KINDS`; the counting is the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from aigq_tasks.recall.asked import (
    DAY_US,
    DAYS,
    ITEM_CLICK,
    MOST,
    Asked,
    Floats,
    Ints,
    Memory,
    Proposals,
    RecallSource,
    Texts,
    latest_contents,
    rank_in_group,
    runs_of,
)
from aigq_tasks.recall.asked import KINDS as BEHAVIOURS
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.tables import from_parquet, to_parquet

TABLE_FILE, KIND_FILE = "ties.parquet", "kind.json"
Unit = Literal["text", "category", "cluster"]
# Texts -> the unit of each, "" for none.
UnitOf = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Kind:
    """One way to count.

    Attributes:
        unit: what is counted: contents as they are, their leaf categories, or clusters of them.
        behaviours: of which kinds a content leads somewhere.
        ordered: a query counts only for what came before it that day.
        recent: contents of a user that count at recall, the latest.
        half_life_days: age at which one of them counts half; 0: all the same.
    """

    name: str
    unit: Unit
    behaviours: tuple[str, ...] = BEHAVIOURS
    ordered: bool = False
    recent: int = MOST
    half_life_days: float = 14.0


KINDS = (
    Kind("cosearch", "text", behaviours=("search",)),
    Kind("coclick", "text"),
    Kind("category", "category"),
    Kind("last", "text", ordered=True, recent=3, half_life_days=0.0),
    Kind("cluster", "cluster"),
)
SHRINKAGE = 10.0
NEIGHBOURS = 50  # queries kept for each unit
JUST = 3  # contents that the scores of single pairs read
PER_UNIT = 20  # queries that stand for a unit of several, the most frequent


@dataclass(frozen=True)
class CoOccurrence(RecallSource):
    """`ties`: content (a unit), query, score; sorted by content, then best first. unit_of: of new
    texts; None where a unit is the text itself, or nobody knows."""

    kind: Kind
    ties: pd.DataFrame
    units: Mapping[str, str]  # of the contents that were counted; {} where a unit is the text
    unit_of: UnitOf | None = None

    @property
    def name(self) -> str:
        return self.kind.name

    def propose(self, asked: Asked, k: int) -> Proposals:
        """The k best queries by score(u, q) = Σ_c w(u, c) · s(unit of c, q), over the latest
        contents c of the user (`Kind.recent`), w(u, c) = 2^(−age / half_life), age in days.

        Queries that no recent content leads to are left out; ties go by query text."""
        scores = self.scores(asked).tocoo()
        place = np.arange(len(self._queries))
        row, column = scores.row.astype(np.int64), scores.col.astype(np.int64)
        return Proposals.best(self._queries, row, column, scores.data, place, k)

    def scores(self, asked: Asked) -> sparse.csr_array:
        """score(u, q) of `propose`, float64 (requests, queries), for every query of the ties."""
        return self._weights(asked) @ self._links

    def pair_scores(self, asked: Asked, request: Ints, query: Ints, texts: Texts) -> Floats:
        """score(u, q) of single pairs over the JUST contents that the user met last, all alike,
        float64 (n,); 0 where none of them leads to the query. query: index into texts."""
        owner, unit, weight = self._recent(asked, JUST, 0.0)
        start = np.searchsorted(owner, np.arange(len(asked) + 1))
        runs = runs_of(start[request], start[request + 1])
        column = self._query_index.get_indexer(pd.Index(texts, dtype=object))[query][runs.owner]
        links, width = self._links, max(1, len(self._queries))
        key = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr)) * width + links.indices
        wanted = unit[runs.rows] * width + column
        at = np.minimum(np.searchsorted(key, wanted), max(0, len(key) - 1))
        found = np.zeros(len(wanted))
        if len(key):
            found = np.where((key[at] == wanted) & (column >= 0), links.data[at], 0.0)
        return np.bincount(runs.owner, found * weight[runs.rows], len(request)).astype(np.float64)

    def _weights(self, asked: Asked) -> sparse.csr_array:
        """Σ w(u, c) by unit, float64 (requests, units)."""
        owner, unit, weight = self._recent(asked, self.kind.recent, self.kind.half_life_days)
        shape = (len(asked), self._links.shape[0])
        return sparse.csr_array((weight, (owner, unit)), shape=shape)

    def _recent(
        self, asked: Asked, recent: int, half_life_days: float
    ) -> tuple[Ints, Ints, Floats]:
        """Request, unit (row of `_links`) and weight of the latest contents that lead somewhere, in
        order of request."""
        if self.kind.behaviours == BEHAVIOURS:
            latest = asked.latest.first(recent)
        else:
            counted = _of_kinds(asked.memory, self.kind)
            latest = latest_contents(asked, recent, DAYS, counted)
        owner, text, time = latest.asked, latest.text, latest.time
        used, number = np.unique(text, return_inverse=True)
        named = pd.Index(self.units_of(asked.memory.texts[used].tolist()), dtype=object)
        unit = self._unit_index.get_indexer(named)[number].astype(np.int64)
        known = unit >= 0
        weight = np.ones(int(known.sum()))
        if half_life_days:
            age = (asked.moment[owner] - time)[known] / DAY_US
            weight = np.exp2(-age / half_life_days)
        return owner[known], unit[known], weight

    def units_of(self, texts: Sequence[str]) -> list[str]:
        """The unit of each text, "" where none is known."""
        if self.kind.unit == "text":
            return list(texts)
        found = {text: self.units[text] for text in texts if text in self.units}
        new = sorted(set(texts) - found.keys())
        if new and self.unit_of is not None:
            found.update(zip(new, self.unit_of(new), strict=True))
        return [found.get(text, "") for text in texts]

    @cached_property
    def _unit_index(self) -> pd.Index:
        texts: list[str] = sorted(self.ties["content"].unique().tolist())
        index: pd.Index = pd.Index(texts, dtype=object)
        return index

    @cached_property
    def _query_index(self) -> pd.Index:
        texts: list[str] = sorted(self.ties["query"].unique().tolist())
        index: pd.Index = pd.Index(texts, dtype=object)
        return index

    @cached_property
    def _queries(self) -> Texts:
        return self._query_index.to_numpy()

    @cached_property
    def _links(self) -> sparse.csr_array:
        """s(c, q), float64 (units, queries)."""
        row = self._unit_index.get_indexer(pd.Index(self.ties["content"], dtype=object))
        column = self._query_index.get_indexer(pd.Index(self.ties["query"], dtype=object))
        shape = (len(self._unit_index), len(self._queries))
        links = sparse.csr_array((self.ties["score"].to_numpy(), (row, column)), shape=shape)
        links.sort_indices()
        return links

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        return {
            TABLE_FILE: to_parquet(self.ties),
            KIND_FILE: to_json({"kind": self.kind.name, "units": dict(self.units)}),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        card: dict[str, Any] = json.loads(files[KIND_FILE])
        kind = next(kind for kind in KINDS if kind.name == card["kind"])
        return cls(kind, from_parquet(files[TABLE_FILE]), card["units"])


def build(
    behaviours: pd.DataFrame,
    as_of: pd.Timestamp,
    kind: Kind,
    unit_of: UnitOf | None = None,
    shrinkage: float = SHRINKAGE,
    neighbours: int = NEIGHBOURS,
) -> CoOccurrence:
    """Count which units share a user's day, and keep the best queries for each unit.

    s(c, q) = n_cq / √(n_c · n_q) · n_cq / (n_cq + shrinkage): the cosine of the two day
    indicators, shrunk towards 0 while the pair was seen few times (Bell & Koren, ICDM 2007,
    section 3). n_c: user-days with c; n_cq: user-days with both (of an ordered kind: with c met
    before q). q ranges over searched and hint-clicked queries; a unit does not recall itself.
    Units of several queries are tied to each other, and each passes its score on to its PER_UNIT
    most frequent queries by their share in the unit.

    Args:
        behaviours: user_id, time, kind, content; only rows in the last DAYS before `as_of`.
        unit_of: for a kind whose unit is not the text itself.
    """
    time = behaviours["time"]
    window = (time < as_of) & (time >= as_of - pd.Timedelta(days=DAYS))
    memory = Memory.of(behaviours[window])
    texts = memory.texts.tolist()
    names = texts if unit_of is None else list(unit_of(texts))
    units = sorted(set(names) - {""})
    code = pd.Index(units, dtype=object).get_indexer(pd.Index(names, dtype=object))
    unit = code[memory.text].astype(np.int64)
    c, q, n_cq, n = _counts(memory, unit, len(units), kind)
    score = n_cq / np.sqrt(n[c] * n[q]) * n_cq / (n_cq + shrinkage)
    c, q, score = _kept(c, q, score, neighbours)
    queries = np.array(units, dtype=object)
    if unit_of is not None:
        c, q, score = _passed_on(memory, unit, (c, q, score), len(units))
        queries = memory.texts.to_numpy()
    named = np.array(units, dtype=object)
    table = pd.DataFrame({"content": named[c], "query": queries[q], "score": score})
    table = table.astype({"content": "str", "query": "str", "score": "float64"})
    own = {} if unit_of is None else {t: u for t, u in zip(texts, names, strict=True) if u}
    return CoOccurrence(kind, table, own, unit_of)


def _counts(memory: Memory, unit: Ints, size: int, kind: Kind) -> tuple[Ints, Ints, Floats, Floats]:
    """c, q, n_cq of the pairs of different units, and n of each unit. unit: of every behaviour."""
    day = memory.time // DAY_US
    basket = memory.user * (int(day.max(initial=0)) + 1) + day
    asked = (unit >= 0) & (memory.kind != ITEM_CLICK)
    leads = (unit >= 0) & _of_kinds(memory, kind)
    n = np.bincount(_once(basket, unit, unit >= 0)[1], minlength=size).astype(np.float64)
    # First row of each lead and last of each query: a unit counts once a day.
    at, c, first = _once(basket, unit, leads)
    to, q, _ = _once(basket, unit, asked)
    last = len(unit) - 1 - _once(basket[::-1], unit[::-1], asked[::-1])[2]
    runs = runs_of(np.searchsorted(to, at), np.searchsorted(to, at, side="right"))
    c, q = c[runs.owner], q[runs.rows]
    counted = c != q
    if kind.ordered:
        counted &= memory.time[first[runs.owner]] < memory.time[last[runs.rows]]
    pair, n_cq = np.unique(c[counted] * max(1, size) + q[counted], return_counts=True)
    return pair // max(1, size), pair % max(1, size), n_cq.astype(np.float64), n


def _once(basket: Ints, unit: Ints, rows: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """Distinct (basket, unit) of some rows, sorted, and the first row of each."""
    at = np.flatnonzero(rows)
    width = int(unit.max(initial=0)) + 1
    pair, first = np.unique(basket[at] * width + unit[at], return_index=True)
    return pair // width, pair % width, at[first]


def _of_kinds(memory: Memory, kind: Kind) -> NDArray[np.bool_]:
    """Which rows are behaviours that lead somewhere."""
    return np.isin(memory.kind, [BEHAVIOURS.index(one) for one in kind.behaviours])


def _kept(c: Ints, q: Ints, score: Floats, neighbours: int) -> tuple[Ints, Ints, Floats]:
    """The best queries of each unit; ties by number, which is the order of text."""
    order = np.lexsort((q, -score, c))
    order = order[rank_in_group(c[order]) < neighbours]
    return c[order], q[order], score[order]


def _passed_on(
    memory: Memory, unit: Ints, ties: tuple[Ints, Ints, Floats], size: int
) -> tuple[Ints, Ints, Floats]:
    """Ties of units to the queries that stand for units: score times the query's share."""
    asked = (unit >= 0) & (memory.kind != ITEM_CLICK)
    text, first, times = np.unique(memory.text[asked], return_index=True, return_counts=True)
    of_text = unit[asked][first]
    share = times / np.bincount(of_text, times, size)[of_text]
    stand = _kept(of_text, text, share, PER_UNIT)
    start = np.searchsorted(stand[0], np.arange(size + 1))
    c, q, score = ties
    runs = runs_of(start[q], start[q + 1])
    passed = score[runs.owner] * stand[2][runs.rows]
    return _kept(c[runs.owner], stand[1][runs.rows], passed, len(memory.texts))
