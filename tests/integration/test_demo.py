"""`aigq demo` at the smallest size: Airflow, servers of its own, an empty bucket."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import servers
from smallest import DAY, EVE, SMALLEST, release
from terminal import Terminal, in_terminal

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import need
from aigq_tasks.reports.hints import written_list
from aigq_tasks.services.demo import SMALLER
from aigq_tasks.services.environment import S3_PORTS
from aigq_tasks.services.processes import supervised
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.day import steps_of
from aigq_tasks.storage.canonical import leaves

# On a quiet machine the demo takes four minutes; on an old one with tests beside it over fifteen.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]


AIGQ = str(Path(sys.executable).with_name("aigq"))
# Where the recording test leaves its pictures: a folder, or nothing.
PICTURES = "AIGQ_TEST_PICTURES"


class Demo(NamedTuple):
    """A state that `aigq demo` made, and what it showed meanwhile."""

    ctx: Context
    seen: Terminal


@pytest.fixture(scope="module")
def size(smallest_size: None) -> Iterator[None]:
    """The smallest size, in which the one day has every stage there is. What the demo's own size
    says beside it stands in the environment, so that other states than the demo's have it too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in leaves(tomllib.loads(SMALLER.read_text())).items():
            variable = f"AIGQ_{name.upper().replace('.', '__')}"
            if variable not in SMALLEST:
                patch.setenv(variable, str(value))
        patch.setenv("AIGQ_THINK__UPDATE_DAYS", "1")
        yield


@pytest.fixture(scope="module")
def single(size: None, s3_server: servers.S3Server, mlflow_url: str, valkey_url: str) -> Context:
    """A context in which the day is released stage by stage."""
    ctx = Context.open(servers.settings_for(s3_server, "single-day", mlflow_url, valkey_url))
    release(ctx, [DAY])
    return ctx


@pytest.fixture(scope="module")
def demo(size: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`aigq demo` bootstraps and lets Airflow backfill the day, with servers of its own, in a
    terminal, stopped once by Ctrl-C."""
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
            begun = in_terminal([AIGQ, "demo", "--days", "1"], 600, stop_at="hintq_bootstrap:")
            assert begun.code == 130, begun.text()[-3000:]
            assert "Again: aigq demo" in begun.text()
            seen = in_terminal([AIGQ, "demo", "--days", "1"], timeout=1700)
            assert seen.code == 0, seen.text()[-3000:]
            yield Demo(Context.open(load_settings()), seen)
        finally:
            aigq("down")
            assert supervised(state) == {}


def aigq(*arguments: str) -> str:
    """What the command printed; its error output is shown when it fails."""
    command = [AIGQ, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_backfill_gives_what_single_stages_give(single: Context, demo: Demo) -> None:
    """Airflow, other servers, an empty bucket: the same bytes, trained policies included."""
    for step in steps_of(single.settings, DAY):
        alone = need(single, step.name, DAY).to_bytes()
        assert need(demo.ctx, step.name, DAY).to_bytes() == alone, step.name
    folded = [replace(entry, who="", why="") for entry in demo.ctx.ledger.entries()]
    assert folded == [replace(entry, who="", why="") for entry in single.ledger.entries()]


def test_it_shows_hints_early_then_a_line_per_day_then_table_and_chart(demo: Demo) -> None:
    user, queries = written_list(demo.ctx, EVE)
    first = f"first hints, for {user}: {queries[0]}"
    order = ["healthy", first, f"{user} on {DAY}", "daily loop", f"{DAY}  success", "n="]
    times = [demo.seen.seconds_until(words) for words in order]
    assert times == sorted(times)
    text = demo.seen.text()
    (day,) = [line for line in text.splitlines() if line.startswith(f"{DAY}  success")]
    assert "HR@30" in day
    assert "release 4 rejected" in day or "release 4 accepted" in day
    # On the loop's first day the champion is the IL-SFT policy itself: nobody can differ.
    words = " ".join(text.split())
    assert "Champion minus IL-SFT over all days: +0.000 [+0.000, +0.000]" in words
    assert "say nothing of how the two compare" in words
    assert (demo.ctx.settings.state_dir / "demo.png").read_bytes().startswith(b"\x89PNG")
    parts = {
        "demo-first-hints.svg": ("bootstrap up to", "daily loop"),
        "demo-end.svg": ("daily loop", "demo done in"),
    }
    folder_of_state = str(demo.ctx.settings.state_dir.parent)
    pictures = {
        name: demo.seen.picture("aigq demo", first, last, without=folder_of_state)
        for name, (first, last) in parts.items()
    }
    for name, picture in pictures.items():
        assert "HR@30" in picture or "first" in picture
        if folder := os.environ.get(PICTURES):
            Path(folder, name).write_text(picture)


def test_a_second_demo_computes_nothing(demo: Demo) -> None:
    before = demo.ctx.store.list("")
    printed = aigq("demo", "--days", "1")
    assert demo.ctx.store.list("") == before
    assert DAY.isoformat() in printed
