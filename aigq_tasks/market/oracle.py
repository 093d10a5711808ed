"""The market's own truth about generated lists, for reports and logs only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.market.clicks import Basket, true_click_probability
from aigq_tasks.market.visits import user_ids, visits_between
from aigq_tasks.settings import MarketSettings


def baskets_of_users(day: date, settings: MarketSettings, seed: int) -> dict[str, list[Basket]]:
    """user_id -> hidden baskets of that user's visits on `day`."""
    visits = visits_between(day, day, settings, seed)
    head = visits.visits
    users = user_ids(head["household_id"].to_numpy(), head["start"].to_numpy(), settings, seed)
    needs = visits.needs.groupby("visit_id")["need"].agg(list)
    baskets: dict[str, list[Basket]] = defaultdict(list)
    for user, visit, household in zip(users, head["visit_id"], head["household_id"], strict=True):
        baskets[str(user)].append(Basket.of(int(household), needs[visit]))
    return dict(baskets)


def true_click_means(
    lists: Mapping[str, Sequence[str]],
    baskets: Mapping[str, Sequence[Basket]],
    seed: int,
    top: int = 10,
) -> dict[str, float]:
    """user_id -> mean true click probability (position 1, at the visit's start) of the first
    `top` queries over that user's visits of the day; only users with a visit. Repeats count
    once, and a list shorter than `top` counts its missing slots as 0, so that neither a short
    list nor a repetitive one can look better."""
    means: dict[str, float] = {}
    for user in sorted(lists):
        queries = list(dict.fromkeys(lists[user]))[:top]
        if user in baskets:
            sums = [true_click_probability(queries, b, seed).sum() for b in baskets[user]]
            means[user] = float(np.mean(sums)) / top
    return means


def true_clicks(
    user_ids: Sequence[str],
    queries: Sequence[str],
    baskets: Mapping[str, Sequence[Basket]],
    seed: int,
) -> NDArray[np.float64]:
    """(n,): the true click probability (position 1, at the visit's start) of each (user, query)
    pair, the mean over the user's visits; 0 for a user without any."""
    return np.array(
        [
            np.mean([true_click_probability([query], one, seed)[0] for one in baskets[user]])
            if baskets.get(user)
            else 0.0
            for user, query in zip(user_ids, queries, strict=True)
        ]
    )
