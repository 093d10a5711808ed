"""Replay the hint exposures of a day: who clicks what of what production showed.

Exposures come in (from the release that was live), clicks come out. The draws depend on
(seed, request, position) only, so the same requests replayed under another release share their
random numbers: that is the A/B test.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.clicks import Basket, click_probability, match
from aigq_tasks.sources.market.config import LOOKAHEAD_DAYS, MarketConfig
from aigq_tasks.sources.market.lexicon import uniform
from aigq_tasks.sources.market.visits import visits_between

_CLICK, _DELAY = 11, 12
CLICK_DELAY_MINUTES = 20.0  # mean time from impression to click


@dataclass(frozen=True)
class Replay:
    """impressions: the exposures plus clicked and click_time as known at the end of the day.
    late: request_id, position, click_time of the clicks that arrived after midnight."""

    impressions: pd.DataFrame
    late: pd.DataFrame


def baskets_for(day: date, config: MarketConfig, seed: int) -> dict[int, Basket]:
    """visit_id -> hidden basket of every visit that requests of `day` may belong to."""
    needs = visits_between(day, day + timedelta(days=LOOKAHEAD_DAYS), config, seed).needs
    return {
        int(cast(int, visit)): Basket.of(int(rows["household_id"].iloc[0]), rows["need"].tolist())
        for visit, rows in needs.groupby("visit_id")
    }


def replay_clicks(
    exposures: pd.DataFrame, requests: pd.DataFrame, baskets: dict[int, Basket], seed: int
) -> Replay:
    """Draw the clicks of a day's exposures.

    exposures: request_id, position (from 1 on), query and whatever production logged; requests: as
    `visits.requests_on` gives them. A need that was clicked in an earlier request of the same
    visit that day (or higher up on the same page) appeals less afterwards.
    """
    table = exposures.merge(
        requests[["request_id", "visit_id", "visit_start"]], on="request_id"
    ).sort_values(["time", "request_id", "position"], ignore_index=True)
    gap = (table["visit_start"].to_numpy() - table["time"].to_numpy()) / np.timedelta64(1, "h")
    keys = (table["visit_id"].to_numpy(), _request_number(table), table["position"].to_numpy())
    draws = uniform(seed, _CLICK, *keys)
    clicked = np.zeros(len(table), bool)
    satisfied: set[tuple[int, int]] = set()
    rows = zip(table["visit_id"], table["query"], table["position"], gap, draws, strict=True)
    for i, (visit, query, position, hours, draw) in enumerate(rows):
        quality, need = match(query, baskets[visit], seed)
        chance = click_probability(quality, position, hours, (visit, need) in satisfied)
        clicked[i] = draw < chance
        if clicked[i] and need >= 0:
            satisfied.add((visit, need))
    delay = -np.log1p(-uniform(seed, _DELAY, *keys)) * CLICK_DELAY_MINUTES * 60
    click_time = (table["time"].to_numpy() + delay.astype("m8[s]")).astype("M8[us]")
    return _split_late(table.drop(columns=["visit_id", "visit_start"]), clicked, click_time)


def _request_number(table: pd.DataFrame) -> np.ndarray:
    return table["request_id"].str.rsplit("-", n=1).str[1].astype("int64").to_numpy()


def _split_late(table: pd.DataFrame, clicked: np.ndarray, click_time: np.ndarray) -> Replay:
    midnight = (table["time"].to_numpy().astype("M8[D]") + np.timedelta64(1, "D")).astype("M8[us]")
    late = clicked & (click_time >= midnight)
    known = clicked & ~late
    impressions = table.assign(
        clicked=known, click_time=np.where(known, click_time, np.datetime64("NaT", "us"))
    )
    later = table.loc[late, ["request_id", "position"]].assign(click_time=click_time[late])
    return Replay(impressions, later.sort_values(["click_time", "request_id"], ignore_index=True))
