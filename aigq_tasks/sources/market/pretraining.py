"""The year's shopping before there were hints: what a base model may be trained on."""

from datetime import date

import pandas as pd

from aigq_tasks.context.prompt import profile_words
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.logs.schema import empty
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.items import common_phrases
from aigq_tasks.sources.market.visits import (
    profiles,
    searches_and_clicks,
    user_ids,
    visits_between,
)

SOURCE = "replayed market over The Complete Journey (simulated shopping data)"
TEXTS = "English grocery phrases of one simulated market"


def behaviours_between(first: date, last: date, seed: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """The behaviours (`logs.behaviours`) of the days first..last, without any hint, and user ->
    profile in words. Before there is any model, nobody but the market knows what shoppers call its
    items: they go by the most common phrase."""
    config = MarketConfig()
    visits = visits_between(first, last, config, seed)
    searches, clicks = searches_and_clicks(visits, config, seed)
    hints = {name: empty(name) for name in ("hint_impressions", "late_clicks")}
    texts = common_phrases(clicks["item_id"].unique())
    table = behaviours({"searches": searches, "item_clicks": clicks, **hints}, texts)
    head = visits.visits
    ids = user_ids(head["household_id"].to_numpy(), head["start"].to_numpy(), config, seed)
    users = profiles(pd.DataFrame({"user_id": ids, "household_id": head["household_id"]}))
    return table, profile_words(users)
