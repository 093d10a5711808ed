"""Cost per visit of sample construction and of the x2q aggregation, in a market of 1x, 10x, 100x.

    python benchmarks/bench_samples_scale.py [--sizes 1 10 100] [--engines duckdb pandas spark]

One day of the replayed market gives searches and item clicks. Its users get synthetic requests
(7 on average, three hints and a ranking of 30 queries each, one hint in twelve clicked), 8 proposed
queries and 100 x2q ties. A market of 10x holds every household ten times: each copy under new ids,
its times moved by up to an hour; ties are drawn anew for every copy, for other users reason
otherwise. A visit is a user-day. All of it is written to a temporary folder as Parquet.

Job `samples` writes the Direct and the Think sessions and their re-ranked labels to Parquet, half
of the users held out; job `x2q` writes the index. Every job runs in a fresh process. Time starts
when the imports are done and the connection (for Spark: the JVM) is up. CPU time and memory are
those of the process and its children. Peak memory is that of the whole process; what it held
before the job is printed beside it, for at 1x and 10x that is most of it. DuckDB's memory and
threads are not bounded: its default limit is far above what it takes here, and one thread in
place of two took a tenth less memory (--threads).

The requirement: per visit, time and peak memory at 100x are at most 1.5 times those at 10x. The
pandas job is written here only, to compare with; Spark needs the extra `spark` and Java.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from aigq_tasks.recall.config import X2qConfig
from aigq_tasks.recall.x2q import x2q_entries
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.samples.labels import direct_candidates, rerank, think_candidates
from aigq_tasks.samples.sessions import direct_sessions, kept_sessions, think_sessions
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.visits import searches_and_clicks, visits_between

Frames = dict[str, pd.DataFrame]
REQUESTS, CLICKS, RANKED, PROPOSED, TIES = 7, 1 / 12, 30, 8, 100  # per user; share of hints
DIRECT_LABELS, THINK_LABELS, HOLDOUT = 20, 30, 0.5  # as in the default settings
TOGETHER = 10  # copies of the market per row group of the Parquet files
MOST = 1.5  # the requirement
IDS = ("user_id", "event_id", "request_id")
NOT_WRITTEN = ("x2q", "pandas")
HEAD = (
    f"{'job':8}{'engine':8}{'size':>6}{'visits':>8}{'s':>8}{'CPU s':>8}{'µs/visit':>10}"
    f"{'MiB before':>12}{'MiB peak':>10}{'KiB/visit':>11}"
)


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds of wall and CPU time, MiB of peak memory, MiB held before the job."""

    wall: float
    cpu: float
    peak: float
    start: float


def market(day: date, seed: int, households: int) -> Frames:
    """The log tables of a day at 1x, and `users`, `signals` (query, views, ctr)."""
    config, rng = MarketConfig(households=households), np.random.default_rng(seed)
    searches, clicks = searches_and_clicks(visits_between(day, day, config, seed), config, seed)
    users = np.unique(np.concatenate([searches["user_id"], clicks["user_id"]]).astype(str))
    phrases = np.unique(np.concatenate([searches["query"], clicks["title"]]).astype(str))
    return {
        "searches": searches[["event_id", "user_id", "time", "query"]],
        "item_clicks": clicks[["user_id", "time"]],
        **synthetic(rng, users, phrases, day),
    }


def synthetic(
    rng: np.random.Generator, users: np.ndarray, phrases: np.ndarray, day: date
) -> Frames:
    """`users`, `impressions`, `rankings`, `generated` and `signals`, queries out of phrases."""
    requests = pd.DataFrame({"user_id": np.repeat(users, rng.poisson(REQUESTS, len(users)))})
    requests["request_id"] = [f"r{n}" for n in range(len(requests))]
    requests["time"] = np.datetime64(day, "us") + rng.integers(0, 82_800, len(requests)).astype(
        "m8[s]"
    )
    hints = requests.loc[requests.index.repeat(3)].reset_index(drop=True)
    proposed = np.concatenate([rng.choice(phrases, PROPOSED, replace=False) for _ in users])
    asked = requests.loc[requests.index.repeat(RANKED), ["request_id", "user_id"]]
    ranked = rng.random((len(requests), len(phrases))).argpartition(RANKED, axis=1)[:, :RANKED]
    return {
        "users": pd.DataFrame({"user_id": users}),
        "impressions": hints.assign(
            position=np.tile([1, 2, 3], len(requests)),
            query=rng.choice(phrases, len(hints)),
            clicked=rng.random(len(hints)) < CLICKS,
        ),
        "rankings": asked.reset_index(drop=True).assign(
            rank=np.tile(np.arange(1, RANKED + 1), len(requests)), query=phrases[ranked].ravel()
        ),
        "generated": places(users, PROPOSED, "place", proposed),
        "signals": pd.DataFrame(
            {
                "query": phrases,
                "views": rng.integers(0, 500, len(phrases)),
                "ctr": rng.random(len(phrases)) / 5,
            }
        ),
    }


