"""The engine that Ibis expressions run on: DuckDB, or Spark where the extra is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from aigq_tasks.errors import AigqError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

EngineName = Literal["duckdb", "spark"]
Execute = Callable[["ir.Table"], "pd.DataFrame"]


@contextmanager
def engine(name: EngineName) -> Iterator[Execute]:
    """Yields what runs an expression over in-memory tables; both engines give equal frames.

    AigqError if Spark is asked for and not installed."""
    connection = _spark() if name == "spark" else _duckdb()
    try:
        yield lambda table: _in_microseconds(connection.to_pandas(table))
    finally:
        connection.disconnect()


def _in_microseconds(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Times as the log has them; Spark hands them back in nanoseconds."""
    times = frame.select_dtypes("datetime")
    return frame.astype(dict.fromkeys(times.columns, "datetime64[us]"))


def _duckdb() -> Any:
    import ibis  # half a second: not with the command

    return ibis.duckdb.connect()


# Where Spark's own settings (spark-defaults.conf, spark-submit) say nothing: this machine, and
# nothing that listens to others.
LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}


def _spark() -> Any:
    try:
        from pyspark import SparkConf
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise AigqError(
            "engine spark needs the package pyspark and a Java runtime; "
            "install it with: pip install 'aigq[spark]'"
        ) from error
    import ibis

    conf = SparkConf()
    if not conf.contains("spark.master"):
        for key, value in LOCAL.items():
            conf.setIfMissing(key, value)
    conf.set("spark.sql.session.timeZone", "UTC")
    return ibis.pyspark.connect(SparkSession.builder.config(conf=conf).getOrCreate())
