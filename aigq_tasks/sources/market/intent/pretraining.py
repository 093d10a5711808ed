"""The year's shopping before there were hints: what a base model may be trained on."""

from datetime import date, timedelta

import pandas as pd

from aigq_tasks.context.prompt import profile_words
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.logs.schema import empty
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.items import common_phrases
from aigq_tasks.sources.market.intent.landing import landed

SOURCE = "replayed market over The Complete Journey (simulated shopping data)"
TEXTS = "English grocery phrases of one simulated market"


def behaviours_between(first: date, last: date, seed: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """The behaviours (`logs.behaviours`) of the days first..last, without any hint, and user ->
    profile in words. Before there is any model, nobody but the market knows what shoppers call its
    items: they go by the most common phrase."""
    config, days = IntentConfig(), (last - first).days + 1
    tables = [landed(first + timedelta(days=n), config, seed, None) for n in range(days)]
    searches, clicks, users = (
        pd.concat([table[name] for table in tables], ignore_index=True)
        for name in ("searches", "item_clicks", "users")
    )
    hints = {name: empty(name) for name in ("hint_impressions", "late_clicks")}
    texts = common_phrases(clicks["item_id"].unique())
    table = behaviours({"searches": searches, "item_clicks": clicks, **hints}, texts)
    known = users.drop_duplicates("user_id").sort_values("user_id", ignore_index=True)
    return table, profile_words(known)
