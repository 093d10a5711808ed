"""A day of the replayed market as tables of the log.

Without `serve` only searches and item clicks happen. With it, the day's home-page requests are
answered by the release that was live, and its exposures, propensities and clicks are logged
together with the features that the click model saw (logged at serving time, so training and
serving can never disagree).
"""

from collections.abc import Mapping
from datetime import date

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.sources.base import Serve
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.items import items_of
from aigq_tasks.sources.market.replay import baskets_for, replay_clicks
from aigq_tasks.sources.market.visits import (
    Visits,
    profiles,
    requests_on,
    search_clicks,
    searches_and_clicks,
    user_ids,
    visits_between,
)

_KEY = ["request_id", "position"]


def landed(
    day: date, config: MarketConfig, seed: int, serve: Serve | None
) -> dict[str, pd.DataFrame]:
    """The tables of a day that the market has, see `Source.land`. AigqError if what was served
    lacks the features of a hint."""
    visits = visits_between(day, day, config, seed)
    searches, clicks = searches_and_clicks(visits, config, seed)
    found = search_clicks(visits, config, seed)
    tables = {"searches": searches, "item_clicks": clicks, "search_clicks": found}
    seen = _identities(visits, config, seed)
    if serve is not None:
        requests = requests_on(day, config, seed)
        tables |= _hints(day, requests, serve, tables, config, seed)
        seen = pd.concat([seen, requests[["user_id", "household_id"]]])
    named = pd.concat([clicks["item_id"], found["item_id"]])
    return tables | {"users": profiles(seen), "items": items_of(named.unique())}


def _identities(visits: Visits, config: MarketConfig, seed: int) -> pd.DataFrame:
    """user_id, household_id of every visit."""
    households = visits.visits["household_id"].to_numpy()
    users = user_ids(households, visits.visits["start"].to_numpy(), config, seed)
    return pd.DataFrame({"user_id": users, "household_id": households})


def _hints(
    day: date,
    requests: pd.DataFrame,
    serve: Serve,
    so_far: Mapping[str, pd.DataFrame],
    config: MarketConfig,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Have the day's requests answered and replay the clicks. Whoever serves sees who asks
    and when, not the visit that the request belongs to."""
    served = serve(requests[["request_id", "user_id", "time"]], so_far)
    replayed = replay_clicks(served.exposures, requests, baskets_for(day, config, seed), seed)
    return {
        "hint_impressions": replayed.impressions,
        "hint_rankings": served.rankings,
        "impression_features": _in_order_of(replayed.impressions, served.features),
        "late_next_day": replayed.late,
    }


def _in_order_of(shown: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """The features of each impression, row by row."""
    keys = pd.MultiIndex.from_frame(features[_KEY])
    rows = keys.get_indexer(pd.MultiIndex.from_frame(shown[_KEY]))
    if (rows < 0).any():
        request, position = shown[_KEY].to_numpy()[rows < 0][0]
        raise AigqError(f"the hint at position {position} of request {request} has no features")
    return features.iloc[rows].reset_index(drop=True)
