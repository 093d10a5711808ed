"""What a list is held against, and how much of it the list met.

The first truth is what a shopper searched after the moment of the list: no exposure can bias it.
The second is the clicks on explored slots, each weighted by its chance to be shown. The old truth,
all that was searched or clicked, is kept apart: production chose what could be clicked, so it
flatters whatever resembles production, and its columns are headed as what they are.

Whom the source's own knowledge is about, and only where there is any: the needs that a list meets.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

import numpy as np
import pandas as pd

from aigq_tasks.context.queries import normalize
from aigq_tasks.evaluation.metrics import Lists, Truth, Values
from aigq_tasks.logs.behaviours import hint_clicks

Moments = Mapping[str, pd.Timestamp]  # of users whose lists are not those of the day's start
Needs = Callable[[Sequence[str], Sequence[str]], list[Mapping[str, float]]]  # `sources.base.Needs`

AT_THE_START: Moments = MappingProxyType({})
FIRST = 10  # queries of a list that a shopper is likely to see
BIASED = "exposure-biased"


@dataclass(frozen=True)
class Truths:
    """searched: after the moment of the list, the primary truth. exposed: searched or clicked that
    day, exposure-biased. explored: of `explored_clicks`."""

    searched: Truth
    exposed: Truth
    explored: pd.DataFrame

    def of(self, users: Iterable[str]) -> "Truths":
        """Those of some users alone."""
        kept = set(users)
        searched, exposed = (
            {user: queries for user, queries in truth.items() if user in kept}
            for truth in (self.searched, self.exposed)
        )
        return Truths(searched, exposed, self.explored[self.explored["user_id"].isin(kept)])

    @property
    def users(self) -> list[str]:
        """Of whom any of the truths tells."""
        return sorted({*self.searched, *self.exposed, *self.explored["user_id"]})


def truths_of_day(
    logs: Mapping[str, pd.DataFrame], day: date, moments: Moments = AT_THE_START
) -> Truths:
    """logs: of the day: searches, hint_impressions, late_clicks, hint_rankings."""
    return Truths(
        searched_after(logs["searches"], day, moments),
        searched_or_clicked(logs, day),
        explored_clicks(logs["hint_impressions"], logs["hint_rankings"]),
    )


def searched_after(
    searches: pd.DataFrame, day: date, moments: Moments = AT_THE_START
) -> dict[str, set[str]]:
    """user -> normalised queries searched from the moment of the user's list until the end of
    `day`, without those that the user had searched on that day before it.

    searches: user_id, time, query. moments: of users whose lists are younger than the day's start.
    A user without such a query is not there: nobody knows what a list would have been worth.
    """
    start, end = pd.Timestamp(day), pd.Timestamp(day + timedelta(days=1))
    rows = searches[(searches["time"] >= start) & (searches["time"] < end)]
    before: dict[str, set[str]] = {}
    after: dict[str, set[str]] = {}
    for user, time, query in rows[["user_id", "time", "query"]].itertuples(index=False):
        asked = after if time >= moments.get(user, start) else before
        asked.setdefault(user, set()).add(normalize(query))
    new = {user: queries - before.get(user, set()) - {""} for user, queries in after.items()}
    return {user: queries for user, queries in sorted(new.items()) if queries}


def searched_or_clicked(logs: Mapping[str, pd.DataFrame], day: date) -> dict[str, set[str]]:
    """user -> normalised queries that the user searched, or clicked among the hints, on `day`:
    the truth that is biased by exposure.

    logs: of the day: searches, hint_impressions, late_clicks.
    """
    clicks = hint_clicks(logs)
    today = clicks["click_time"].dt.date == day
    asked = [logs["searches"][["user_id", "query"]], clicks.loc[today, ["user_id", "query"]]]
    truth: dict[str, set[str]] = {}
    for user, query in pd.concat(asked).itertuples(index=False):
        truth.setdefault(user, set()).add(normalize(query))
    return dict(sorted(truth.items()))


def explored_clicks(impressions: pd.DataFrame, rankings: pd.DataFrame) -> pd.DataFrame:
    """user_id, query (normalised), weight of the clicks on explored slots.

    An explored slot is filled uniformly from the candidates that are not yet on the page, so the
    chance of what it showed is 1 / (candidates - position + 1), and the weight is its inverse. The
    logged propensity is another thing: it does not know which slot explored, and is large for what
    production likes. Dividing explored clicks by it would count those least.

    impressions: `hint_impressions`. rankings: `hint_rankings`, the candidates of each request; a
    click of a request without is left out.
    """
    clicks = impressions[impressions["clicked"] & impressions["explored"]]
    candidates = clicks["request_id"].map(rankings["request_id"].value_counts()).astype("float64")
    weight = candidates - clicks["position"] + 1
    rows = clicks[["user_id"]].assign(query=clicks["query"].map(normalize), weight=weight)
    kept: pd.DataFrame = rows[weight >= 1].astype({"user_id": "str", "query": "str"})
    return kept.reset_index(drop=True)


def explored_hit(lists: Lists, clicks: pd.DataFrame, users: Sequence[str], k: int) -> Values:
    """Share of each user's explored clicks, by weight, that the first k queries hold; (users,),
    NaN without a click. Self-normalised within the user-day (Swaminathan & Joachims, NeurIPS
    2015): Σ w·held / Σ w. clicks: of `explored_clicks`."""
    held, total = dict.fromkeys(users, 0.0), dict.fromkeys(users, 0.0)
    first = {user: {normalize(query) for query in lists.get(user, ())[:k]} for user in users}
    for user, query, weight in clicks.itertuples(index=False):
        if user in total:
            total[user] += weight
            held[user] += weight * (query in first[user])
    return np.array([held[user] / total[user] if total[user] else np.nan for user in users])


def chance_met(chances: Iterable[float]) -> float:
    """1 - Π (1 - p): the chance that any of some independent chances comes true."""
    return 1.0 - math.prod(1.0 - chance for chance in chances)


def distinct_needs(met: Sequence[Mapping[str, float]]) -> float:
    """Expected number of distinct needs that a list meets: Σ over needs of `chance_met` of the
    queries that name it. A need that was met already is worth nothing: satiation.

    met: need -> chance, of each query of the list. NaN for a user of whom nothing is known."""
    of_need: dict[str, list[float]] = {}
    for needs in met:
        for need, chance in needs.items():
            of_need.setdefault(need, []).append(chance)
    return math.fsum(chance_met(chances) for chances in of_need.values())


def same_need(met: Sequence[Mapping[str, float]]) -> float:
    """Share of a list's queries that name a need which a query above them names; 0.0 for an empty
    list. met: as in `distinct_needs`."""
    named: set[str] = set()
    again = 0
    for needs in met:
        again += not named.isdisjoint(needs)
        named.update(needs)
    return again / max(1, len(met))


def headed(metric: str) -> str:
    """A column as tables head it: what exposure biases says so."""
    return f"{metric} ({BIASED})" if metric.startswith("exposed_") else metric
