"""Recall by the shopper's own history: what they come back for, and when it is due again.

The rate of return is the Modified Poisson-Gamma model of Bhagat et al., "Buy It Again" (KDD
2018). It is the strongest simple source here and the baseline that every model has to beat.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.storage.canonical import to_json

FILE = "own_history.json"
_UNSEEN_SHARE = 0.5  # repeat share of a need newer than the release: build's share of no users


@dataclass(frozen=True)
class OwnHistory:
    """What all shoppers together know of needs; the user's part is read at recall.

    A need is what one thing is called on the shelf: an item text, and every query about it.
    """

    name: ClassVar[str] = "own_history"
    need_of: dict[str, str]  # every searched query -> its need
    repeat_share: dict[str, float]  # need -> share of its users who came back for it
    alpha: float
    beta_days: float

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """Per user the k needs with the highest rate of return, as queries, best first.

        score = repeat_share(need) · rate (see `return_rate`), per day. A need is shown as the
        query that this user typed most for it (then most recently, then by text); a need that
        the user never typed is shown as its item text if some shopper searched exactly that, else
        not at all. Ties go by query text.

        Args:
            user_ids: whom to answer for; users without history get an empty list.
            history: behaviours; rows at or after `as_of` are not read.
        """
        events = history[(history["time"] < as_of) & history["user_id"].isin(list(user_ids))]
        events = events.assign(
            need=events["content"].map(self.need_of).fillna(events["content"]),
            day=events["time"].dt.normalize(),
        )
        scored = self._score(events, as_of)
        scored = scored.merge(_phrasing(events), on=["user_id", "need"], how="left")
        searched = scored["need"].where(scored["need"].isin(list(self.need_of)))
        scored["query"] = scored["phrase"].fillna(searched)
        best = (
            scored.dropna(subset=["query"])
            .sort_values(["user_id", "score", "query"], ascending=[True, False, True])
            .groupby("user_id")
            .head(k)
        )
        recalled: dict[str, list[tuple[str, float]]] = {user: [] for user in user_ids}
        for user, query, score in zip(best["user_id"], best["query"], best["score"], strict=True):
            recalled[user].append((query, score))
        return recalled

    def _score(self, events: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
        """user_id, need, score from events with need and day."""
        visits = _visits(events)
        rate = return_rate(
            visits["visits"].to_numpy(dtype=float),
            (as_of - visits["first"]).dt.days.to_numpy(dtype=float),
            (as_of - visits["last"]).dt.days.to_numpy(dtype=float),
            self.alpha,
            self.beta_days,
        )
        # Without any row, map keeps the type of the text.
        share = visits["need"].map(self.repeat_share).astype("float64").fillna(_UNSEEN_SHARE)
        return visits[["user_id", "need"]].assign(score=rate * share)

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


def _phrasing(events: pd.DataFrame) -> pd.DataFrame:
    """user_id, need, phrase: how this user puts this need in a query."""
    typed = events[events["kind"] != "item_click"]
    used = typed.groupby(["user_id", "need", "content"])["time"].agg(times="size", last="max")
    ordered = used.reset_index().sort_values(
        ["user_id", "need", "times", "last", "content"], ascending=[True, True, False, False, True]
    )
    first = ordered.drop_duplicates(["user_id", "need"])
    return first[["user_id", "need", "content"]].rename(columns={"content": "phrase"})
