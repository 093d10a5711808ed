"""The logs in integer columns: users, phrases, words and categories coded once.

Many snapshots (one per training day) share one `EventLog`.  Coding is in alphabetical order and
events are sorted by (time, user, content, ...), so nothing downstream depends on the row order of
the tables, and later rows never change what is computed from earlier ones.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ctr_model.columns import Bools, Ints, Ragged

Categories = Callable[[str], str]

BEHAVIOUR_COLUMNS = ("user_id", "time", "kind", "content")
IMPRESSION_COLUMNS = ("user_id", "time", "position", "query", "clicked", "click_time")
DAY_US = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Behaviours:
    """Searches, item clicks and hint clicks in time order; `time` in microseconds."""

    time: Ints
    user: Ints
    content: Ints
    search: Bools


@dataclass(frozen=True)
class Impressions:
    """Hints shown, in time order; `click_time` is the hint's own time where none was logged."""

    time: Ints
    user: Ints
    content: Ints
    position: Ints
    clicked: Bools
    click_time: Ints


@dataclass(frozen=True)
class EventLog:
    """Coded logs.  A category code of -1 means that the phrase has none."""

    users: dict[str, int]
    contents: dict[str, int]
    tokens: dict[str, int]
    categories: dict[str, int]
    content_tokens: Ragged
    content_category: Ints
    categorise: Categories | None
    behaviours: Behaviours
    impressions: Impressions

    @classmethod
    def of(
        cls,
        behaviours: pd.DataFrame,
        impressions: pd.DataFrame,
        categories: Categories | None = None,
    ) -> "EventLog":
        """Code both tables (columns as in the log contract).  ValueError on a missing column."""
        _require(behaviours, BEHAVIOUR_COLUMNS, "behaviours")
        _require(impressions, IMPRESSION_COLUMNS, "impressions")
        n = len(behaviours)
        user, user_names = _code(behaviours["user_id"], impressions["user_id"])
        content, texts = _code(behaviours["content"], impressions["query"])
        words = [list(dict.fromkeys(text.split())) for text in texts]
        tokens = _numbered(word for row in words for word in row)
        labels = [categories(text) if categories else "" for text in texts]
        names = _numbered(label for label in labels if label)
        return cls(
            users={name: i for i, name in enumerate(user_names)},
            contents={text: i for i, text in enumerate(texts)},
            tokens=tokens,
            categories=names,
            content_tokens=Ragged.of([[tokens[word] for word in row] for row in words]),
            content_category=np.array([names.get(x, -1) for x in labels], np.int64),
            categorise=categories,
            behaviours=_behaviours(behaviours, user[:n], content[:n]),
            impressions=_impressions(impressions, user[n:], content[n:]),
        )

    def user_codes(self, user_ids: Sequence[str]) -> Ints:
        """int64 (n,): code of each user, -1 for one the logs do not know."""
        return np.array([self.users.get(user, -1) for user in user_ids], np.int64)

    def category_code(self, query: str) -> int:
        """Code of the query's category, -1 when it has none or nobody was seen in it."""
        return self.categories.get(self.categorise(query), -1) if self.categorise else -1


def microseconds(times: "pd.Series[pd.Timestamp]") -> Ints:
    """int64 microseconds since 1970; NaT becomes the smallest int64."""
    return times.to_numpy("datetime64[us]").astype(np.int64)


def _require(table: pd.DataFrame, columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{name} lack the columns {', '.join(missing)}")


def _code(first: "pd.Series[str]", second: "pd.Series[str]") -> tuple[Ints, list[str]]:
    both = pd.concat([first, second], ignore_index=True)
    codes, names = pd.factorize(both, sort=True)
    if (codes < 0).any():
        raise ValueError(f"{first.name} has null values; drop those rows")
    return codes.astype(np.int64), [str(name) for name in names]


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted(set(names)))}


def _behaviours(table: pd.DataFrame, user: Ints, content: Ints) -> Behaviours:
    time = microseconds(table["time"])
    search = (table["kind"] == "search").to_numpy(bool)
    order = np.lexsort((search, content, user, time))
    return Behaviours(time[order], user[order], content[order], search[order])


def _impressions(table: pd.DataFrame, user: Ints, content: Ints) -> Impressions:
    time = microseconds(table["time"])
    position = table["position"].to_numpy(np.int64)
    clicked = table["clicked"].to_numpy(bool)
    click_time = np.maximum(microseconds(table["click_time"]), time)
    order = np.lexsort((click_time, clicked, position, content, user, time))
    return Impressions(
        time[order],
        user[order],
        content[order],
        position[order],
        clicked[order],
        click_time[order],
    )
