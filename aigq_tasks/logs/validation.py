"""Split landed rows into good ones and quarantine, with counts and reasons."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import EVENT_TIME, SCHEMAS, empty


@dataclass(frozen=True)
class Checked:
    """good: the rows that keep every rule, in their order. bad: the rows that break one, as
    text, with `reason` (the first rule broken). reasons: rule -> rows."""

    good: pd.DataFrame
    bad: pd.DataFrame
    reasons: dict[str, int]


def check_rows(table: str, rows: pd.DataFrame, day: date) -> Checked:
    """Check one table of a day against its schema.

    A missing column is not a bad row but a broken source: AigqError names it. Duplicate keys
    keep the first row. A row whose time is not on `day` is quarantined as "other_day".
    """
    schema = SCHEMAS[table]
    absent = [column for column in schema.columns if column not in rows]
    if absent:
        raise AigqError(f"table {table} of {day} lacks the columns {', '.join(absent)}")
    if rows.empty:
        return Checked(empty(table), empty(table).assign(reason=""), {})
    rows = _canonical_types(rows[list(schema.columns)].reset_index(drop=True))
    reasons = pd.Series("", index=rows.index, dtype=object)
    _note(reasons, _other_day(table, rows, day), "other_day")
    for index, reason in _schema_failures(schema, rows):
        _note(reasons, rows.index == index, reason)
    unique = list(schema.unique or [])
    if unique:  # last: a bad row must not take the good one with the same key along
        left = rows[reasons == ""]
        again = left.index[left.duplicated(unique)]
        _note(reasons, pd.Series(rows.index.isin(again), index=rows.index), "duplicate")
    bad = reasons != ""
    counts = reasons[bad].value_counts().sort_index()
    quarantined = rows[bad].astype(str).assign(reason=reasons[bad])
    good = schema.coerce_dtype(rows[~bad].reset_index(drop=True)) if bad.any() else rows
    by_reason = {str(reason): int(n) for reason, n in counts.items()}
    return Checked(good, quarantined.reset_index(drop=True), by_reason)


def _canonical_types(rows: pd.DataFrame) -> pd.DataFrame:
    """One string type (pandas has several) and microseconds, wherever a column came from."""
    kinds = {name: "str" for name in rows if isinstance(rows[name].dtype, pd.StringDtype)}
    times = [name for name in rows if pd.api.types.is_datetime64_dtype(rows[name].dtype)]
    return rows.astype(kinds | dict.fromkeys(times, "datetime64[us]"))


def _note(reasons: pd.Series, rows: pd.Series | np.ndarray, reason: str) -> None:
    reasons[rows & (reasons == "")] = reason


def _other_day(table: str, rows: pd.DataFrame, day: date) -> pd.Series:
    if table not in EVENT_TIME:
        return pd.Series(False, index=rows.index)
    times = pd.to_datetime(rows[EVENT_TIME[table]], errors="coerce")
    return times.dt.floor("D") != pd.Timestamp(day)


def _schema_failures(schema: pa.DataFrameSchema, rows: pd.DataFrame) -> list[tuple[int, str]]:
    """(row number, rule) of every broken rule; uniqueness is checked before, once."""
    try:
        pa.DataFrameSchema(schema.columns, schema.checks).validate(rows, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        whole = cases[cases["index"].isna()]
        if len(whole):
            first = whole.iloc[0]
            raise AigqError(
                f"column {first['column']} has a wrong type: {first['check']}"
            ) from None
        return [(int(i), str(c)) for i, c in zip(cases["index"], cases["check"], strict=True)]
    return []
