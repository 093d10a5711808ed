"""Parquet bytes: equal tables give equal bytes, and no column changes its meaning."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.storage.tables import from_parquet, to_parquet

TIMES = st.datetimes(
    min_value=pd.Timestamp("1970-01-01").to_pydatetime(),
    max_value=pd.Timestamp("2100-01-01").to_pydatetime(),
)
ROWS = st.lists(
    st.tuples(
        st.none() | st.text(max_size=8),
        st.none() | TIMES,
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
        st.lists(st.text(max_size=3), max_size=3),
    ),
    max_size=20,
)


def log_table(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    columns = ["query", "time", "position", "score", "clicked", "labels"]
    types = {"query": "str", "time": "datetime64[us]", "position": "int64", "score": "float64"}
    return pd.DataFrame(rows, columns=columns).astype({**types, "clicked": "bool"})


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_round_trip_keeps_values_and_types(rows: list[tuple[object, ...]]) -> None:
    df = log_table(rows)
    back = from_parquet(to_parquet(df))
    assert back.drop(columns="labels").equals(df.drop(columns="labels"))
    assert [list(labels) for labels in back["labels"]] == list(df["labels"])
    assert dict(back.dtypes) == dict(df.dtypes)
    assert to_parquet(back) == to_parquet(df)


def test_bytes_do_not_show_how_the_table_came_about() -> None:
    # 50,000 distinct texts overflow Parquet's dictionary page: from there on the pages follow
    # the chunks of the column, and concat leaves a chunk per part.
    names = pd.Series([hashlib.sha256(b"%d" % n).hexdigest() for n in range(50_000)])
    whole = pd.DataFrame({"user_id": names})
    parts = pd.concat([whole[:77], whole[77:30_001], whole[30_001:]])
    assert to_parquet(parts) == to_parquet(whole)
    assert to_parquet(parts.set_axis(range(5, 50_005))) == to_parquet(whole)


def test_text_in_any_clothes_gives_the_same_bytes() -> None:
    plain = pd.DataFrame({"source": pd.Series(["u2q", "ebr", "u2q"], dtype="str")})
    for dtype in ("object", "category", "string"):
        assert to_parquet(plain.astype(dtype)) == to_parquet(plain)


def test_times_are_microseconds_whatever_the_unit() -> None:
    times = pd.DataFrame({"time": pd.to_datetime(["2017-11-06 10:00:00.000001", "NaT"])})
    finer = times.astype("datetime64[ns]")
    assert to_parquet(finer) == to_parquet(times)
    assert from_parquet(to_parquet(finer))["time"].dtype == np.dtype("datetime64[us]")


def test_the_file_holds_parquet_types_only() -> None:
    metadata = pq.read_metadata(pa.BufferReader(to_parquet(log_table([]))))
    assert metadata.metadata is None  # neither b"pandas" nor b"ARROW:schema"
    time = metadata.schema.to_arrow_schema().field("time")
    assert time.type == pa.timestamp("us")


def test_zstd_is_used() -> None:
    data = to_parquet(pd.DataFrame({"a": [1, 2]}))
    assert pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0).compression == "ZSTD"


def test_what_would_be_lost_is_refused() -> None:
    with pytest.raises(ValueError, match="index"):
        to_parquet(pd.DataFrame({"a": [1]}, index=pd.Index([7], name="user_id")))
    with pytest.raises(ValueError, match="time zone"):
        to_parquet(pd.DataFrame({"time": pd.to_datetime(["2017-11-06"], utc=True)}))
    with pytest.raises(ValueError, match="lose data"):
        to_parquet(pd.DataFrame({"time": pd.to_datetime(["2017-11-06T00:00:00.000000001"])}))