def places(users: np.ndarray, count: int, name: str, queries: np.ndarray) -> pd.DataFrame:
    """user_id, `name` (1..count), query; queries: count per user, in order of users."""
    place = np.tile(np.arange(1, count + 1), len(users))
    return pd.DataFrame({"user_id": np.repeat(users, count), name: place, "query": queries})


def replica(tables: Frames, copy: int, seed: int) -> Frames:
    """The same market with other households: `users`, the tables with a user, and new `ties`.

    Ids get a suffix. A user's times move together, by at most an hour and not past the day's end.
    Copy 0 is the market itself, but for its ties."""
    rng = np.random.default_rng([seed, copy])
    users, suffix = tables["users"]["user_id"], f"~{copy}" if copy else ""
    seconds = rng.integers(0, 3_601, len(users)) * bool(copy)
    moves = pd.Series(seconds.astype("m8[s]"), index=users.astype("str"))
    own = {name: table for name, table in tables.items() if "user_id" in table}
    own["ties"] = drawn_ties(rng, users.to_numpy(), tables["signals"]["query"].to_numpy())
    return {name: moved(table, moves, suffix) for name, table in own.items()}


def moved(table: pd.DataFrame, moves: pd.Series, suffix: str) -> pd.DataFrame:
    changed: dict[str, Any] = {i: table[i].astype("str") + suffix for i in IDS if i in table}
    if "time" in table:
        old = table["time"].to_numpy().astype("M8[us]")
        last = (old.astype("M8[D]") + 1).astype("M8[us]") - np.timedelta64(1, "s")
        later = old + table["user_id"].map(moves).to_numpy().astype("m8[us]")
        changed["time"] = np.maximum(old, np.minimum(later, last))
    return table.assign(**changed)


def drawn_ties(rng: np.random.Generator, users: np.ndarray, phrases: np.ndarray) -> pd.DataFrame:
    """TIES rows per user: user_id, trigger, query, place."""
    count = TIES * len(users)
    return pd.DataFrame(
        {
            "user_id": np.repeat(users, TIES),
            "trigger": rng.choice(phrases, count),
            "query": rng.choice(phrases, count),
            "place": rng.integers(1, 31, count),
        }
    )


def write(tables: Frames, copies: int, seed: int, folder: Path) -> None:
    """One Parquet file per table, TOGETHER copies at a time in memory."""
    tables["signals"].to_parquet(folder / "signals.parquet", index=False)
    writers: dict[str, pq.ParquetWriter] = {}
    for first in range(0, copies, TOGETHER):
        some = [replica(tables, n, seed) for n in range(first, min(copies, first + TOGETHER))]
        for name in some[0]:
            rows = pd.concat([own[name] for own in some], ignore_index=True)
            table = pa.Table.from_pandas(rows, preserve_index=False)
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()


def sample_tables(t: Any, day: date, held: set[str]) -> Iterator[tuple[str, Any]]:
    """Name and expression of what sample construction writes. t: name -> table."""
    direct = kept_sessions(direct_sessions(t["impressions"]), held)
    yield "direct-sessions", direct
    candidates = direct_candidates(direct, t["impressions"], t["rankings"])
    yield "direct-labels", rerank(candidates, DIRECT_LABELS)
    found = think_sessions(t["impressions"], t["searches"], t["item_clicks"], day.isoformat())
    think = kept_sessions(found, held)
    yield "think-sessions", think
    own = t["impressions"], t["searches"], t["rankings"], t["generated"]
    yield "think-labels", rerank(think_candidates(think, *own), THINK_LABELS)


