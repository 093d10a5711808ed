"""Split landed rows into good ones and quarantine, with counts and reasons."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import EVENT_TIME, REFERS_TO, SCHEMAS, empty


@dataclass(frozen=True)
class Checked:
    """good: the rows that keep every rule, in their order. bad: the rows that break one, as
    text, with `reason` (the first rule broken). reasons: rule -> rows."""

    good: pd.DataFrame
    bad: pd.DataFrame
    reasons: dict[str, int]


def check_rows(
    table: str, rows: pd.DataFrame, day: date, known: pd.DataFrame | None = None
) -> Checked:
    """Check one table of a day against its schema. Every row is in `good` or in `bad`.

    A missing column is not a bad row but a broken source: AigqError names it. A value of another
    type is "wrong_type", none where there must be one "missing". Of an event the time must be on
    `day`: later is "future", earlier "other_day". Duplicate keys keep the first good row.
    known: the rows that those of a table in REFERS_TO may refer to; None: not asked.
    """
    schema = SCHEMAS[table]
    absent = [column for column in schema.columns if column not in rows]
    if absent:
        raise AigqError(f"table {table} of {day} lacks the columns {', '.join(absent)}")
    given = rows[list(schema.columns)].reset_index(drop=True)
    reasons = pd.Series("", index=given.index, dtype=object)
    for column in given:
        found = _untyped(given[column], str(empty(table)[column].dtype))
        if schema.columns[column].nullable:
            found[found == "missing"] = ""
        _note(reasons, found != "", found)
    typed = given[reasons == ""].astype(empty(table).dtypes)
    _note(reasons, *_other_days(table, typed, day))
    for index, reason in _schema_failures(schema, typed):
        if not reasons[index]:
            reasons[index] = reason
    if known is not None:
        keys, reason = REFERS_TO[table]
        alone = ~_pairs(typed, keys).isin(_pairs(known, keys))
        _note(reasons, pd.Series(alone, typed.index), reason)
    if schema.unique:  # last: a bad row must not take the good one with the same key along
        left = typed[reasons[typed.index] == ""]
        _note(reasons, left.duplicated(list(schema.unique)), "duplicate")
    bad = reasons != ""
    texts = given[bad].map(_as_text).assign(reason=reasons[bad]).astype("str")
    counts = reasons[bad].value_counts().sort_index()
    return Checked(
        typed[~bad[typed.index]].reset_index(drop=True),
        texts.reset_index(drop=True),
        {str(reason): int(n) for reason, n in counts.items()},
    )


def _note(reasons: pd.Series, rows: pd.Series, reason: "str | pd.Series") -> None:
    """Write the reason of those `rows` (bool, by index, of some of them) that have none yet."""
    index = rows.index[rows & (reasons[rows.index] == "")]
    reasons[index] = reason if isinstance(reason, str) else reason[index]


def _untyped(values: pd.Series, wanted: str) -> pd.Series:
    """For each value of a column that should be of a type: "wrong_type", "missing" or ""."""
    fits: dict[str, Callable[[Any], bool]] = {
        "str": _is_text,
        "bool": lambda value: isinstance(value, (bool, np.bool_)),
        "int64": _is_integer,
        "float64": _is_number,
        "datetime64[us]": lambda value: isinstance(value, datetime) and value.tzinfo is None,
    }
    found = pd.Series("", index=values.index, dtype=object)
    if str(values.dtype) != wanted:
        found[[not fits[wanted](value) for value in values]] = "wrong_type"
    found[values.isna()] = "missing"
    return found


def _is_text(value: Any) -> bool:
    """Text that can be stored: a lone surrogate cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    """A whole number of 64 bits; a float too, for one missing value makes floats of a column."""
    return _is_number(value) and value == value // 1 and abs(value) < 2**63


def _other_days(table: str, rows: pd.DataFrame, day: date) -> tuple[pd.Series, "str | pd.Series"]:
    if table not in EVENT_TIME:
        return pd.Series(False, index=rows.index), ""
    days = rows[EVENT_TIME[table]].dt.floor("D")
    today = pd.Timestamp(day)
    reason = pd.Series(np.where(days > today, "future", "other_day"), rows.index, dtype=object)
    return days != today, reason


def _pairs(rows: pd.DataFrame, keys: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[keys])


def _schema_failures(schema: pa.DataFrameSchema, rows: pd.DataFrame) -> list[tuple[int, str]]:
    """(row number, rule) of every broken rule; types and uniqueness are checked apart."""
    try:
        pa.DataFrameSchema(schema.columns, schema.checks).validate(rows, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        return [(int(i), str(c)) for i, c in zip(cases["index"], cases["check"], strict=True)]
    return []


def _as_text(value: Any) -> str:
    """Any value as text that can be stored, nothing of it lost."""
    return str(value).encode(errors="backslashreplace").decode()
