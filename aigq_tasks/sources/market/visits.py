"""Visits of a day, replayed from baskets: what was needed, searched, clicked, and when.

A basket is a visit. One to three of its needs are searched (rarer needs more often: nobody
searches for what lies at the door), phrased as this household phrases them; items are clicked
for the rest. Home-page requests precede the visit by up to two days.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.catalogue import load_catalogue, load_profiles
from aigq_tasks.sources.market.config import LOOKAHEAD_DAYS, MarketConfig
from aigq_tasks.sources.market.items import items_of
from aigq_tasks.sources.market.lexicon import MODIFIERS, choose_phrasing, uniform

RARITY = 1.0  # exponent of a need's inverse basket frequency in the choice of what is searched
SEARCHES = ((1, 0.35), (2, 0.35), (3, 0.30))  # searches per visit and their shares
HABIT = 0.90  # share of searches that use the household's own phrasing of the need
MODIFIER_SHARE = 0.16  # (household, need) pairs whose searches carry a modifier
MAX_ITEM_CLICKS = 20
FOUND = 0.7  # share of searches whose results are clicked
REQUEST_GAP_HOURS = 16.0  # mean time from a home-page request to its visit
# Salts keep the habits independent of each other.
_COLD, _PHRASE, _MODIFIER, _WHICH, _SAMPLE, _FOUND = range(6)


@dataclass(frozen=True)
class Visits:
    """visits: visit_id, household_id, start. needs: visit_id, household_id, need, product_id."""

    visits: pd.DataFrame
    needs: pd.DataFrame


def visits_between(first: date, last: date, config: MarketConfig, seed: int) -> Visits:
    """The visits that start on the days first..last, both included."""
    lines = load_catalogue().between(first, last)
    if config.households:
        lines = lines[lines["household_id"].isin(kept_households(config.households, seed))]
    heads = lines.drop_duplicates("basket_id")
    visits = pd.DataFrame(
        {
            "visit_id": heads["basket_id"].to_numpy(),
            "household_id": heads["household_id"].to_numpy(),
            # A shopper browses for up to 40 minutes before paying, within the same day.
            "start": np.maximum(
                heads["time"].to_numpy()
                - (uniform(seed, _SAMPLE, heads["basket_id"].to_numpy()) * 2400).astype("m8[s]"),
                heads["time"].to_numpy().astype("M8[D]").astype("M8[us]"),
            ).astype("M8[us]"),
        }
    )
    needs = lines.rename(columns={"basket_id": "visit_id"})
    columns = ["visit_id", "household_id", "need", "product_id"]
    return Visits(visits.reset_index(drop=True), needs[columns].reset_index(drop=True))


def kept_households(count: int, seed: int) -> np.ndarray:
    """The first `count` households in hash order: a smaller market with the same mix."""
    households = np.unique(load_catalogue().lines["household_id"].to_numpy())
    return households[np.argsort(uniform(seed, _SAMPLE, households))[:count]]


def user_ids(
    households: np.ndarray, times: np.ndarray, config: MarketConfig, seed: int
) -> np.ndarray:
    """What the log calls a household: stable for most, a new id every week for the cold slice."""
    weeks = (times.astype("M8[D]").astype(np.int64) // 7).astype(str)
    stable = np.char.add("h", households.astype(str))
    cold = uniform(seed, _COLD, households) < config.cold_share
    return np.where(cold, np.char.add(np.char.add(stable, "w"), weeks), stable)


def own_phrases(households: np.ndarray, needs: np.ndarray, seed: int) -> list[str]:
    """How each household types the need at its place, modifier included."""
    draws = zip(
        needs.tolist(),
        uniform(seed, _PHRASE, households, needs).tolist(),
        uniform(seed, _MODIFIER, households, needs).tolist(),
        strict=True,
    )
    return [_modified(choose_phrasing(need, phrase), draw) for need, phrase, draw in draws]


def _modified(phrase: str, draw: float) -> str:
    if draw >= MODIFIER_SHARE:
        return phrase
    return f"{phrase} {MODIFIERS[int(draw / MODIFIER_SHARE * len(MODIFIERS))]}"


def searches_and_clicks(
    visits: Visits, config: MarketConfig, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `searches` and `item_clicks` tables of these visits (see `logs.schema`)."""
    needs = _events(visits, config, seed)
    rows = needs[needs["searched"]]
    searches = pd.DataFrame(
        {
            "event_id": _search_ids(rows),
            "user_id": rows["user_id"].to_numpy(),
            "time": rows["time"].to_numpy(),
            "query": _typed(rows, seed),
        }
    )
    rows = needs[needs["browsed"]]
    item_ids = rows["product_id"].astype(str)
    titles = items_of(item_ids.unique()).set_index("item_id")["title"]
    clicks = pd.DataFrame(
        {
            "event_id": [f"c{v}-{n}" for v, n in zip(rows["visit_id"], rows["need"], strict=True)],
            "user_id": rows["user_id"].to_numpy(),
            "time": rows["time"].to_numpy(),
            "item_id": item_ids.to_numpy(),
            "title": item_ids.map(titles).to_numpy(),
        }
    )
    return _in_time_order(searches), _in_time_order(clicks)


def search_clicks(visits: Visits, config: MarketConfig, seed: int) -> pd.DataFrame:
    """The `search_clicks` table: the item of the basket that a search's results led to."""
    needs = _events(visits, config, seed)
    draw = uniform(seed, _FOUND, needs["visit_id"].to_numpy(), needs["need"].to_numpy())
    rows = needs[needs["searched"] & (draw < FOUND)]
    table = pd.DataFrame(
        {
            "event_id": _search_ids(rows),
            "user_id": rows["user_id"].to_numpy(),
            "time": rows["time"].to_numpy(),
            "item_id": rows["product_id"].astype(str).to_numpy(),
        }
    )
    return _in_time_order(table)


