"""Recall by the shopper's own history: what they come back for, and when it is due again.

The rate of return is the Modified Poisson-Gamma model of Bhagat et al., "Buy It Again" (KDD
2018). It is the strongest simple source here and the baseline that every model has to beat.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.recall.asked import (
    DAY_US,
    ITEM_CLICK,
    Asked,
    Ints,
    Proposals,
    RecallSource,
    Texts,
)
from aigq_tasks.storage.canonical import to_json

FILE = "own_history.json"
_UNSEEN_SHARE = 0.5  # repeat share of a need newer than the release: build's share of no users


@dataclass(frozen=True)
class OwnHistory(RecallSource):
    """What all shoppers together know of needs; the user's part is read at recall.

    A need is what one thing is called on the shelf: an item text, and every query about it.
    """

    name: ClassVar[str] = "own_history"
    need_of: dict[str, str]  # every searched query -> its need
    repeat_share: dict[str, float]  # need -> share of its users who came back for it
    alpha: float
    beta_days: float

    def propose(self, asked: Asked, k: int) -> Proposals:
        """Per request the k needs with the highest rate of return, as queries, best first.

        score = repeat_share(need) · rate (see `return_rate`), per day. A need is shown as the
        query that this user typed most for it (then most recently, then by text); a need that
        the user never typed is shown as its item text if some shopper searched exactly that, else
        not at all. Ties go by query text. What was done on the day itself counts too.
        """
        past = asked.past()
        used, text = np.unique(asked.memory.text[past.rows], return_inverse=True)
        needs = self._needs(asked.memory.texts[used])
        need = needs.of_text[text]
        key = past.owner * len(needs.texts) + need
        order = np.argsort(key, kind="stable")  # in order of time within a need
        pair, first, count = np.unique(key[order], return_index=True, return_counts=True)
        day = (asked.memory.time[past.rows] // DAY_US)[order]
        new_day = np.ones(len(day))
        new_day[1:] = (day[1:] != day[:-1]) | (key[order][1:] != key[order][:-1])
        group = np.repeat(np.arange(len(pair)), count)
        owner, of_need = np.divmod(pair, max(1, len(needs.texts)))
        today = asked.day[owner]
        rate = return_rate(
            np.bincount(group, new_day, len(pair)).astype(np.float64),
            (today - day[first]).astype(np.float64),
            (today - day[first + count - 1]).astype(np.float64),
            self.alpha,
            self.beta_days,
        )
        query = needs.shown[of_need]
        typed = asked.memory.kind[past.rows] != ITEM_CLICK
        time = asked.memory.time[past.rows[typed]]
        phrase_of, phrase = _phrasing(key[typed], text[typed], time, needs.place)
        query[np.searchsorted(pair, phrase_of)] = phrase
        shown = query >= 0
        score = (rate * needs.share[of_need])[shown]
        return Proposals.best(needs.texts, owner[shown], query[shown], score, needs.place, k)

    def _needs(self, texts: pd.Index) -> "_Needs":
        """The needs of contents: contents first, then what else needs are called, numbered on."""
        contents = texts.tolist()
        called = [self.need_of.get(text, text) for text in contents]
        more = sorted(set(called) - set(contents))
        names = contents + more
        number = {name: i for i, name in enumerate(names)}
        shown = [i if name in self.need_of else -1 for i, name in enumerate(names)]
        share = [self.repeat_share.get(name, _UNSEEN_SHARE) for name in names]
        place = np.empty(len(names), np.int64)
        place[np.argsort(np.array(names, dtype=object))] = np.arange(len(names))
        return _Needs(
            np.array(names, dtype=object),
            np.array([number[name] for name in called], np.int64),
            np.array(shown, np.int64),
            np.array(share, np.float64),
            place,
        )

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        table = {
            "need_of": self.need_of,
            "repeat_share": self.repeat_share,
            "alpha": self.alpha,
            "beta_days": self.beta_days,
        }
        return {FILE: to_json(table)}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        return cls(**json.loads(files[FILE]))


def build(
    behaviours: pd.DataFrame, as_of: pd.Timestamp, alpha: float = 0.1, beta_days: float = 60.0
) -> OwnHistory:
    """Learn the needs behind queries and how many of their users come back.

    Args:
        behaviours: user_id, time, kind, content; only rows before `as_of` are read.
        alpha, beta_days: the gamma prior of the rate: as if alpha visits in beta days had been
            seen. One prior for all needs; the paper fits one per product.
    """
    events = behaviours[behaviours["time"] < as_of]
    typed = events["kind"] != "item_click"
    need_of = needs(events.loc[typed, "content"], events.loc[~typed, "content"])
    visits = _visits(
        events.assign(
            need=events["content"].map(need_of).fillna(events["content"]),
            day=events["time"].dt.normalize(),
        )
    )
    repeated = visits["visits"].gt(1).groupby(visits["need"]).agg(["sum", "count"])
    # Laplace: as if one more user had come back and one more had not.
    share = (repeated["sum"] + 1) / (repeated["count"] + 2)
    return OwnHistory(
        need_of, dict(zip(share.index, share.tolist(), strict=True)), alpha, beta_days
    )


def return_rate(
    k: NDArray[np.floating],
    since_first: NDArray[np.floating],
    since_last: NDArray[np.floating],
    alpha: float,
    beta: float,
) -> NDArray[np.floating]:
    """Expected visits per day for a need (Bhagat et al. 2018, Modified Poisson-Gamma model).

    With t = since_last, t_purch = since_first − since_last, t_mean = t_purch / (k − 1):
      (k + α) / (t_purch + 2·|t_mean − t| + β)   while t < 2·t_mean: peaks where the gap equals
                                                 the user's mean interval;
      (k + α) / (since_first + β)                after that, and for k = 1 (no interval yet).
    Both are equal at t = 2·t_mean. All arrays (n,): k counts days with the need, the rest is in
    days.
    """
    between = since_first - since_last
    mean = between / np.maximum(k - 1, 1)
    due = between + 2 * np.abs(mean - since_last)
    return (k + alpha) / (np.where(since_last < 2 * mean, due, since_first) + beta)


def needs(queries: Iterable[str], item_texts: Iterable[str]) -> dict[str, str]:
    """Map each query to its need: the longest item text that is a run of its words.

    Of equally long ones the last wins, for English puts the thing after what qualifies it:
    "milk chocolate" is chocolate. A query around no item text is a need of its own.
    """
    shelf = set(item_texts)
    return {query: _need(query, shelf) for query in sorted(set(queries))}


def _need(query: str, shelf: set[str]) -> str:
    words = query.split()
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length, -1, -1):
            run = " ".join(words[start : start + length])
            if run in shelf:
                return run
    return query


def _visits(events: pd.DataFrame) -> pd.DataFrame:
    """user_id, need, visits (days with the need), first, last (those days)."""
    days = events[["user_id", "need", "day"]].drop_duplicates()
    grouped = days.groupby(["user_id", "need"])["day"]
    return grouped.agg(visits="size", first="min", last="max").reset_index()


def _phrasing(key: Ints, text: Ints, time: Ints, place: Ints) -> tuple[Ints, Ints]:
    """How each user puts each need in a query: (key of the pair, text), of typed queries in order
    of user and time. key: of the user and need, text, time: (rows,)."""
    width = len(place) + 1
    used = key * width + text
    of_used, last, times = np.unique(used[::-1], return_index=True, return_counts=True)
    latest = time[::-1][last]
    pair, phrase = np.divmod(of_used, width)
    order = np.lexsort((place[phrase], -latest, -times, pair))
    first = order[np.diff(pair[order], prepend=-1) > 0]
    return pair[first], phrase[first]


@dataclass(frozen=True)
class _Needs:
    """texts: of contents and needs. of_text: number of each content's need. shown: what a need
    that a user never typed is shown as, -1 for nothing. share: repeat share. place: in order of
    texts. Arrays (texts,); of_text (contents,)."""

    texts: Texts
    of_text: Ints
    shown: Ints
    share: NDArray[np.float64]
    place: Ints
