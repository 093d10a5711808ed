"""Who asks, when, and what they had done by then: behaviours and requests as arrays.

All requests of a round are answered as one batch. `Memory` is the log coded once, in order of user
and time; a request is a user, a moment, and the run of that user's rows before the moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Texts = NDArray[np.object_]

KINDS = ("hint_click", "item_click", "search")  # of behaviours, by code
ITEM_CLICK, SEARCH = 1, 2
DAY_US = 86_400_000_000  # microseconds
DAYS = 90  # of a user's past that count when the latest contents are asked for
MOST = 20  # of those that anybody asks for


@dataclass(frozen=True)
class Memory:
    """Behaviours in order of user, time, kind and content. Columns (rows,)."""

    users: pd.Index  # distinct, sorted; `user` counts in it
    texts: pd.Index  # distinct contents; `text` counts in it
    known: int  # so many texts come first in order, the others after them in order
    user: Ints
    time: Ints  # µs since 1970
    kind: Ints  # index into KINDS
    text: Ints

    @classmethod
    def of(cls, behaviours: pd.DataFrame) -> Self:
        """Of a table user_id, time, kind, content in any order."""
        user, users = pd.factorize(behaviours["user_id"], sort=True)
        text, texts = pd.factorize(behaviours["content"], sort=True)
        return cls._sorted(
            pd.Index(users, dtype=object),
            pd.Index(texts, dtype=object),
            len(texts),
            user.astype(np.int64),
            microseconds(behaviours["time"]),
            pd.Index(KINDS).get_indexer(pd.Index(behaviours["kind"])).astype(np.int64),
            text.astype(np.int64),
        )

    @classmethod
    def _sorted(
        cls,
        users: pd.Index,
        texts: pd.Index,
        known: int,
        user: Ints,
        time: Ints,
        kind: Ints,
        text: Ints,
    ) -> Self:
        order = np.lexsort((text, kind, time, user))
        return cls(users, texts, known, user[order], time[order], kind[order], text[order])

    def with_rows(self, more: pd.DataFrame, user_ids: Sequence[str]) -> Self:
        """What is known of these users, with further behaviours of theirs; others are left out.

        Of a memory by `of`. Texts that are known keep their numbers, new ones follow.
        """
        users = pd.Index(sorted(set(user_ids)), dtype=object)
        more = more[more["user_id"].isin(users)]
        known = self.users.get_indexer(users)
        own = runs_of(*self._runs(known))
        at = np.repeat(np.arange(len(users)), np.diff(np.append(own.starts, len(own.rows))))
        contents = pd.Index(more["content"], dtype=object)
        text = self.texts.get_indexer(contents).astype(np.int64)
        fresh, number = np.unique(contents[text < 0].to_numpy().astype(str), return_inverse=True)
        text[text < 0] = len(self.texts) + number
        new = pd.Index(fresh.astype(object), dtype=object)
        texts = self.texts.append(new) if len(new) else self.texts
        return self._sorted(
            users,
            texts,
            self.known,
            np.concatenate([at, users.get_indexer(pd.Index(more["user_id"]))]).astype(np.int64),
            np.concatenate([self.time[own.rows], microseconds(more["time"])]),
            np.concatenate(
                [self.kind[own.rows], pd.Index(KINDS).get_indexer(pd.Index(more["kind"]))]
            ).astype(np.int64),
            np.concatenate([self.text[own.rows], text]).astype(np.int64),
        )

    @cached_property
    def place(self) -> Ints:
        """Of each text, its place in the order of texts."""
        texts, known = self.texts.to_numpy(), np.arange(self.known)
        between = np.searchsorted(texts[: self.known], texts[self.known :])
        moved = known + np.searchsorted(between, known, side="right")
        return np.concatenate([moved, between + np.arange(len(between))]).astype(np.int64)

    @cached_property
    def _starts(self) -> Ints:
        return np.searchsorted(self.user, np.arange(len(self.users) + 1)).astype(np.int64)

    def _runs(self, user: Ints) -> tuple[Ints, Ints]:
        """First row of each user and the one after the last; an empty run for user -1."""
        row = np.maximum(user, 0)
        if not len(self.users):
            return np.zeros(len(user), np.int64), np.zeros(len(user), np.int64)
        start, stop = self._starts[row], self._starts[row + 1]
        return start, np.where(user < 0, start, stop)

    def before(self, user: Ints, moment: Ints) -> tuple[Ints, Ints]:
        """The run of rows of each user strictly before a moment (µs): first row, one after."""
        start, end = self._runs(user)
        if not len(self.time):
            return start, end
        # One ascending key for (user, time): searchsorted then cuts all runs at once.
        first = min(int(self.time.min()), int(moment.min(initial=self.time.min())))
        last = max(int(self.time.max()), int(moment.max(initial=self.time.max())))
        span = last - first + 1
        key = self.user * span + (self.time - first)
        stop = np.searchsorted(key, np.maximum(user, 0) * span + (moment - first))
        return start, np.clip(stop, start, end).astype(np.int64)


@dataclass(frozen=True)
class Runs:
    """Rows of several runs, end to end: run i is rows[starts[i]:starts[i + 1]], of `owner` i."""

    starts: Ints
    owner: Ints
    rows: Ints


def runs_of(start: Ints, stop: Ints) -> Runs:
    """The rows start[i]..stop[i] - 1 of every run i."""
    length = stop - start
    ends = np.cumsum(length)
    owner = np.repeat(np.arange(len(start)), length)
    rows = np.arange(len(owner)) - np.repeat(ends - length, length) + np.repeat(start, length)
    return Runs(ends - length, owner.astype(np.int64), rows.astype(np.int64))


@dataclass(frozen=True)
class Asked:
    """A batch of requests: user i asks at moment i (µs). Arrays (n,)."""

    memory: Memory
    user_ids: Texts
    moment: Ints
    start: Ints  # the user's rows of the memory that lie before the moment
    stop: Ints

    @classmethod
    def of(cls, memory: Memory, user_ids: Sequence[str], moment: Ints) -> Self:
        users = np.array(list(user_ids), dtype=object)
        code = memory.users.get_indexer(pd.Index(users, dtype=object)).astype(np.int64)
        return cls(memory, users, moment, *memory.before(code, moment))

    @classmethod
    def at(cls, history: pd.DataFrame, user_ids: Sequence[str], as_of: pd.Timestamp) -> Self:
        """All users at one moment; history: behaviours of anybody."""
        own = history[history["user_id"].isin(list(user_ids))]
        moment = np.full(len(user_ids), as_of.to_datetime64().astype("M8[us]").astype(np.int64))
        return cls.of(Memory.of(own), user_ids, moment)

    def __len__(self) -> int:
        return len(self.moment)

    def take(self, rows: Ints) -> "Asked":
        """Some of the requests."""
        parts = (self.user_ids[rows], self.moment[rows], self.start[rows], self.stop[rows])
        return Asked(self.memory, *parts)

    @property
    def day(self) -> Ints:
        """Days since 1970."""
        return self.moment // DAY_US

    def past(self, days: int | None = None) -> Runs:
        """The rows of the memory before each moment, oldest first; of the last `days` only."""
        if days is None:
            return runs_of(self.start, self.stop)
        since = self.moment - days * DAY_US
        runs = runs_of(self.start, self.stop)
        kept = self.memory.time[runs.rows] >= since[runs.owner]
        owner = runs.owner[kept]
        starts = np.searchsorted(owner, np.arange(len(self)))
        return Runs(starts.astype(np.int64), owner, runs.rows[kept])

    @cached_property
    def latest(self) -> "Latest":
        """The distinct contents that each user met last, the latest MOST of the last DAYS."""
        return latest_contents(self, MOST, DAYS)

    @cached_property
    def states(self) -> "tuple[Asked, Ints]":
        """What candidates depend on, each once: a user on a day who has done so much. Returns the
        states and the number of each request's own.

        The moment of a state is that of the user's latest behaviour, or the start of the day: it
        follows from the state, so no other request changes an answer.
        """
        user = np.unique(self.user_ids.astype(str), return_inverse=True)[1]
        day, span = self.day, int(self.stop.max(initial=0)) + 1
        first = int(day.min(initial=0))
        days = int(day.max(initial=0)) - first + 1
        key = (user * days + (day - first)) * span + self.stop
        _, kept, state = np.unique(key, return_index=True, return_inverse=True)
        start, stop = self.start[kept], self.stop[kept]
        time = self.memory.time
        latest = np.full(len(kept), np.iinfo(np.int64).min)
        some = stop > start
        latest[some] = time[stop[some] - 1] + 1
        moment = np.maximum(latest, day[kept] * DAY_US)
        return Asked(self.memory, self.user_ids[kept], moment, start, stop), state.astype(np.int64)


@dataclass(frozen=True)
class Proposals:
    """What a source proposes: (request, query, score), in order of request, then best first."""

    texts: Texts  # queries; `text` counts in it
    asked: Ints
    text: Ints
    score: Floats

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[tuple[str, float]]]) -> Self:
        """lists[i]: (query, score) for request i, best first."""
        flat = [(i, query, score) for i, own in enumerate(lists) for query, score in own]
        texts = np.array(sorted({query for _, query, _ in flat}), dtype=object)
        number = {query: i for i, query in enumerate(texts)}
        return cls(
            texts,
            np.array([i for i, _, _ in flat], np.int64),
            np.array([number[query] for _, query, _ in flat], np.int64),
            np.array([score for _, _, score in flat], np.float64),
        )

    @classmethod
    def best(
        cls, texts: Texts, asked: Ints, text: Ints, score: Floats, place: Ints, k: int
    ) -> Self:
        """The k best of each request; ties go by the place of the text in the order of texts.

        asked: rises."""
        # All that ties with the k-th best stays in until the exact sort, as in `top_k`.
        column = rank_in_group(asked)
        if k and column.max(initial=0) >= k:
            requests, number = np.unique(asked, return_inverse=True)
            grid = np.full((len(requests), int(column.max()) + 1), -np.inf)
            grid[number, column] = score
            kept = score >= np.partition(grid, -k, axis=1)[number, -k]
            asked, text, score = asked[kept], text[kept], score[kept]
        order = np.lexsort((place[text], -score, asked))
        order = order[rank_in_group(asked[order]) < k]
        return cls(texts, asked[order], text[order], score[order])

    @property
    def rank(self) -> Ints:
        """1, 2, 3, ... within each request."""
        return rank_in_group(self.asked) + 1

    def lists(self, asked: Asked) -> dict[str, list[tuple[str, float]]]:
        """user -> (query, score), best first, of requests of distinct users."""
        found: dict[str, list[tuple[str, float]]] = {str(user): [] for user in asked.user_ids}
        users, queries = asked.user_ids[self.asked], self.texts[self.text]
        for user, query, score in zip(users, queries, self.score.tolist(), strict=True):
            found[user].append((query, score))
        return found


class RecallSource:
    """Anything that proposes queries: `propose` is all that a source has to have.

    What all of them promise is tested in `tests/recall/source_cases.py`.
    """

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        raise NotImplementedError

    def propose(self, asked: Asked, k: int) -> Proposals:
        """At most k queries for each request, distinct ones, best first. A request may get none.

        Reads of the behaviours only the runs of `asked`, which end before the request.
        """
        raise NotImplementedError

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """`propose` for distinct users at one moment: user -> (query, score), best first. Only
        behaviours before `as_of` are read."""
        asked = Asked.at(history, user_ids, as_of)
        return self.propose(asked, k).lists(asked)


@dataclass(frozen=True)
class Latest:
    """Contents of requests, in order of request, the latest first. time: µs."""

    asked: Ints
    text: Ints
    time: Ints

    def first(self, count: int) -> "Latest":
        """At most `count` of each request."""
        kept = rank_in_group(self.asked) < count
        return Latest(self.asked[kept], self.text[kept], self.time[kept])


def latest_contents(
    asked: Asked,
    count: int,
    days: int | None = None,
    among: NDArray[np.bool_] | None = None,
) -> "Latest":
    """The distinct contents each user met last, at most `count`.

    Of contents of one moment the last one in the order of the memory is the later. days: how far
    back; among: the rows of the memory that count.
    """
    past = asked.past(days)
    owner, rows = past.owner[::-1], past.rows[::-1]  # latest first; owners fall
    if among is not None:
        owner, rows = owner[among[rows]], rows[among[rows]]
    width = len(asked.memory.texts) + 1
    _, first = np.unique(owner * width + asked.memory.text[rows], return_index=True)
    first = np.sort(first)
    owner, rows = owner[first], rows[first]
    order = np.argsort(owner, kind="stable")
    order = order[rank_in_group(owner[order]) < count]
    rows = rows[order]
    return Latest(owner[order], asked.memory.text[rows], asked.memory.time[rows])


def rank_in_group(sorted_keys: Ints) -> Ints:
    """0, 1, 2, ... within each run of equal keys."""
    first = np.searchsorted(sorted_keys, sorted_keys)
    return (np.arange(len(sorted_keys)) - first).astype(np.int64)


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
    order = order[rank_in_group(row[order]) < k]
    cuts = np.searchsorted(row[order], np.arange(1, len(scores)))
    return list(zip(np.split(column[order], cuts), np.split(value[order], cuts), strict=True))


def microseconds(times: "pd.Series[pd.Timestamp]") -> Ints:
    """int64 µs since 1970."""
    return times.to_numpy("datetime64[us]").astype(np.int64)


def chunks(n: int, size: int) -> Iterator[slice]:
    """0..n in slices of at most `size`."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
