"""Tables as Parquet bytes: the same table gives the same bytes.

The file carries no pandas metadata and no Arrow schema, only Parquet's own types, so any
engine (DuckDB, Spark) reads what pandas reads.
"""

from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def to_parquet(df: pd.DataFrame) -> bytes:
    """Parquet bytes (zstd) of the columns of `df`; the index is not kept.

    Columns: text, numbers, booleans, lists of these, and naive datetimes, which are stored in
    microseconds. ValueError for a named index (data that would be lost), a time zone, or a
    time finer than a microsecond.
    """
    if df.index.names != [None]:
        raise ValueError(f"index {df.index.names} would be lost: reset it into columns")
    for name, dtype in df.dtypes.items():
        if isinstance(dtype, pd.DatetimeTZDtype):
            raise ValueError(f"column '{name}' has a time zone: times are naive UTC")
    table = pa.Table.from_pandas(df, preserve_index=False)
    stored = pa.schema([(field.name, _stored_type(field)) for field in table.schema])
    table = table.cast(stored).combine_chunks()  # how `df` came about must not show in the bytes
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3, store_schema=False)
    return sink.getvalue().to_pybytes()


def from_parquet(data: bytes) -> pd.DataFrame:
    """The table of to_parquet: text as `str`, times as datetime64[us], index 0..n-1."""
    return pq.read_table(pa.BufferReader(data)).to_pandas()


def _stored_type(field: "pa.Field[pa.DataType]") -> pa.DataType:
    if isinstance(field.type, pa.TimestampType):
        return pa.timestamp("us")
    if isinstance(field.type, pa.DictionaryType):  # pandas' category
        return cast("pa.DataType", field.type.value_type)
    return pa.string() if pa.types.is_large_string(field.type) else field.type