def with_ibis(connection: Any, job: str, folder: Path, out: Path, day: date, seed: int) -> None:
    paths = sorted(folder.glob("*.parquet"))
    tables = {path.stem: connection.read_parquet(str(path)) for path in paths}
    if job == "x2q":
        index = x2q_entries(tables["ties"], tables["signals"], X2qConfig())
        connection.to_parquet(index, out / "x2q.parquet")
        return
    held = held_out(pd.read_parquet(folder / "users.parquet")["user_id"], day, HOLDOUT, seed)
    for name, table in sample_tables(tables, day, held):
        connection.to_parquet(table, out / f"{name}.parquet")


def with_pandas(folder: Path, out: Path, day: date, seed: int) -> None:
    names = ("users", "impressions", "searches", "item_clicks", "rankings", "generated")
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}
    held = held_out(tables["users"]["user_id"], day, HOLDOUT, seed)
    for name, table in pandas_samples(tables, day, held):
        table.to_parquet(out / f"{name}.parquet", index=False)


def pandas_samples(t: Frames, day: date, held: set[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """`sample_tables` in plain pandas."""
    clicked = t["impressions"][t["impressions"]["clicked"]]
    clicked = clicked.sort_values(["time", "request_id", "position"])
    clicked = clicked.assign(place=clicked.groupby("user_id").cumcount())
    direct = clicked.groupby(["request_id", "user_id"], as_index=False)["time"].min()
    direct = pandas_kept(direct.rename(columns={"request_id": "session_id"}), held)
    yield "direct-sessions", direct
    exposed = clicked.rename(columns={"request_id": "session_id"})
    ranked = t["rankings"].rename(columns={"rank": "place"})
    tiers = [
        (0, exposed, "session_id"),
        (2, ranked.rename(columns={"request_id": "session_id"}), "session_id"),
    ]
    yield "direct-labels", pandas_rerank(direct, tiers, DIRECT_LABELS)

    columns, feedback = (
        ["user_id", "time"],
        pd.concat([clicked["user_id"], t["searches"]["user_id"]]),
    )
    events = pd.concat([t[name][columns] for name in ("impressions", "searches", "item_clicks")])
    think = events.groupby("user_id", as_index=False)["time"].min()
    think = think[think["user_id"].isin(feedback.unique())]
    think = pandas_kept(think.assign(session_id=think["user_id"] + "|" + day.isoformat()), held)
    yield "think-sessions", think
    asked = t["searches"].sort_values(["time", "event_id"])
    asked = asked.assign(place=asked.groupby("user_id").cumcount())
    guesses = [(2, ranked, "user_id"), (3, t["generated"], "user_id")]
    tiers = [(0, clicked, "user_id"), (1, asked, "user_id"), *guesses]
    yield "think-labels", pandas_rerank(think, tiers, THINK_LABELS)


def pandas_kept(sessions: pd.DataFrame, held: set[str]) -> pd.DataFrame:
    kept = sessions.loc[~sessions["user_id"].isin(held), ["session_id", "user_id", "time"]]
    return kept.sort_values(["time", "session_id"], ignore_index=True)


def pandas_rerank(
    sessions: pd.DataFrame, tiers: list[tuple[int, pd.DataFrame, str]], size: int
) -> pd.DataFrame:
    parts = [
        sessions[list(dict.fromkeys(["session_id", key]))]
        .merge(rows[[key, "place", "query"]], on=key)
        .assign(tier=tier)
        for tier, rows, key in tiers
    ]
    rows = pd.concat(parts)[["session_id", "tier", "place", "query"]]
    text = rows["query"].str.lower().str.replace("[^a-z0-9]+", " ", regex=True).str.strip()
    rows = rows.assign(query=text)[text != ""].sort_values(["session_id", "tier", "place", "query"])
    rows = rows.drop_duplicates(["session_id", "query"])
    rows = rows.assign(rank=rows.groupby("session_id").cumcount() + 1)
    columns = ["session_id", "rank", "query", "tier"]
    return rows.loc[rows["rank"] <= size, columns].reset_index(drop=True)


def duckdb(scratch: Path, threads: int) -> Any:
    own = {"threads": threads} if threads else {}
    return ibis.duckdb.connect(temp_directory=str(scratch), **own)


def spark(scratch: Path, _: int) -> Any:
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    options = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(scratch),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "8",
    }
    session = SparkSession.builder.master("local[*]").config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return ibis.pyspark.connect(session)


CONNECT = {"duckdb": duckdb, "spark": spark}


def measured(engine: str, job: str, folder: Path, day: date, seed: int, threads: int) -> Cost:
    """Runs one job; the process must be a fresh one, for a peak never falls."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name)
        work = prepared(engine, job, folder, out, day, seed, threads)
        start, cpu, clock = peak_mib(), cpu_seconds(), time.perf_counter()
        work()
        wall = time.perf_counter() - clock
        return Cost(wall, cpu_seconds() - cpu, peak_mib(), start)


def prepared(
    engine: str, job: str, folder: Path, out: Path, day: date, seed: int, threads: int
) -> Callable[[], None]:
    """The job, with its engine connected."""
    if engine == "pandas":
        return partial(with_pandas, folder, out, day, seed)
    connection = CONNECT[engine](out / "scratch", threads)
    return partial(with_ibis, connection, job, folder, out, day, seed)


def processes() -> list[psutil.Process]:
    """This one and its children (Spark's JVM)."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def cpu_seconds() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes())


def peak_mib() -> float:
    """Sum of the peaks (VmHWM). Unlike getrusage it does not count a parent before exec."""
    total = 0.0
    for process in processes():
        status = Path(f"/proc/{process.pid}/status").read_text()
        if "VmHWM:" in status:  # a process that has ended and still has a number has none
            total += int(status.split("VmHWM:")[1].split()[0]) / 1024
    return total


def median_of(repeats: int, **job: Any) -> Cost:
    costs = []
    for _ in range(repeats):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            costs.append(pool.submit(partial(measured, **job)).result())
    names = ("wall", "cpu", "peak", "start")
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[1, 10, 100], help="copies of the market")
    add("--engines", nargs="+", default=["duckdb", "pandas"], choices=["duckdb", "pandas", "spark"])
    add("--jobs", nargs="+", default=["samples", "x2q"], choices=["samples", "x2q"])
    add("--day", type=date.fromisoformat, default=date(2017, 11, 6), help="a day of the market")
    add("--households", type=int, default=0, help="of the market, the first by hash; 0: all")
    add("--repeats", type=int, default=3, help="runs of each; the median of each figure is printed")
    add("--threads", type=int, default=0, help="of DuckDB; 0: one per core")
    add("--seed", type=int, default=17)
    options = parser.parse_args()

    tables = market(options.day, options.seed, options.households)
    visits = len(tables["users"])
    runs = [(job, e) for job in options.jobs for e in options.engines if (job, e) != NOT_WRITTEN]
    costs: dict[tuple[str, str], dict[int, Cost]] = {run: {} for run in runs}
    print(HEAD, flush=True)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            write(tables, size, options.seed, Path(name))
            own = {"folder": Path(name), "day": options.day, "seed": options.seed}
            for job, engine in runs:
                own |= {"job": job, "engine": engine, "threads": options.threads}
                costs[job, engine][size] = median_of(options.repeats, **own)
                print(line(job, engine, size, size * visits, costs[job, engine][size]), flush=True)
    for (job, engine), own_costs in costs.items():
        for small, large in pairwise(options.sizes):
            print(f"{job}, {engine}: {ratios(own_costs, small, large)}")
    for size in options.sizes:
        if ("samples", "pandas") in costs and ("samples", "duckdb") in costs:
            plain, ours = (costs["samples", engine][size] for engine in ("pandas", "duckdb"))
            print(
                f"samples, {size}x: pandas takes {plain.wall / ours.wall:.1f} times the time and "
                f"{plain.peak / ours.peak:.1f} times the peak memory of duckdb"
            )


def line(job: str, engine: str, size: int, visits: int, cost: Cost) -> str:
    return (
        f"{job:8}{engine:8}{size:5}x{visits:8}{cost.wall:8.2f}{cost.cpu:8.2f}"
        f"{cost.wall / visits * 1e6:10.0f}{cost.start:12.0f}{cost.peak:10.0f}"
        f"{cost.peak * 1024 / visits:11.1f}"
    )


def ratios(costs: dict[int, Cost], small: int, large: int) -> str:
    """Figures per visit at the large size over those at the small one, against the requirement."""
    a, b, more = costs[small], costs[large], large / small
    wall, cpu, peak = b.wall / a.wall / more, b.cpu / a.cpu / more, b.peak / a.peak / more
    added = (b.peak - b.start) / max(a.peak - a.start, 1) / more
    met = "met" if max(wall, peak) <= MOST else "MISSED"
    return (
        f"{large}x to {small}x per visit: time {wall:.2f}, CPU {cpu:.2f}, peak memory {peak:.2f} "
        f"(what the job added {added:.2f}); at most {MOST}: {met}"
    )


if __name__ == "__main__":
    main()
