"""The market's own truth about queries, for reports and logs only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

import numpy as np

from aigq_tasks.sources.market.clicks import Basket, interpret, needs_named
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.visits import user_ids, visits_between

Baskets = Mapping[str, Basket]


@lru_cache(maxsize=8)
def baskets_of_users(day: date, config: MarketConfig, seed: int) -> Baskets:
    """user_id -> what that user needs on `day`: the hidden baskets of all visits in one."""
    visits = visits_between(day, day, config, seed)
    head = visits.visits
    users = user_ids(head["household_id"].to_numpy(), head["start"].to_numpy(), config, seed)
    needs = visits.needs.groupby("visit_id")["need"].agg(list)
    of_users: dict[str, list[int]] = defaultdict(list)
    household: dict[str, int] = {}
    for user, visit, own in zip(users, head["visit_id"], head["household_id"], strict=True):
        of_users[str(user)] += needs[visit]
        household[str(user)] = int(own)
    return {user: Basket.of(household[user], needs) for user, needs in of_users.items()}


def needs_met(
    users: Sequence[str], queries: Sequence[str], baskets: Baskets, seed: int
) -> list[Mapping[str, float]]:
    """`sources.base.Needs` of each pair: a need is met with the quality of the match (see
    `clicks.match`; what is only on the same shelf meets none); NaN for a user without a visit."""
    found: list[Mapping[str, float]] = []
    for user, query in zip(users, queries, strict=True):
        named = dict.fromkeys(interpret(query)[0], np.nan)
        if user in baskets:
            named = needs_named(query, baskets[user], seed)
        found.append({str(need): chance for need, chance in named.items()})
    return found
