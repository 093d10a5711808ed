"""What a log tells about needs up to a day, and what each household did: for the market's card.

It is what anybody could count who knew which need each event is about. The rankers of `knowing`
differ in which part of it they see.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.belonging import belonging
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.draws import Floats
from aigq_tasks.sources.market.intent.rules import KNOWN_NEEDS
from aigq_tasks.sources.market.intent.sessions import Day

Singles = NDArray[np.float32]
LONG_AGO = -400.0  # days
WINDOW = 5  # steps within which two needs of a session are counted together


def moves_of(day: Day) -> pd.DataFrame:
    """The steps of a day as a log has them, by household and time: household, user, session,
    looking, need, known (its row among the KNOWN_NEEDS, or -1), typed, bought, query, category,
    time (days since the epoch)."""
    steps, sessions = day.steps, day.sessions
    session = steps["session"].to_numpy()
    needs = steps["need"].to_numpy()
    table = pd.DataFrame(
        {
            "household": sessions["household_id"].to_numpy()[session],
            "user": sessions["user_id"].to_numpy()[session],
            "session": session,
            "looking": sessions["looking"].to_numpy()[session],
            "step": steps["step"].to_numpy(),
            "need": needs,
            "known": belonging(0).row[needs],
            "typed": steps["typed"].to_numpy(),
            "bought": steps["bought"].to_numpy(),
            "query": steps["today"].to_numpy(),
            "category": load_catalogue().needs["category"].to_numpy()[needs],
            "time": days_of(steps["time"].to_numpy()),
        }
    )
    return table.sort_values(["household", "time", "session"], kind="stable", ignore_index=True)


def days_of(times: "NDArray[np.datetime64]") -> Floats:
    """Days since the epoch, with the fraction."""
    found: Floats = times.astype("M8[s]").astype(np.int64) / 86_400.0
    return found


@dataclass
class Counts:
    """Of all households, by known need: how often it was typed and met at all, how often one came
    right after another, and within WINDOW steps of it."""

    typed: Floats = field(default_factory=lambda: np.zeros(KNOWN_NEEDS))
    seen: Floats = field(default_factory=lambda: np.zeros(KNOWN_NEEDS))
    after: Singles = field(default_factory=lambda: np.zeros((KNOWN_NEEDS,) * 2, np.float32))
    near: Singles = field(default_factory=lambda: np.zeros((KNOWN_NEEDS,) * 2, np.float32))

    def add(self, moves: pd.DataFrame) -> None:
        """A day more."""
        known, session = moves["known"].to_numpy(), moves["session"].to_numpy()
        held = known >= 0
        np.add.at(self.seen, known[held], 1)
        np.add.at(self.typed, known[held & moves["typed"].to_numpy()], 1)
        for distance in range(1, WINDOW + 1):
            one, two = known[:-distance], known[distance:]
            both = (one >= 0) & (two >= 0) & (session[:-distance] == session[distance:])
            one, two = one[both], two[both]
            np.add.at(self.near, (one, two), 1)
            np.add.at(self.near, (two, one), 1)
            if distance == 1:
                np.add.at(self.after, (one, two), 1)

    def lift(self, counts: Singles, smoothing: float) -> Singles:
        """ln of how much likelier a column is after a row than anywhere."""
        share = (self.seen + 1) / (self.seen + 1).sum()
        given = (counts + smoothing * share) / (counts.sum(axis=1, keepdims=True) + smoothing)
        found: Singles = np.log(given / share).astype(np.float32)
        return found


@dataclass
class Shopper:
    """A household's past, by known need: how often typed and met; when first and last (days); when
    last looked at without buying. words: need -> its last wording; queries: text -> how often."""

    typed: Singles = field(default_factory=lambda: np.zeros(KNOWN_NEEDS, np.float32))
    seen: Singles = field(default_factory=lambda: np.zeros(KNOWN_NEEDS, np.float32))
    first: Floats = field(default_factory=lambda: np.full(KNOWN_NEEDS, LONG_AGO))
    last: Floats = field(default_factory=lambda: np.full(KNOWN_NEEDS, LONG_AGO))
    looked: Floats = field(default_factory=lambda: np.full(KNOWN_NEEDS, LONG_AGO))
    words: dict[int, str] = field(default_factory=dict)
    queries: Counter[str] = field(default_factory=Counter)

    def add(self, moves: pd.DataFrame) -> None:
        """What it did on a day, or in a part of one, in the order of time."""
        columns = (moves[name].tolist() for name in ("known", "time", "typed", "bought", "query"))
        for need, time, typed, bought, query in zip(*columns, strict=True):
            if typed:
                self.queries[query] += 1
            if need < 0:
                continue
            if self.seen[need] == 0:
                self.first[need] = time
            self.seen[need] += 1
            self.last[need] = time
            self.looked[need] = LONG_AGO if bought else time
            if typed:
                self.typed[need] += 1
                self.words[need] = query


@dataclass
class Strings:
    """What a shop counts that knows texts and categories only: how often each query was asked, and
    how often it came within WINDOW steps after a query or an item of a category."""

    asked: Counter[str] = field(default_factory=Counter)
    after: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, moves: pd.DataFrame) -> None:
        """A day more."""
        recent: list[str] = []
        session = -1
        columns = (moves[name].tolist() for name in ("session", "typed", "query", "category"))
        for own, typed, query, category in zip(*columns, strict=True):
            recent = recent[-WINDOW:] if own == session else []
            session = own
            if typed:
                self.asked[query] += 1
                for key in dict.fromkeys(recent):
                    self.after[key][query] += 1
            recent.append(key_of(typed, query, category))


def key_of(typed: bool, query: str, category: str) -> str:
    """What later searches are counted by: the query, or the category of an item."""
    return f"q {query}" if typed else f"c {category}"
