"""The same expressions on DuckDB and on Spark give the same tables.

Spark needs the extra `spark` and a Java runtime; without them this is skipped.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pytest

from aigq_tasks.context.queries import normalize
from aigq_tasks.recall.config import X2qConfig
from aigq_tasks.recall.x2q import x2q_entries
from aigq_tasks.samples.labels import direct_candidates, normalized, rerank, think_candidates
from aigq_tasks.samples.sessions import direct_sessions, kept_sessions, think_sessions

pytestmark = pytest.mark.integration

DAY = "2017-11-06"
USERS = [f"h{n}" for n in range(200)] + ["Ünal", "", "用户"]
HELD_OUT = set(USERS[::3])
# Pairs that differ only before normalising; letters whose lower case is longer, or ASCII, or
# depends on their place; texts of which nothing remains.
WORDS = ("Milk ", "milk", "MILK!", "crème BRÛLÉE", "creme brulee", "İstanbul", "istanbul", "\u212a")
WORDS += (
    "ΑΣ Σ tea",
    "  a\t b  ",
    "",
    "?!",
    "牛奶",
    "\U0001f600 jam",
    "straße",
    "ẞ 7",
    "a'b\"c\\d%",
)
QUERIES = [*WORDS, *(f"thing {n}" for n in range(40)), *(f"Thing  {n}!" for n in range(0, 40, 2))]
Tables = dict[str, ir.Table]


def log(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """One day of log tables, model proposals and x2q input, rows in no order, with many ties:
    times in whole minutes of three hours, few places, whole duplicates of what is searched."""

    def users(size: int, skip: int = 0) -> np.ndarray:
        return np.array(USERS, object)[rng.integers(len(USERS) - skip, size=size)]

    def queries(size: int) -> np.ndarray:
        return np.array(QUERIES, object)[rng.integers(len(QUERIES), size=size)]

    def times(size: int) -> np.ndarray:
        minutes = rng.integers(180, size=size).astype("m8[m]")
        return (np.datetime64(f"{DAY}T21:00", "us") + minutes).astype("M8[us]")

    requests = pd.DataFrame({"user_id": users(900), "time": times(900)})
    requests["request_id"] = [f"r{n}" for n in rng.permutation(900)]
    shown = requests.loc[requests.index.repeat(3)].reset_index(drop=True)
    clicked = (rng.random(2_700) < 0.12) & ~shown["user_id"].isin(USERS[:30])
    tied = {"user_id": users(4_000, skip=3), "trigger": queries(4_000), "query": queries(4_000)}
    known = np.array(sorted({*QUERIES}), object)[::2]  # the others were never seen
    tables = {
        "impressions": shown.assign(
            position=np.tile([1, 2, 3], 900), query=queries(2_700), clicked=clicked
        ),
        "searches": pd.DataFrame(
            {
                "event_id": [f"s{n}" for n in rng.permutation(600)],
                "user_id": users(600, skip=60),
                "time": times(600),
                "query": queries(600),
            }
        ),
        "item_clicks": pd.DataFrame({"user_id": users(800), "time": times(800)}),
        "rankings": pd.DataFrame(
            {
                "request_id": requests["request_id"].repeat(10).to_numpy(),
                "user_id": requests["user_id"].repeat(10).to_numpy(),
                "rank": np.tile(np.arange(1, 11), 900),
                "query": queries(9_000),
            }
        ),
        "generated": pd.DataFrame(
            {"user_id": users(900), "place": rng.integers(1, 9, 900), "query": queries(900)}
        ),
        "ties": pd.DataFrame(tied | {"place": rng.integers(1, 40, 4_000)}),
        "signals": pd.DataFrame(
            {
                "query": known,
                "views": rng.integers(0, 5, len(known)) * rng.integers(0, 900, len(known)),
                "ctr": rng.random(len(known)) ** 3,
            }
        ),
        "unseen": pd.DataFrame({"query": known, "views": 0, "ctr": 0.0}),
        "texts": pd.DataFrame({"text": QUERIES}),
    }
    return {name: rows.sample(frac=1, random_state=0) for name, rows in tables.items()}


def direct_heads(t: Tables) -> ir.Table:
    return kept_sessions(direct_sessions(t["impressions"]), HELD_OUT)


def think_heads(t: Tables) -> ir.Table:
    found = think_sessions(t["impressions"], t["searches"], t["item_clicks"], DAY)
    return kept_sessions(found, HELD_OUT)


def direct_labels(t: Tables) -> ir.Table:
    return rerank(direct_candidates(direct_heads(t), t["impressions"], t["rankings"]), 12)


def think_labels(t: Tables) -> ir.Table:
    own = t["impressions"], t["searches"], t["rankings"], t["generated"]
    return rerank(think_candidates(think_heads(t), *own), 30)


EXPRESSIONS: dict[str, Callable[[Tables], ir.Table]] = {
    "direct sessions": direct_heads,
    "direct labels": direct_labels,
    "think sessions": think_heads,
    "nobody held out": lambda t: kept_sessions(direct_sessions(t["impressions"]), set()),
    "think labels": think_labels,
    "x2q": lambda t: x2q_entries(t["ties"], t["signals"], X2qConfig()),
    "x2q, whole lists": lambda t: x2q_entries(t["ties"], t["signals"], X2qConfig(depth=10_000)),
    "x2q, nothing seen": lambda t: x2q_entries(t["ties"], t["unseen"], X2qConfig(gamma=0.5)),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The log as Parquet, as both engines read it at any scale."""
    folder = tmp_path_factory.mktemp("log")
    paths = {}
    for name, rows in log(np.random.default_rng(7)).items():
        paths[name] = folder / f"{name}.parquet"
        rows.to_parquet(paths[name], index=False)
    return paths


