"""What is known of users when a day begins, out of what a stage was given."""

from collections.abc import Iterable
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, Shopper, profile_words
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.pipeline.given import Given, Stored

BEHAVIOUR_TABLES = ("searches", "item_clicks", "hint_impressions", "late_clicks")


def history_of(given: Given, name: str) -> pd.DataFrame:
    """The behaviours (see `logs.behaviours`) in the log that was read under that name, items
    called by the texts of the release; by their titles where the stage goes without them."""
    texts = item_texts(given.release("item-texts")) if given.released("item-texts") else {}
    return behaviours(given.logs(name), texts)


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
