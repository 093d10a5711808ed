"""`aigq demo` at the smallest size: Airflow, servers of its own, an empty bucket."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import servers
from smallest import DAY, release

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import need
from aigq_tasks.services.environment import S3_PORTS
from aigq_tasks.services.processes import supervised
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.day import steps_of

# On a quiet machine the demo takes four minutes; on an old one with tests beside it over fifteen.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def think_every_day(smallest_size: None) -> Iterator[None]:
    """Then the one day has every stage there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGQ_THINK__UPDATE_DAYS", "1")
        yield


@pytest.fixture(scope="module")
def single(
    think_every_day: None, s3_server: servers.S3Server, mlflow_url: str, valkey_url: str
) -> Context:
    """A context in which the day is released stage by stage."""
    ctx = Context.open(servers.settings_for(s3_server, "single-day", mlflow_url, valkey_url))
    release(ctx, [DAY])
    return ctx


@pytest.fixture(scope="module")
def backfilled(
    think_every_day: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Context]:
    """A context in which `aigq demo` bootstrapped and let Airflow backfill the day, with servers of
    its own."""
    state = tmp_path_factory.mktemp("demo") / "state"
    valkey, mlflow, airflow, webhook = servers.free_ports(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGQ_STATE_DIR", str(state))
        patch.setenv("AIGQ_S3__PORT", str(servers.free_block(len(S3_PORTS))))
        patch.setenv("AIGQ_VALKEY__PORT", str(valkey))
        patch.setenv("AIGQ_MLFLOW__PORT", str(mlflow))
        patch.setenv("AIGQ_AIRFLOW__PORT", str(airflow))
        patch.setenv("AIGQ_WEBHOOK__PORT", str(webhook))
        try:
            aigq("demo", "--days", "1")
            yield Context.open(load_settings())
        finally:
            aigq("down")
            assert supervised(state) == {}


def aigq(*arguments: str) -> str:
    """What the command printed; its error output is shown when it fails."""
    command = [str(Path(sys.executable).with_name("aigq")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_backfill_gives_what_single_stages_give(single: Context, backfilled: Context) -> None:
    """Airflow, other servers, an empty bucket: the same bytes, trained policies included."""
    for step in steps_of(single.settings, DAY):
        alone = need(single, step.name, DAY).to_bytes()
        assert need(backfilled, step.name, DAY).to_bytes() == alone, step.name
    folded = [replace(entry, who="", why="") for entry in backfilled.ledger.entries()]
    assert folded == [replace(entry, who="", why="") for entry in single.ledger.entries()]


def test_a_second_demo_computes_nothing(backfilled: Context) -> None:
    before = backfilled.store.list("")
    printed = aigq("demo", "--days", "1")
    assert backfilled.store.list("") == before
    assert DAY.isoformat() in printed
