"""Every kind of backfill under the real Airflow scheduler, on real S3 and Valkey.

Dags, scheduler, client, ledger, shelf, manifests and `publish` are the project's. The tasks find
an `aigq` (tests/tiny_aigq.py) that runs the project's own stages with their own inputs, but
computes a hash in place of a model: a real day takes minutes, and who starts from what does not
depend on it. Each case has a bucket and days of its own; where days must be there already, the
test releases them without Airflow. Pictures of the cases are in docs/backfill.md.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import pytest
import servers
import tiny_aigq
from tiny_aigq import Control
from typer.testing import CliRunner

from aigq_tasks.cli import app
from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import SCHEMAS
from aigq_tasks.pipeline.context import Context
from aigq_tasks.releases.plan import plan
from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.services.environment import S3_PORTS
from aigq_tasks.services.processes import end_all
from aigq_tasks.services.supervisor import up
from aigq_tasks.serving.indexes import connect, get_u2q, version_of
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.day import DAY, steps_of
from aigq_tasks.storage.manifests import Blob

pytestmark = pytest.mark.integration
DAILY = "hintq_daily"
CONFIG = """
state_dir = "{state}"
bootstrap_day = {eve}
launch_days = 0
history_days = 2
s3 = {{ port = {s3}, bucket = "{bucket}" }}
valkey = {{ port = {valkey} }}
airflow = {{ port = {airflow} }}
think = {{ update_days = 2 }}
gate = {{ max_drop = {max_drop} }}
"""


@dataclass
class Stack:
    """A running Airflow, S3 and Valkey, whose tasks read the settings file that a case writes."""

    config: Path
    places: dict[str, object]
    control: Control

    def configure(self, **changes: object) -> None:
        """Write the settings file; what is not named stays as it was."""
        self.places |= changes
        self.config.write_text(CONFIG.format(**self.places))

    def case(self, bucket: str, eve: date) -> Context:
        """A bucket whose first daily run is for the day after `eve`."""
        self.configure(bucket=bucket, eve=eve, max_drop=0.06)
        ctx = Context.open(load_settings())
        tiny_aigq.bootstrap(ctx)
        return ctx

    @cached_property
    def api(self) -> AirflowApi:
        return AirflowApi(load_settings().airflow.url)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("backfill")
    (folder / "bin").mkdir()
    socket = folder / "socket"
    tiny_aigq.write_command(folder / "bin" / "aigq", socket)
    valkey, airflow = servers.free_ports(2)
    block = servers.free_block(len(S3_PORTS))
    places = {"state": folder / "state", "s3": block, "valkey": valkey, "airflow": airflow}
    stack = Stack(folder / "aigq.toml", places, Control(folder / "control"))
    stack.configure(bucket="nothing", eve=date(2017, 11, 1), max_drop=0.06)
    found = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join(found))
        patch.setenv("AIGQ_CONFIG", str(stack.config))
        patch.setenv(tiny_aigq.CONTROL, str(stack.control.folder))
        with subprocess.Popen([sys.executable, tiny_aigq.__file__, str(socket)]) as server:
            try:
                up(load_settings(), {"s3", "valkey", "airflow"})
                tiny_aigq.wait_until(socket.exists, "the tiny aigq did not start")
                stack.api.unpause(DAILY)
                yield stack
            finally:
                end_all(folder / "state")
                server.kill()


def span(eve: date, count: int) -> list[date]:
    return [eve + timedelta(days=n) for n in range(1, count + 1)]


def names_of(ctx: Context, day: date) -> list[str]:
    return [step.name for step in steps_of(ctx.settings, day)]


def release(ctx: Context, day: date) -> None:
    """The day, as a person would run it: one command after the other."""
    tiny_aigq.run_day(ctx, day)
    tiny_aigq.run(ctx, "publish", day)


def revisions(ctx: Context, days: list[date]) -> dict[tuple[date, str], int]:
    keys = [(day, step.name) for day in days for step in DAY]
    heads = {(day, stage): ctx.manifests.head(stage, day) for day, stage in keys}
    return {key: head.revision for key, head in heads.items() if head}


def parents(ctx: Context) -> list[tuple[int, date, int | None]]:
    return [(entry.number, entry.day, entry.parent) for entry in ctx.ledger.entries()]


def due(ctx: Context, first: date, last: date) -> dict[tuple[date, str], str]:
    return {(step.day, step.stage): step.why for step in plan(ctx, first, last) if step.why}


def land_again(ctx: Context, day: date) -> None:
    """What a log source does that found late rows of a day: a new revision of its log."""
    head = ctx.manifests.head("logs", day)
    assert head is not None
    late = Blob(ctx.store.put_blob(b"late rows"), len(b"late rows"))
    tables = {f"{name}.parquet": late for name in SCHEMAS}
    ctx.manifests.create(replace(head, outputs={**head.outputs, **tables}))


def test_a_fresh_range_gives_what_single_days_give(stack: Stack) -> None:
    eve = date(2017, 11, 1)
    days = span(eve, 2)
    ctx = stack.case("fresh", eve)
    assert due(ctx, *days)[days[0], "logs"] == "it never ran"
    stack.api._call("PATCH", f"/dags/{DAILY}", json={"is_paused": True})
    with pytest.raises(AigqError, match="hintq_daily is paused, so no run of it starts"):
        stack.api.backfill(DAILY, *days)
    stack.api.unpause(DAILY)
    command = ["backfill", "--from", f"{days[0]}", "--to", f"{days[1]}", "--reason", "moving in"]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert parents(ctx) == [(1, eve, None), (2, days[0], 1), (3, days[1], 2)]
    for entry in ctx.ledger.entries()[1:]:
        assert (entry.who.split("__")[0], entry.why) == ("airflow backfill", "moving in")
    assert due(ctx, *days) == {}

    single = stack.case("single", eve)
    for day in days:
        release(single, day)
        for stage in names_of(ctx, day):
            made, alone = (own.manifests.head(stage, day) for own in (ctx, single))
            assert made is not None
            assert alone is not None
            assert made.to_bytes() == alone.to_bytes(), (stage, day)
    folded = [replace(entry, who="", why="") for entry in ctx.ledger.entries()]
    assert folded == [replace(entry, who="", why="") for entry in single.ledger.entries()]


def test_released_days_are_recomputed_and_the_live_one_moves_last(stack: Stack) -> None:
    eve = date(2017, 11, 4)
    days = span(eve, 3)
    ctx = stack.case("overlap", eve)
    for day in days:
        release(ctx, day)
    live = ctx.ledger.current()
    assert live is not None
    before = revisions(ctx, days)

    stack.configure(max_drop=0.5)  # a setting of `gate`: what comes before it stays
    ctx = Context.open(load_settings())
    planned = due(ctx, days[1], days[2])
    stack.control.hold("publish", days[2])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(stack.api.backfill, DAILY, days[1], days[2], "completed")
        stack.control.wait_for("publish", days[2])
        (shelved,) = ctx.ledger.shelf()
        assert (shelved.number, shelved.day, shelved.parent) == (-1, days[1], 2)
        assert ctx.ledger.current() == live
        version = version_of(live.models["u2q"])
        with connect(ctx.settings.valkey.url) as client:
            assert get_u2q(client, version, "ann") is not None
            assert client.ttl(f"u2q:{version}") == -1  # it stays
        stack.control.free("publish", days[2])
        asked.result()

    after = revisions(ctx, days)
    remade = {key for key in after if after[key] > before[key]}
    assert remade == {key for key in planned if key[1] != "publish"}
    assert {stage for day, stage in remade if day == days[1]} == {"gate", "u2q", "servable"}
    assert {stage for day, stage in remade if day == days[2]} == set(names_of(ctx, days[2]))
    assert parents(ctx)[3:] == [(4, days[2], 3), (5, days[2], -1)]
    assert len(ctx.ledger.shelf()) == 1
    assert due(ctx, days[1], days[2]) == {}


def test_a_hole_stops_the_backfill_until_it_is_filled(stack: Stack) -> None:
    eve = date(2017, 11, 8)
    days = span(eve, 3)
    ctx = stack.case("hole", eve)
    release(ctx, days[0])
    missing = f"logs of {days[1]} is missing: run 'aigq logs --day {days[1]}' first"
    (step,) = plan(ctx, days[2], days[2])
    assert (step.stage, step.blocked, step.why[: len(missing)]) == ("logs", True, missing)
    with pytest.raises(AigqError, match=f"logs failed in the run .*: aigq: {missing}"):
        stack.api.backfill(DAILY, days[2], days[2])
    assert not [key for key in revisions(ctx, days) if key[0] > days[0]]
    assert parents(ctx)[-1] == (2, days[0], 1)

    assert not [step for step in plan(ctx, days[1], days[2]) if step.blocked]
    stack.api.backfill(DAILY, days[1], days[2])  # the failed day again, after the one it lacked
    assert parents(ctx)[2:] == [(3, days[1], 2), (4, days[2], 3)]
    assert ctx.ledger.shelf() == []


def test_days_after_a_failed_one_wait_and_other_backfills_are_refused(stack: Stack) -> None:
    eve = date(2017, 11, 12)
    days = span(eve, 3)
    ctx = stack.case("failed", eve)
    stack.control.fail("gate", days[1])
    with pytest.raises(AigqError, match=f"gate failed in the run .*: aigq: gate of {days[1]} fai"):
        stack.api.backfill(DAILY, days[0], days[2])
    assert parents(ctx) == [(1, eve, None), (2, days[0], 1)]
    before = revisions(ctx, days)
    assert (days[1], "evaluate") in before
    assert not [key for key in before if key[0] == days[2]]

    unfinished = f"a backfill of {DAILY} from {days[0]} to {days[2]} is unfinished; run the same da"
    for others in ((days[0], days[1]), (eve, eve)):
        with pytest.raises(AigqError, match=unfinished):
            stack.api.backfill(DAILY, *others, "completed")
    assert revisions(ctx, days) == before

    stack.control.free("gate", days[1])
    stack.api.backfill(DAILY, days[0], days[2])
    assert parents(ctx) == [(1, eve, None), *((n, day, n - 1) for n, day in enumerate(days, 2))]
    assert set(revisions(ctx, days).values()) == {1}  # nothing was computed twice
    first, second = (ctx.manifests.head("policy", day) for day in days[1:])
    assert first is not None
    assert second is not None
    assert first.inputs["release direct"] != second.inputs["release direct"]


def test_late_data_recompute_what_the_plan_says_and_nothing_else(stack: Stack) -> None:
    eve = date(2017, 11, 17)
    days = span(eve, 3)
    ctx = stack.case("late", eve)
    for day in days:
        release(ctx, day)
    assert due(ctx, days[0], days[2]) == {}
    land_again(ctx, days[1])

    planned = due(ctx, days[0], days[2])
    assert {stage for day, stage in planned if day == days[0]} == set()
    downstream = set(names_of(ctx, days[1])) - {"logs"}
    assert {stage for day, stage in planned if day == days[1]} == {*downstream, "publish"}
    assert planned[days[1], "ctr"] == "changed: input logs: shown"
    assert planned[days[1], "publish"] == f"shelved: {days[2]} is live"
    assert {stage for day, stage in planned if day == days[2]} == {
        *names_of(ctx, days[2]),
        "publish",
    }
    assert planned[days[2], "publish"] == "goes live"

    before = revisions(ctx, days)
    stack.api.backfill(DAILY, days[1], days[2], "completed")
    after = revisions(ctx, days)
    assert {key for key in after if after[key] > before[key]} == {
        key for key in planned if key[1] != "publish"
    }
    assert parents(ctx)[3:] == [(4, days[2], 3), (5, days[2], -1)]
    assert [own.parent for own in ctx.ledger.shelf()] == [2]
    assert due(ctx, days[0], days[2]) == {}


def test_a_day_that_a_backfill_overtakes_does_not_go_live(stack: Stack) -> None:
    """The daily run of a day is at its gate when the day before it gets another release."""
    eve = date(2017, 11, 22)
    days = span(eve, 2)
    ctx = stack.case("overtaken", eve)
    release(ctx, days[0])
    stack.control.hold("gate", days[1])
    start, end = (f"{day}T00:00:00Z" for day in span(days[0], 2))
    interval = {"logical_date": start, "data_interval_start": start, "data_interval_end": end}
    run = stack.api._call("POST", f"/dags/{DAILY}/dagRuns", json=interval)["dag_run_id"]
    stack.control.wait_for("gate", days[1])

    land_again(ctx, days[0])
    stack.api.backfill(DAILY, days[0], days[0])
    winner = ctx.ledger.current()
    assert winner is not None
    assert (winner.number, winner.day, winner.parent) == (3, days[0], 1)

    stack.control.free("gate", days[1])
    stale = f"logs of {days[1]} is out of date .changed: input logs: before, input release, "
    with pytest.raises(AigqError, match=f"publish failed in the run .*: aigq: {stale}"):
        stack.api.wait_for_run(DAILY, run)
    assert ctx.ledger.current() == winner
    assert ctx.ledger.shelf() == []

    stack.api.backfill(DAILY, days[1], days[1])  # the loser again, from what is live now
    assert parents(ctx)[2:] == [(3, days[0], 1), (4, days[1], 3)]
    assert due(ctx, *days) == {}
