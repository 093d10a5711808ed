"""The market's own truth about queries, for reports and logs only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.sources.market.clicks import Basket, true_click_probability
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.visits import user_ids, visits_between

Baskets = Mapping[str, Sequence[Basket]]


@lru_cache(maxsize=8)
def baskets_of_users(day: date, config: MarketConfig, seed: int) -> Baskets:
    """user_id -> hidden baskets of that user's visits on `day`."""
    visits = visits_between(day, day, config, seed)
    head = visits.visits
    users = user_ids(head["household_id"].to_numpy(), head["start"].to_numpy(), config, seed)
    needs = visits.needs.groupby("visit_id")["need"].agg(list)
    baskets: dict[str, list[Basket]] = defaultdict(list)
    for user, visit, household in zip(users, head["visit_id"], head["household_id"], strict=True):
        baskets[str(user)].append(Basket.of(int(household), needs[visit]))
    return dict(baskets)


def true_clicks(
    user_ids: Sequence[str], queries: Sequence[str], baskets: Baskets, seed: int
) -> NDArray[np.float64]:
    """(n,): the true click probability (position 1, at the visit's start) of each (user, query)
    pair, the mean over the user's visits; NaN for a user without any."""
    return np.array(
        [
            np.mean([true_click_probability([query], one, seed)[0] for one in baskets[user]])
            if baskets.get(user)
            else np.nan
            for user, query in zip(user_ids, queries, strict=True)
        ],
        dtype=np.float64,
    )
