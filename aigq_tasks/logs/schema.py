"""The canonical event log: tables, columns, types, and what makes a row bad.

Times are naive UTC, microseconds. Text is text: it is never a format string, a path or code.
What is known of users and items stands in one column of free attributes, which the source words
(see `context.attributes`). Positions of hints count from 1; how many a page has, the log tells.
A row that breaks a rule goes to quarantine with the rule's name; the others go on.
"""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

MAX_TEXT = 200
MAX_ATTRIBUTES = 400  # of all parts together
# C0, DEL, C1, line and paragraph separators, and what turns the direction of text around.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
# A tag or an entity. Nobody shops for one, and the tokens of a prompt are tags.
_MARKUP = r"<[/!?a-zA-Z|][^>]*>?|&#?\w+;"
# Statements, not words: "drop leaf table" and "union jack" are things to buy.
_SQL = (
    r"(?i)\bunion\s+(?:all\s+)?select\b|\bselect\s+\*\s+from\b|\b(?:insert\s+into|delete\s+from)\b"
    r"|\b(?:drop|alter|truncate)\s+table\b|['\"]\s*(?:or|and)\b.*=|['\"]\s*;|--\s*$"
)


def _text(longest: int = MAX_TEXT, empty: bool = False) -> pa.Column:
    return pa.Column(str, _text_checks(longest, empty))


def _text_checks(longest: int, empty: bool) -> list[pa.Check]:
    return [
        pa.Check.str_length(0 if empty else 1, longest, error="length"),
        _without("control_character", _CONTROL, longest),
    ]


def _without(name: str, pattern: str, longest: int = MAX_TEXT) -> pa.Check:
    """Looks at the beginning only: what is longer breaks the rule of length already."""
    return pa.Check(
        lambda texts: ~texts.str.slice(0, longest).str.contains(pattern, regex=True), name=name
    )


def _query() -> pa.Column:
    checks = [_without("markup", _MARKUP), _without("sql", _SQL)]
    return pa.Column(str, _text_checks(MAX_TEXT, empty=False) + checks)


def _attributes() -> pa.Column:
    return _text(MAX_ATTRIBUTES, empty=True)


def _position() -> pa.Column:
    return pa.Column("int64", pa.Check.ge(1, error="position"))


_TIME = np.dtype("datetime64[us]")
_ID = 64

SCHEMAS: dict[str, pa.DataFrameSchema] = {
    "users": pa.DataFrameSchema(
        {
            "user_id": _text(_ID),
            "attributes": _attributes(),
        },
        unique=["user_id"],
    ),
    "items": pa.DataFrameSchema(
        {
            "item_id": _text(_ID),
            "title": _text(),
            "category": _text(),
            "attributes": _attributes(),
        },
        unique=["item_id"],
    ),
    "searches": pa.DataFrameSchema(
        {
            "event_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "query": _query(),
        },
        unique=["event_id"],
    ),
    "item_clicks": pa.DataFrameSchema(
        {
            "event_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "item_id": _text(_ID),
            "title": _text(),
        },
        unique=["event_id"],
    ),
    "search_clicks": pa.DataFrameSchema(  # event_id: that of the search
        {
            "event_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "item_id": _text(_ID),
        },
        unique=["event_id", "item_id"],
    ),
    "orders": pa.DataFrameSchema(  # one row per item; value: what was paid for it
        {
            "order_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "item_id": _text(_ID),
            "value": pa.Column(
                "float64", pa.Check(lambda v: (v >= 0) & np.isfinite(v), name="value")
            ),
        },
        unique=["order_id", "item_id"],
    ),
    "hint_impressions": pa.DataFrameSchema(
        {
            "request_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "position": _position(),
            "query": _query(),
            "source": _text(_ID),
            "rank_score": pa.Column("float64", pa.Check(np.isfinite, name="rank_score")),
            "propensity": pa.Column(
                "float64", pa.Check(lambda p: (p > 0) & (p <= 1), name="propensity")
            ),
            "explored": pa.Column("bool"),
            "clicked": pa.Column("bool"),
            "click_time": pa.Column(_TIME, nullable=True),
            "release": _text(_ID),  # which models served: `storage.ledger.Entry.served`
        },
        checks=[
            pa.Check(
                lambda t: (
                    (t["clicked"] == t["click_time"].notna()) & ~(t["click_time"] < t["time"])
                ),
                name="click_time",
            ),
            # What is clicked after midnight is a late click of the next day.
            pa.Check(
                lambda t: ~(t["click_time"].dt.floor("D") > t["time"].dt.floor("D")),
                name="future",
            ),
        ],
        unique=["request_id", "position"],
    ),
    "hint_rankings": pa.DataFrameSchema(
        {
            "request_id": _text(_ID),
            "user_id": _text(_ID),
            "rank": pa.Column("int64", pa.Check.ge(1, error="rank")),
            "query": _query(),
            "source": _text(_ID),
            "rank_score": pa.Column("float64", pa.Check(np.isfinite, name="rank_score")),
        },
        unique=["request_id", "rank"],
    ),
    "late_clicks": pa.DataFrameSchema(
        {
            "request_id": _text(_ID),
            "position": _position(),
            "click_time": pa.Column(_TIME),
        },
        unique=["request_id", "position"],
    ),
}
# Tables whose rows stand for another row: (columns of the other, why a row without it is bad).
REFERS_TO = {
    "late_clicks": (["request_id", "position"], "no_impression"),
    "search_clicks": (["event_id"], "no_search"),
}
# Tables whose rows happen at a time: a row of another day does not belong into the partition.
EVENT_TIME = {
    "searches": "time",
    "item_clicks": "time",
    "search_clicks": "time",
    "orders": "time",
    "hint_impressions": "time",
    "late_clicks": "click_time",
}


def empty(table: str) -> pd.DataFrame:
    """A frame of no rows with the columns and types of a table."""
    columns: dict[str, Any] = SCHEMAS[table].columns
    kinds = {name: str(column.dtype) for name, column in columns.items()}
    for name, kind in kinds.items():
        if kind.startswith("string"):
            kinds[name] = "str"
        elif kind.startswith("datetime64"):
            kinds[name] = "datetime64[us]"  # pandera reports nanoseconds whatever it was given
    return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in kinds.items()})