@pytest.fixture(scope="module")
def duckdb_tables(files: dict[str, Path]) -> Tables:
    connection = ibis.duckdb.connect()
    return {name: connection.read_parquet(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ibis on a local Spark: loopback only, no UI, everything it writes in a temporary folder."""
    pyspark = pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("no Java runtime")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    options = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder / "scratch"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "3",
    }
    builder = SparkSession.builder.master("local[2]").appName("aigq-test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = builder.config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    assert session.conf.get("spark.sql.ansi.enabled") == "true", pyspark.__version__
    yield ibis.pyspark.connect(session)
    session.stop()


@pytest.fixture(scope="module")
def spark_tables(spark: Any, files: dict[str, Path]) -> Tables:
    return {name: spark.read_parquet(str(path)) for name, path in files.items()}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_duckdb_and_spark_agree(name: str, duckdb_tables: Tables, spark_tables: Tables) -> None:
    ours, theirs = (EXPRESSIONS[name](t).to_pandas() for t in (duckdb_tables, spark_tables))
    if "time" in theirs:  # Ibis hands over Spark's times in nanoseconds, DuckDB's as they are
        theirs["time"] = theirs["time"].astype(ours["time"].dtype)
    assert len(ours) > 50
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("name", ["direct labels", "think labels", "x2q"])
def test_tables_in_memory_agree_too(name: str, spark: Any, files: dict[str, Path]) -> None:
    """As the stages run them: pandas frames in; here with nobody searching or proposed to."""
    frames = {key: pd.read_parquet(path) for key, path in files.items()}
    none = {key: frames[key].head(0) for key in ("searches", "generated", "signals")}
    expression = EXPRESSIONS[name](
        {key: ibis.memtable(frame) for key, frame in (frames | none).items()}
    )
    ours, theirs = ibis.duckdb.connect().to_pandas(expression), spark.to_pandas(expression)
    assert len(ours) > 50
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("engine", ["duckdb_tables", "spark_tables"])
def test_normalized_is_normalize(engine: str, request: pytest.FixtureRequest) -> None:
    texts = request.getfixturevalue(engine)["texts"]
    found = texts.select("text", out=normalized(texts.text)).to_pandas()
    assert found["out"].tolist() == [normalize(text) for text in found["text"]]
