"""A day of sessions, before any hint is shown: who needs what in which order, and asks when.

R2 orders a session, R3 leads aside from it, R1 says what is typed, R5 when the page with the hints
is seen. Times are whole seconds; a session lies within its day.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.belonging import Belonging, belonging, half_of
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Purpose, gumbel, uniform
from aigq_tasks.sources.market.intent.items import usual_products
from aigq_tasks.sources.market.intent.plans import Plan, plans_of
from aigq_tasks.sources.market.intent.rules import (
    CURIOUS,
    CURIOUS_BOUGHT,
    CURIOUS_TYPED,
    INSIDE,
    INTENTS,
    LONGEST_DETOUR,
    ORDER,
)
from aigq_tasks.sources.market.intent.visits import user_ids
from aigq_tasks.sources.market.intent.wording import own_wordings, typed_wordings

SHORTEST_GAP, LONGEST_GAP = 20, 100  # seconds from one step to the next
ASKED_BEFORE = 10  # seconds by which a request inside a session precedes its step


@dataclass(frozen=True)
class Day:
    """sessions: number, household_id, user_id, looking, start, end, one row each, by number.

    steps: session (row of sessions), step (from 0 on), need, typed, bought, product_id, value (0.0
    if not bought), own and today (the household's wording, and what it is about to type; "" where
    nothing is typed), time; by session, then step.

    requests: request_id, session, step (the first that is still to come), household_id, user_id,
    time, turn (which of the household's requests of the day it is, from 0 on); by time, request_id.
    """

    sessions: pd.DataFrame
    steps: pd.DataFrame
    requests: pd.DataFrame


@lru_cache(maxsize=4)
def day_of(day: date, config: IntentConfig, seed: int) -> Day:
    """Replay a day up to what is shown. Whoever gets it must not change it."""
    plans = sorted(plans_of(day, config, seed), key=lambda plan: plan.number)
    steps = _worded(_typed(_steps(plans, seed), plans, seed), plans, config, seed)
    count = steps.groupby("session")["step"].size().reindex(range(len(plans)), fill_value=0)
    gaps = uniform(seed, Purpose.GAP, *_occasion(steps, plans))
    gap = (SHORTEST_GAP + np.floor(gaps * (LONGEST_GAP - SHORTEST_GAP + 1))).astype("m8[s]")
    after = pd.Series(gap).groupby(steps["session"].to_numpy()).cumsum().to_numpy()
    last = np.cumsum(count.to_numpy()) - 1
    start = _starts(plans, after[last] if len(plans) else after, day)
    steps["time"] = (start[steps["session"].to_numpy()] + after).astype("M8[us]")
    household = np.array([plan.household for plan in plans], np.int64)
    sessions = pd.DataFrame(
        {
            "number": np.array([plan.number for plan in plans], np.int64),
            "household_id": household,
            "user_id": user_ids(household, start, config, seed).astype(object),
            "looking": np.array([plan.looking for plan in plans], bool),
            "start": start,
            "end": steps["time"].to_numpy()[last] if len(plans) else start,
        }
    )
    return Day(sessions, steps, requests_of(sessions, steps, seed))


def _starts(
    plans: list[Plan], length: NDArray[np.timedelta64], day: date
) -> "NDArray[np.datetime64]":
    """When each session begins: a visit so that it ends when it is paid, a look at its moment;
    moved where it would leave the day. length: of each session."""
    moment = np.array([plan.moment for plan in plans], "M8[s]")
    looking = np.array([plan.looking for plan in plans], bool)
    low = np.datetime64(day, "s")
    high = low + np.timedelta64(86_399, "s") - length
    return np.maximum(low, np.minimum(high, np.where(looking, moment, moment - length))).astype(
        "M8[us]"
    )


def _steps(plans: list[Plan], seed: int) -> pd.DataFrame:
    """session, step, need, chance (of being typed), bought, product_id, value."""
    rows: list[tuple[int, int, int, float, bool, int, float]] = []
    for session, plan in enumerate(plans):
        rows += [(session, *row) for row in walked(plan, seed)]
    columns = ["session", "step", "need", "chance", "bought", "product_id", "value"]
    whole = dict.fromkeys(("session", "step", "need", "product_id"), "int64")
    kinds = whole | {"chance": "float64", "bought": "bool", "value": "float64"}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def walked(plan: Plan, seed: int) -> list[tuple[int, int, float, bool, int, float]]:
    """The steps of a session: step, need, chance of being typed, bought, product, value."""
    table = belonging(int(half_of(plan.household)))
    detours = curiosity(plan, table, seed)
    steps: list[tuple[int, int, float, bool, int, float]] = []
    for place in order_of(plan, table, seed):
        need, paid = int(plan.needs[place]), float(plan.paid[place])
        known = (float(plan.typed[place]), not plan.looking, int(plan.products[place]), paid)
        steps.append((len(steps), need, *known))
        for aside in detours[place]:
            steps.append((len(steps), aside, *_aside(plan, aside, seed)))
    return steps


def _aside(plan: Plan, need: int, seed: int) -> tuple[float, bool, int, float]:
    """Of a curious step: chance of being typed, bought, product, value."""
    item, bought = (
        float(uniform(seed, purpose, plan.number, need))
        for purpose in (Purpose.ITEM, Purpose.CURIOUS_BOUGHT)
    )
    usual = usual_products().pick(need, item)
    buys = bought < CURIOUS_BOUGHT and not plan.looking
    return CURIOUS_TYPED, buys, usual.product, usual.value if buys else 0.0


def order_of(plan: Plan, table: Belonging, seed: int) -> list[int]:
    """R2: the places of the plan's needs in the order in which they are done. The first is drawn
    evenly, each next one with weight exp(ORDER · PMI+(last, next))."""
    count = len(plan.needs)
    pull = ORDER * table.between(plan.needs)
    noise = gumbel(uniform(seed, Purpose.ORDER, plan.number, np.arange(count)[:, None], plan.needs))
    left = np.ones(count, bool)
    last = int(float(uniform(seed, Purpose.FIRST, plan.number)) * count)
    order = [last]
    left[last] = False
    for turn in range(1, count):
        last = int(np.argmax(np.where(left, pull[last] + noise[turn], -np.inf)))
        order.append(last)
        left[last] = False
    return order


def curiosity(plan: Plan, table: Belonging, seed: int) -> list[list[int]]:
    """R3: what follows each of the plan's needs without being in the plan: with CURIOUS on to a
    neighbour, from there with CURIOUS on again. It ends at a need that comes anyway."""
    taken = set(plan.needs.tolist())
    turns = np.arange(LONGEST_DETOUR)
    goes, where = (
        uniform(seed, purpose, plan.number, plan.needs[:, None], turns)
        for purpose in (Purpose.GO_ON, Purpose.NEIGHBOUR)
    )
    length = np.argmin(np.column_stack([goes < CURIOUS, np.zeros(len(goes), bool)]), axis=1)
    detours: list[list[int]] = [[] for _ in plan.needs]
    for place in np.flatnonzero(length).tolist():
        need = int(plan.needs[place])
        for turn in range(length[place]):
            need = table.neighbour(need, float(where[place, turn]))
            if need < 0 or need in taken:
                break
            taken.add(need)
            detours[place].append(need)
    return detours


def _occasion(
    steps: pd.DataFrame, plans: list[Plan]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the draws of a step go by: the session's number, and the step."""
    number = np.array([plan.number for plan in plans], np.int64)
    return number[steps["session"].to_numpy()], steps["step"].to_numpy()


def _typed(steps: pd.DataFrame, plans: list[Plan], seed: int) -> pd.DataFrame:
    number, _ = _occasion(steps, plans)
    draw = uniform(seed, Purpose.TYPED, number, steps["need"].to_numpy())
    return steps.assign(typed=draw < steps.pop("chance").to_numpy())


def _worded(
    steps: pd.DataFrame, plans: list[Plan], config: IntentConfig, seed: int
) -> pd.DataFrame:
    typed = steps["typed"].to_numpy()
    session = steps["session"].to_numpy()[typed]
    household = np.array([plan.household for plan in plans], np.int64)[session]
    needs = steps["need"].to_numpy()[typed]
    occasion = tuple(key[typed] for key in _occasion(steps, plans))
    intent = INTENTS[config.intent]
    own, today = np.full((2, len(steps)), "", object)
    own[typed] = own_wordings(household, needs, intent, seed)
    today[typed] = typed_wordings(household, needs, (occasion[0], occasion[1]), intent, seed)
    return steps.assign(own=own, today=today)


def requests_of(sessions: pd.DataFrame, steps: pd.DataFrame, seed: int) -> pd.DataFrame:
    """R5: one at the start of each session, and with INSIDE one before each later step."""
    session, step = steps["session"].to_numpy(), steps["step"].to_numpy()
    number = sessions["number"].to_numpy()[session]
    asked = (step == 0) | (uniform(seed, Purpose.REQUEST, number, step) < INSIDE)
    session, step, number = session[asked], step[asked], number[asked]
    before = steps["time"].to_numpy()[asked] - np.timedelta64(ASKED_BEFORE, "s")
    table = pd.DataFrame(
        {
            "request_id": [
                f"r{n}-{k}" for n, k in zip(number.tolist(), step.tolist(), strict=True)
            ],
            "session": session,
            "step": step,
            "household_id": sessions["household_id"].to_numpy()[session],
            "user_id": sessions["user_id"].to_numpy()[session],
            "time": np.where(step == 0, sessions["start"].to_numpy()[session], before),
        }
    ).sort_values(["time", "request_id"], ignore_index=True)
    return table.assign(turn=table.groupby("household_id").cumcount())
