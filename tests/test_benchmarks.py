"""The benchmarks run, line by line, and what they measure is what they say."""

import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import CodeType, ModuleType
from urllib.parse import urlsplit

import ibis
import numpy as np
import pandas as pd
import pytest
import servers
from traced.sitecustomize import executable_lines

FOLDER = Path(__file__).parents[1] / "benchmarks"
TRACED = Path(__file__).parent / "traced"
DAY = date(2017, 11, 6)
# The smallest runs, which together meet every line. They say nothing about speed.
RUNS = {
    "bench_command": ["--runs 1 --commands help status", "--runs 0 --commands releases"],
    "bench_ctr_scoring": ["--smallest --runs 2"],
    # The first day of the log: nothing has to be there before.
    "bench_day": ["--day 2017-06-25 --stage logs --out day.json"],
    "bench_gate": ["--series 1 --loss 0.2 --loss 0"],
    "bench_grpo_step": ["--smallest --pairs 1 --threads 1 --profile profile.md"],
    "bench_lists": ["--smallest --pairs 2 --threads 1"],
    "bench_requests": ["--smallest --pairs 2"],
    "bench_samples_scale": ["--households 100 --sizes 1 2 --repeats 1 --threads 1"],
    "bench_x2q_lookup": ["--triggers 20 --lookups 20"],
}
SPARK = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
if SPARK:
    RUNS["bench_samples_scale"].append(
        "--households 100 --sizes 1 --repeats 1 --jobs x2q --engines spark"
    )


def test_every_benchmark_is_run_here() -> None:
    assert sorted(RUNS) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_smallest_runs_meet_every_line(
    name: str, tmp_path: Path, s3_server: servers.S3Server, mlflow_url: str
) -> None:
    script, lines = FOLDER / f"{name}.py", tmp_path / "lines"
    lines.mkdir()
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TRACED), os.environ.get("PYTHONPATH", "")]),
        "AIGQ_TEST_LINES_OF": str(script),
        "AIGQ_TEST_LINES_TO": str(lines),
        "OMP_NUM_THREADS": "1",
        "AIGQ_S3__ENDPOINT": s3_server.url,
        "AIGQ_S3__BUCKET": f"benchmark-{name.replace('_', '-')}",
        "AIGQ_S3__ACCESS_KEY": s3_server.access_key,
        "AIGQ_S3__SECRET_KEY": s3_server.secret_key,
        "AIGQ_MLFLOW__PORT": str(urlsplit(mlflow_url).port),
    }
    for options in RUNS[name]:
        command = [sys.executable, str(script), *options.split()]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    run = {int(n) for part in lines.iterdir() for n in part.read_text().split()}
    source = script.read_text()
    text, code = source.splitlines(), compile(source, str(script), "exec")
    missed = executable_lines(code) - run - (set() if SPARK else lines_of_spark(code))
    assert [f"{n}: {text[n - 1]}" for n in sorted(missed)] == []


def lines_of_spark(code: CodeType) -> set[int]:
    """The lines of a benchmark's function `spark`."""
    own = [one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == "spark"]
    return set().union(*map(executable_lines, own))


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = FOLDER / "bench_samples_scale.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def market(bench: ModuleType) -> dict[str, pd.DataFrame]:
    """20 users; the second half searches, the last search is a second before midnight."""
    users = np.array([f"h{n}" for n in range(20)])
    phrases = np.array([f"thing {n}" for n in range(80)])
    seconds = np.linspace(0, 86_399, 30).astype("int64").astype("m8[s]")
    events = pd.DataFrame(
        {
            "event_id": [f"s{n}" for n in range(30)],
            "user_id": np.repeat(users[10:], 3),
            "time": np.datetime64(DAY, "us") + seconds,
            "query": phrases[:30],
        }
    )
    rest = bench.synthetic(np.random.default_rng(3), users, phrases, DAY)
    return {"searches": events, "item_clicks": events[["user_id", "time"]].head(6), **rest}


def test_a_replica_has_new_ids_and_the_same_counts(bench: ModuleType, market) -> None:  # type: ignore[no-untyped-def]
    copies = [bench.replica(market, copy, seed=5) for copy in range(3)]
    for name in ("users", "searches", "item_clicks", "impressions", "rankings", "generated"):
        whole = pd.concat([copy[name] for copy in copies])
        counts = whole["user_id"].value_counts()
        for copy in (1, 2):
            new = copies[copy][name]
            assert len(new) == len(market[name])
            assert set(new["user_id"]).isdisjoint(market[name]["user_id"])
            for user, rows in market[name]["user_id"].value_counts().items():
                assert counts[f"{user}~{copy}"] == rows
    searches = pd.concat([copy["searches"] for copy in copies])
    assert searches["event_id"].is_unique
    assert copies[0]["ties"].groupby("user_id").size().eq(bench.TIES).all()
    assert not copies[0]["ties"]["query"].equals(copies[1]["ties"]["query"])
    again = bench.replica(market, 2, seed=5)
    for name, table in copies[2].items():
        pd.testing.assert_frame_equal(table, again[name])


def test_a_replica_moves_a_user_by_up_to_an_hour(bench: ModuleType, market) -> None:  # type: ignore[no-untyped-def]
    copy = bench.replica(market, 1, seed=5)
    pd.testing.assert_frame_equal(
        bench.replica(market, 0, seed=5)["searches"], market["searches"], check_dtype=False
    )
    for name in ("searches", "item_clicks", "impressions"):
        moves = copy[name]["time"] - market[name]["time"]
        assert moves.between(pd.Timedelta(0), pd.Timedelta(hours=1)).all()
        assert (copy[name]["time"].dt.date == DAY).all()
    hints = copy["impressions"].groupby("request_id")
    assert hints["time"].nunique().eq(1).all()
    assert hints.size().eq(3).all()


def test_pandas_and_the_expressions_make_the_same_samples(bench: ModuleType, market) -> None:  # type: ignore[no-untyped-def]
    held = {"h3", "h12"}
    tables = {name: ibis.memtable(rows) for name, rows in market.items()}
    ours = {name: found.to_pandas() for name, found in bench.sample_tables(tables, DAY, held)}
    plain = dict(bench.pandas_samples(market, DAY, held))
    assert ours.keys() == plain.keys()
    for name, table in ours.items():
        assert len(table) > 0
        pd.testing.assert_frame_equal(table, plain[name], check_dtype=False)
