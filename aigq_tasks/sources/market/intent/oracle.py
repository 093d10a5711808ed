"""The market's own truth about queries, for reports and logs only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.reading import interpret
from aigq_tasks.sources.market.intent.sessions import day_of
from aigq_tasks.sources.market.intent.wording import match

# need -> (own, today) of each time that it is typed
Wordings = Mapping[int, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class NeedsOfDay:
    """user -> the needs that the user types on a day, with their words; a user who comes and types
    nothing has none."""

    of_users: Mapping[str, Wordings]


@lru_cache(maxsize=8)
def needs_of_day(day: date, config: IntentConfig, seed: int) -> NeedsOfDay:
    """Of everybody who has a session on the day."""
    own = day_of(day, config, seed)
    needs: dict[str, dict[int, tuple[tuple[str, str], ...]]] = {
        user: {} for user in own.sessions["user_id"]
    }
    typed = own.steps[own.steps["typed"]]
    users = own.sessions["user_id"].to_numpy()[typed["session"].to_numpy()].tolist()
    columns = (typed[name].tolist() for name in ("need", "own", "today"))
    for user, need, words, today in zip(users, *columns, strict=True):
        needs[user][need] = (*needs[user].get(need, ()), (words, today))
    return NeedsOfDay(needs)


def needs_met(
    users: Sequence[str], queries: Sequence[str], needs: NeedsOfDay
) -> list[Mapping[str, float]]:
    """`sources.base.Needs`: the chance is how well the query's words match the need (R6), the best
    of the times at which it is typed on the day; what is walked to cannot be met."""
    found: list[Mapping[str, float]] = []
    for user, query in zip(users, queries, strict=True):
        own = needs.of_users.get(user)
        found.append(
            {
                str(need): math.nan if own is None else _best(query, need, own)
                for need in interpret(query)
            }
        )
    return found


def _best(query: str, need: int, own: Wordings) -> float:
    return max((match(query, need, *words) for words in own.get(need, ())), default=0.0)