def _events(visits: Visits, config: MarketConfig, seed: int) -> pd.DataFrame:
    """The needs with what is done about each: user_id, time, searched, browsed (an item of it is
    clicked without a search)."""
    needs = visits.needs.merge(visits.visits[["visit_id", "start"]], on="visit_id")
    visit, need = needs["visit_id"].to_numpy(), needs["need"].to_numpy()
    frequency = load_catalogue().needs["baskets"].to_numpy()[need]
    weight = np.log(load_catalogue().baskets / frequency) ** RARITY
    # Exponential races: the smallest keys of a visit are a draw without replacement by weight.
    race = -np.log1p(-uniform(seed, _WHICH, visit, need)) / weight
    rank = pd.Series(race).groupby(visit).rank(method="first").to_numpy().astype(int)
    cumulative = np.cumsum([share for _, share in SEARCHES])
    wanted = 1 + np.searchsorted(cumulative, uniform(seed, _WHICH, visit), side="right")
    order = uniform(seed, _SAMPLE, visit, need)
    time = needs["start"].to_numpy() + (60 + order * 1500).astype("m8[s]")
    # Nothing of a visit may fall into the next day: the day's log is complete at its end.
    last = needs["start"].to_numpy().astype("M8[D]") + np.timedelta64(1, "D")
    time = np.minimum(time, last.astype("M8[us]") - np.timedelta64(1, "s")).astype("M8[us]")
    households = needs["household_id"].to_numpy()
    return needs.assign(
        user_id=user_ids(households, needs["start"].to_numpy(), config, seed),
        time=time,
        searched=rank <= wanted,
        browsed=(rank > wanted) & (rank - wanted <= MAX_ITEM_CLICKS),
    )


def _search_ids(rows: pd.DataFrame) -> list[str]:
    return [f"s{visit}-{need}" for visit, need in zip(rows["visit_id"], rows["need"], strict=True)]


def _typed(rows: pd.DataFrame, seed: int) -> list[str]:
    """What is searched for each need of a visit: mostly the household's own phrase."""
    visits, needs = rows["visit_id"].to_numpy(), rows["need"].to_numpy()
    draws = uniform(seed, _SAMPLE, visits, needs + 1_000_000).tolist()
    own = own_phrases(rows["household_id"].to_numpy(), needs, seed)
    return [
        phrase if draw < HABIT else choose_phrasing(need, (draw - HABIT) / (1 - HABIT))
        for phrase, need, draw in zip(own, needs.tolist(), draws, strict=True)
    ]


def _in_time_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["time", "event_id"], ignore_index=True)


def requests_on(day: date, config: MarketConfig, seed: int) -> pd.DataFrame:
    """Home-page requests of a day: request_id, visit_id, household_id, user_id, time, visit_start,
    in time order. One comes at the visit's start, the others up to LOOKAHEAD_DAYS before it."""
    visits = visits_between(day, day + timedelta(days=LOOKAHEAD_DAYS), config, seed).visits
    extra = _poisson(uniform(seed, _COLD, visits["visit_id"].to_numpy()), config.requests_mean - 1)
    rows = np.repeat(np.arange(len(visits)), 1 + extra)
    nth = np.concatenate([np.arange(1 + n) for n in extra]) if len(extra) else np.array([], int)
    table: pd.DataFrame = visits.iloc[rows].reset_index(drop=True)
    draw = uniform(seed, _PHRASE, table["visit_id"].to_numpy(), nth)
    hours = np.minimum(-np.log1p(-draw) * REQUEST_GAP_HOURS, 24.0 * LOOKAHEAD_DAYS - 0.1)
    gap = np.where(nth == 0, 0, hours * 3600).astype("m8[s]")
    table["time"] = (table["start"].to_numpy() - gap).astype("M8[us]")
    table["request_id"] = [f"r{v}-{n}" for v, n in zip(table["visit_id"], nth, strict=True)]
    table = table[table["time"].to_numpy().astype("M8[D]") == np.datetime64(day)]
    table = table.rename(columns={"start": "visit_start"})
    table["user_id"] = user_ids(
        table["household_id"].to_numpy(), table["time"].to_numpy(), config, seed
    )
    columns = ["request_id", "visit_id", "household_id", "user_id", "time", "visit_start"]
    return table[columns].sort_values(["time", "request_id"], ignore_index=True)


def _poisson(draws: np.ndarray, mean: float) -> np.ndarray:
    """Poisson quantiles of uniform draws, int64, capped at 20."""
    steps = np.arange(21)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 21)))])
    cumulative = np.cumsum(np.exp(steps * np.log(mean) - mean - log_factorial))
    return np.minimum(np.searchsorted(cumulative, draws, side="right"), 20)


def profiles(users: pd.DataFrame) -> pd.DataFrame:
    """The `users` table for frames of (user_id, household_id): attributes "" if unknown."""
    unique = users[["user_id", "household_id"]].drop_duplicates().sort_values("user_id")
    known = unique.merge(load_profiles(), on="household_id", how="left").fillna("")
    # A household that the log does not recognise has no profile in the log either.
    cold = known["user_id"].str.contains("w")
    known.loc[cold, "attributes"] = ""
    return known[["user_id", "attributes"]].reset_index(drop=True)
