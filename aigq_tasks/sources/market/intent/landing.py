"""A day of the replayed market as tables of the log.

Without `serve` only searches, item clicks and orders happen. With it, the day's requests are
answered by the release that was live, and its exposures, propensities and clicks are logged
together with the features that the click model saw (logged at serving time, so training and
serving can never disagree).
"""

from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.logs.schema import empty
from aigq_tasks.sources.base import Serve
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.events import events_of, orders
from aigq_tasks.sources.market.intent.items import items_of
from aigq_tasks.sources.market.intent.rounds import KEY, Replayed, replay
from aigq_tasks.sources.market.intent.sessions import Day, day_of
from aigq_tasks.sources.market.intent.visits import profiles


def landed(
    day: date, config: IntentConfig, seed: int, serve: Serve | None
) -> dict[str, pd.DataFrame]:
    """The tables of a day that the market has, see `Source.land`. AigqError if what was served
    lacks the features of a hint."""
    own = day_of(day, config, seed)
    events = events_of(own, seed)
    met, views, hints = np.zeros(len(own.steps), bool), empty("item_clicks"), {}
    if serve is not None and len(own.requests):
        replayed = replay(events, serve, seed)
        met, views, hints = replayed.met, replayed.views, _hints(own, replayed)
    tables = events.left(met, views) | {"orders": orders(own)} | hints
    named = [tables[name]["item_id"] for name in ("item_clicks", "search_clicks", "orders")]
    users = profiles(own.sessions[["user_id", "household_id"]])
    return tables | {"users": users, "items": items_of(pd.concat(named).unique())}


def _hints(day: Day, replayed: Replayed) -> dict[str, pd.DataFrame]:
    return {
        "hint_impressions": replayed.impressions,
        "hint_rankings": replayed.rankings,
        "impression_features": replayed.features,
        "late_next_day": replayed.late,
        "hint_orders": hint_orders(day, replayed.by),
    }


def hint_orders(day: Day, by: pd.DataFrame) -> pd.DataFrame:
    """Which clicked hints led to what is bought in the same visit: request_id, position, order_id,
    item_id, value. by: of `Replayed`."""
    steps = day.steps.iloc[by["row"].to_numpy()]
    number = day.sessions["number"].to_numpy()[steps["session"].to_numpy()]
    table = by[KEY].assign(
        order_id=[f"o{n}" for n in number.tolist()],
        item_id=steps["product_id"].astype(str).to_numpy(),
        value=steps["value"].to_numpy(),
    )
    return table[steps["bought"].to_numpy()].reset_index(drop=True)
