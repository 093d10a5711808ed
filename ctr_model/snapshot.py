"""What is counted at one instant: who did what, how often, how recently, and what got clicked.

Every function takes columns of `EventLog` already cut to the events before the instant; ages are in
days before it.  Tables are keyed by int64 and found by binary search, so a lookup of n keys is one
numpy call.
"""

from dataclasses import dataclass

import numpy as np

from ctr_model.columns import Bools, Floats, Ints, count_by, gather, ratio, runs, sum_by
from ctr_model.history import DAY_US, Behaviours, Impressions

HALF_LIFE_DAYS = 14.0  # of the recency weight 2^(-age / half-life)
PRIOR_CLICKS = 1.0  # expected clicks' worth of trust in the overall rate


@dataclass(frozen=True)
class Keys:
    """Sorted distinct int64 keys of (owner, thing) pairs; the key is owner * width + thing."""

    width: int
    values: Ints

    @property
    def owners(self) -> Ints:
        return self.values // max(self.width, 1)

    @property
    def things(self) -> Ints:
        return self.values % max(self.width, 1)

    def find(self, owner: Ints, thing: Ints) -> Ints:
        """Row of each pair, -1 where the pair is not there or either code is -1."""
        if not len(self.values):
            return np.full(len(owner), -1, np.int64)
        key = owner * self.width + thing
        row = np.minimum(np.searchsorted(self.values, key), len(self.values) - 1)
        hit = (self.values[row] == key) & (owner >= 0) & (thing >= 0)
        return np.where(hit, row, -1)


@dataclass(frozen=True)
class Dealings:
    """How each user has dealt with each thing (a phrase, a category); all columns (rows,).

    searches, clicks: event counts.  last: age of the newest event, days.  gap: mean days between
    the distinct days with an event, NaN for a single day.  weight: Σ 2^(-age / HALF_LIFE_DAYS).
    """

    keys: Keys
    searches: Floats
    clicks: Floats
    last: Floats
    gap: Floats
    weight: Floats

    @classmethod
    def of(cls, events: Behaviours, thing: Ints, width: int, as_of: int) -> "Dealings":
        """Group `events` (in time order) by (user, thing); events of thing -1 are left out."""
        known = np.flatnonzero(thing >= 0)
        key = events.user[known] * width + thing[known]
        order = np.argsort(key, kind="stable")  # keeps time order inside a group
        key, rows = key[order], known[order]
        values, start, end, group = runs(key)
        age = (as_of - events.time[rows]) / DAY_US
        day = events.time[rows] // DAY_US
        new_day = np.ones(len(key))
        new_day[1:] = (day[1:] != day[:-1]) | (group[1:] != group[:-1])
        n = len(values)
        search = events.search[rows]
        occasions = sum_by(group, new_day, n)
        return cls(
            keys=Keys(width, values),
            searches=count_by(group[search], n),
            clicks=count_by(group[~search], n),
            last=age[end],
            gap=ratio(age[start] - age[end], occasions - 1),
            weight=sum_by(group, recency_weight(age), n),
        )

    def columns(self, row: Ints) -> Floats:
        """(n, 5) searches, clicks, days since, gap, due = days since / gap; row -1: none yet."""
        since, gap = gather(self.last, row, np.nan), gather(self.gap, row, np.nan)
        counts = gather(self.searches, row, 0.0), gather(self.clicks, row, 0.0)
        return np.column_stack([*counts, since, gap, since / gap])


@dataclass(frozen=True)
class Rates:
    """Click-through rates of a thing at the average position, shrunk towards the overall rate.

    rate = overall * (clicks + m) / (expected + m), m = PRIOR_CLICKS, where expected counts each
    impression at the mean rate of its position: clicks over expected clicks, which keeps a query
    from looking good only because it was shown first (Zhang & Jones, WWW workshops 2007).
    """

    overall: float
    rate: Floats
    shown: Floats

    @classmethod
    def of(cls, thing: Ints, clicked: Bools, expected: Floats, n: int, overall: float) -> "Rates":
        """Rates of things 0..n-1 (-1 is left out); an impression may come once per thing it has."""
        known = thing >= 0
        thing, clicked, expected = thing[known], clicked[known], expected[known]
        clicks, trials = count_by(thing[clicked], n), sum_by(thing, expected, n)
        rate = overall * (clicks + PRIOR_CLICKS) / (trials + PRIOR_CLICKS)
        return cls(overall, rate, count_by(thing, n))


@dataclass(frozen=True)
class Shown:
    """Hints each user was shown: unclicked in 7 and 28 days, clicked in 28, days since the last."""

    keys: Keys
    ignored_7d: Floats
    ignored_28d: Floats
    clicked_28d: Floats
    last: Floats

    @classmethod
    def of(cls, hints: Impressions, clicked: Bools, width: int, as_of: int) -> "Shown":
        key = hints.user * width + hints.content
        order = np.argsort(key, kind="stable")
        values, _, end, group = runs(key[order])
        age = ((as_of - hints.time) / DAY_US)[order]
        hit = clicked[order]
        n = len(values)
        return cls(
            keys=Keys(width, values),
            ignored_7d=count_by(group[~hit & (age <= 7)], n),
            ignored_28d=count_by(group[~hit & (age <= 28)], n),
            clicked_28d=count_by(group[hit & (age <= 28)], n),
            last=age[end],
        )

    def columns(self, row: Ints) -> Floats:
        """(n, 4) ignored 7 d, ignored 28 d, clicked 28 d, days since shown; row -1: never."""
        counts = (self.ignored_7d, self.ignored_28d, self.clicked_28d)
        return np.column_stack(
            [*(gather(column, row, 0.0) for column in counts), gather(self.last, row, np.nan)]
        )


def recency_weight(age: Floats) -> Floats:
    """2^(-age / HALF_LIFE_DAYS), age in days."""
    return np.exp2(-age / HALF_LIFE_DAYS)


def expected_clicks(position: Ints, clicked: Bools) -> Floats:
    """Mean click rate of each impression's own position, (n,)."""
    n = int(position.max(initial=0)) + 1
    return ratio(count_by(position[clicked], n), count_by(position, n))[position]
