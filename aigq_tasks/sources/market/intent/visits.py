"""Who shops, when, and under which name: the visits of some days, the log's users."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.catalogue import load_catalogue, load_profiles
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, uniform
from aigq_tasks.sources.market.intent.rules import REFIND
from aigq_tasks.sources.market.intent.tendencies import tendencies


@dataclass(frozen=True)
class Visit:
    """A basket. paid: its time; by line: need, product, what was paid for it, the chance that it is
    typed (R1), and whether it is considered (R4)."""

    basket: int
    household: int
    paid: np.datetime64
    needs: NDArray[np.int64]
    products: NDArray[np.int64]
    paid_values: Floats
    typed: Floats
    considered: NDArray[np.bool_]


def visits_between(first: date, last: date, config: IntentConfig, seed: int) -> list[Visit]:
    """The visits that are paid on the days first..last, both included, in the order of time."""
    lines = load_catalogue().between(first, last)
    if config.households:
        lines = lines[lines["household_id"].isin(kept_households(config.households, seed))]
    basket, need = (lines[name].to_numpy(np.int64) for name in ("basket_id", "need"))
    chance = tendencies()
    considered = uniform(seed, Purpose.CONSIDERED, basket, need) < chance.considered[lines.index]
    typed = chance.typed[lines.index]
    typed = np.where(considered, np.maximum(REFIND, typed), typed)
    household, product = (lines[n].to_numpy(np.int64) for n in ("household_id", "product_id"))
    time, value = lines["time"].to_numpy(), lines["value"].to_numpy(np.float64)
    # Two baskets may be paid in the same second, but lines of one stand together.
    ends = np.flatnonzero(np.diff(basket)) + 1
    cuts = [0, *ends.tolist(), len(lines)] if len(lines) else [0]
    return [
        Visit(
            int(basket[low]),
            int(household[low]),
            time[low],
            need[low:high],
            product[low:high],
            value[low:high],
            typed[low:high],
            considered[low:high],
        )
        for low, high in pairwise(cuts)
    ]


def kept_households(count: int, seed: int) -> NDArray[np.int64]:
    """The first `count` households in hash order: a smaller market with the same mix."""
    households = np.unique(load_catalogue().lines["household_id"].to_numpy(np.int64))
    return households[np.argsort(uniform(seed, Purpose.KEPT, households))[:count]]


def user_ids(
    households: NDArray[np.int64],
    times: "NDArray[np.datetime64]",
    config: IntentConfig,
    seed: int,
) -> NDArray[np.str_]:
    """What the log calls a household: stable for most, a new id every week for the cold slice."""
    weeks = (times.astype("M8[D]").astype(np.int64) // 7).astype(str)
    stable = np.char.add("h", households.astype(str))
    cold = uniform(seed, Purpose.COLD, households) < config.cold_share
    return np.where(cold, np.char.add(np.char.add(stable, "w"), weeks), stable)


def profiles(users: pd.DataFrame) -> pd.DataFrame:
    """The `users` table for frames of (user_id, household_id): attributes "" if unknown."""
    unique = users[["user_id", "household_id"]].drop_duplicates().sort_values("user_id")
    known = unique.merge(load_profiles(), on="household_id", how="left").fillna("")
    # A household that the log does not recognise has no profile in the log either.
    cold = known["user_id"].str.contains("w")
    known.loc[cold, "attributes"] = ""
    return known[["user_id", "attributes"]].reset_index(drop=True)
