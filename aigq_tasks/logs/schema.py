"""The canonical event log: tables, columns, types, and what makes a row bad.

Times are naive UTC, microseconds. Text is text: it is never a format string, a path or code.
A row that breaks a rule goes to quarantine with the rule's name; the others go on.
"""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

MAX_TEXT = 200
_CONTROL = r"[\x00-\x1f\x7f]"


def _text(longest: int = MAX_TEXT, empty: bool = False) -> pa.Column:
    return pa.Column(
        str,
        [
            pa.Check.str_length(0 if empty else 1, longest, error="length"),
            pa.Check(lambda s: ~s.str.contains(_CONTROL, regex=True), name="control_character"),
        ],
    )


_TIME = np.dtype("datetime64[us]")
_ID = 64

SCHEMAS: dict[str, pa.DataFrameSchema] = {
    "users": pa.DataFrameSchema(
        {
            "user_id": _text(_ID),
            "age": _text(empty=True),
            "income": _text(empty=True),
            "household": _text(empty=True),
        },
        unique=["user_id"],
    ),
    "items": pa.DataFrameSchema(
        {
            "item_id": _text(_ID),
            "title": _text(),
            "category": _text(),
            "product_type": _text(),
            "brand_tier": _text(),
            "size": _text(empty=True),
        },
        unique=["item_id"],
    ),
    "searches": pa.DataFrameSchema(
        {
            "event_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "query": _text(),
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
    "hint_impressions": pa.DataFrameSchema(
        {
            "request_id": _text(_ID),
            "user_id": _text(_ID),
            "time": pa.Column(_TIME),
            "position": pa.Column("int64", pa.Check.isin([1, 2, 3], error="position")),
            "query": _text(),
            "source": _text(_ID),
            "rank_score": pa.Column("float64"),
            "propensity": pa.Column(
                "float64", pa.Check(lambda p: (p > 0) & (p <= 1), name="propensity")
            ),
            "explored": pa.Column("bool"),
            "clicked": pa.Column("bool"),
            "click_time": pa.Column(_TIME, nullable=True),
            "release": pa.Column("int64"),
        },
        checks=pa.Check(
            lambda t: (t["clicked"] == t["click_time"].notna()) & ~(t["click_time"] < t["time"]),
            name="click_time",
        ),
        unique=["request_id", "position"],
    ),
    "hint_rankings": pa.DataFrameSchema(
        {
            "user_id": _text(_ID),
            "rank": pa.Column("int64", pa.Check.ge(1, error="rank")),
            "query": _text(),
            "source": _text(_ID),
            "rank_score": pa.Column("float64"),
        },
        unique=["user_id", "rank"],
    ),
    "late_clicks": pa.DataFrameSchema(
        {
            "request_id": _text(_ID),
            "position": pa.Column("int64", pa.Check.isin([1, 2, 3], error="position")),
            "click_time": pa.Column(_TIME),
        },
        unique=["request_id", "position"],
    ),
}
# Tables whose rows happen at a time: a row of another day does not belong into the partition.
EVENT_TIME = {
    "searches": "time",
    "item_clicks": "time",
    "search_clicks": "time",
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
