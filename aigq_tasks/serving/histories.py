"""What is known of users when a day begins, out of what a stage was given."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, Shopper, profile_words
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import OF_RELEASE

ITEM_TEXTS = f"{OF_RELEASE}item-texts"
BEHAVIOUR_TABLES = ("searches", "item_clicks", "hint_impressions", "late_clicks")


@dataclass(frozen=True)
class _Window:
    """A log of several days and what items are called in it. Equal digests are the same data."""

    log: str
    texts: str
    given: Given = field(compare=False)
    name: str = field(compare=False)


def history_of(given: Given, name: str) -> pd.DataFrame:
    """The behaviours (see `logs.behaviours`) in the log that was read under that name, items
    called by the texts of the release; by their titles where the stage goes without them.

    Who asks for the same again, as every arm of a study does, gets the same frame: do not write
    to it."""
    texts = given.digest(ITEM_TEXTS) if given.has(ITEM_TEXTS) else ""
    return _behaviours(_Window(given.digest(f"logs: {name}"), texts, given, name))


@lru_cache(maxsize=2)
def _behaviours(window: _Window) -> pd.DataFrame:
    texts = item_texts(window.given.result(ITEM_TEXTS)) if window.texts else {}
    return behaviours(window.given.logs(window.name), texts)


def item_texts(stored: Stored) -> dict[str, str]:
    """item_id -> what shoppers call the item, of one `item-texts` result."""
    rows = stored.table("item_texts")
    return dict(zip(rows["item_id"], rows["text"], strict=True))


def latest_profiles(users: pd.DataFrame) -> pd.DataFrame:
    """One row per user of a log of several days; the latest day's attributes win."""
    unique = users.drop_duplicates("user_id", keep="last")
    return unique.sort_values("user_id", ignore_index=True)


def shoppers_at(
    users: Iterable[str], profiles: pd.DataFrame, history: pd.DataFrame, now: date, lines: int
) -> list[Shopper]:
    """The users in sorted order, from the behaviours before the start of the day `now`; at most so
    many history lines each. profiles: user_id, attributes."""
    words, histories = profile_words(profiles), Histories.of(history)
    moment = np.datetime64(now, "us")
    return [
        histories.shopper(user, words.get(user, ""), moment, lines) for user in sorted(set(users))
    ]
