"""What a stack need not work out twice in a day: it is asked in rounds, mostly by the same users.

Nothing here changes an answer: it is kept under all that it follows from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.recall.asked import DAY_US, Asked, Floats, Ints, Texts, runs_of
from aigq_tasks.recall.stack import HintStack, Pool

# (users, queries), n each -> feature rows float32 (n, features).
Rows = Callable[[Sequence[str], Sequence[str]], NDArray[np.float32]]
# user, day, and (time, kind, text) of all that the user did on the day
State = tuple[str, int, tuple[tuple[int, int, str], ...]]


@dataclass
class Numbers:
    """Texts, numbered as they come."""

    of: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: Sequence[str]) -> Ints:
        return np.array([self.of.setdefault(text, len(self.of)) for text in texts], np.int64)


@dataclass
class PoolMemo:
    """Candidates by state, of one stack on one log."""

    known: dict[State, tuple[Texts, Floats]] = field(default_factory=dict)

    def pool(self, stack: HintStack, states: Asked) -> Pool:
        """`stack.pool` of the states; the sources are asked for new ones alone."""
        keys = states_of(states)
        new = np.array([i for i, key in enumerate(keys) if key not in self.known], np.int64)
        if len(new):
            fresh = stack.pool(states.take(new))
            cuts = np.searchsorted(fresh.asked, np.arange(len(new) + 1))
            for at, i in enumerate(new.tolist()):
                rows = slice(cuts[at], cuts[at + 1])
                self.known[keys[i]] = fresh.texts[fresh.text[rows]], fresh.rank[rows]
        own = [self.known[key] for key in keys]
        every = np.concatenate([np.empty(0, object), *(texts for texts, _ in own)])
        texts = np.array(sorted(set(every.tolist())), dtype=object)
        number = {text: i for i, text in enumerate(texts.tolist())}
        return Pool(
            asked=np.repeat(np.arange(len(own)), [len(texts) for texts, _ in own]),
            text=np.array([number[text] for text in every.tolist()], np.int64),
            texts=texts,
            rank=np.concatenate([np.empty((0, len(stack.sources))), *(rank for _, rank in own)]),
            names=np.array([one.name for one in stack.sources], dtype=object),
        )


def states_of(states: Asked) -> list[State]:
    """All that the candidates of each state follow from, beside the log before the day."""
    memory, day = states.memory, states.day
    first = states.start + np.array(
        [
            np.searchsorted(memory.time[start:stop], today * DAY_US)
            for start, stop, today in zip(states.start, states.stop, day, strict=True)
        ],
        np.int64,
    )
    runs = runs_of(first, states.stop)
    texts = memory.texts[memory.text[runs.rows]].tolist()
    time, kind = memory.time[runs.rows].tolist(), memory.kind[runs.rows].tolist()
    done = list(zip(time, kind, texts, strict=True))
    ends = [*runs.starts.tolist(), len(done)]
    return [
        (str(user), today, tuple(done[ends[i] : ends[i + 1]]))
        for i, (user, today) in enumerate(zip(states.user_ids.tolist(), day.tolist(), strict=True))
    ]


@dataclass
class RowMemo:
    """Feature rows by user and query, of one snapshot."""

    users: Numbers = field(default_factory=Numbers)
    queries: Numbers = field(default_factory=Numbers)
    keys: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    place: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    count: int = 0

    def of(
        self, user: Ints, users: Sequence[str], query: Ints, queries: Sequence[str], make: Rows
    ) -> NDArray[np.float32]:
        """Rows (n, features) of n pairs. user, query: (n,), indices into users, queries."""
        key = self.users.codes(users)[user] << 32 | self.queries.codes(queries)[query]
        wanted, first, pair = np.unique(key, return_index=True, return_inverse=True)
        known = np.isin(wanted, self.keys, assume_unique=True)
        new = np.asarray(first, np.int64)[~known]
        own, asked = np.take(user, new).tolist(), np.take(query, new).tolist()
        made = make([users[i] for i in own], [queries[i] for i in asked])
        self.keys = np.concatenate([self.keys, wanted[~known]])
        self.place = np.concatenate([self.place, self.count + np.arange(len(new))])
        order = np.argsort(self.keys)
        self.keys, self.place = self.keys[order], self.place[order]
        self.rows, self.count = [np.concatenate([*self.rows, made])], self.count + len(new)
        found = self.place[np.searchsorted(self.keys, wanted)]
        kept: NDArray[np.float32] = self.rows[0][found[pair]]
        return kept
