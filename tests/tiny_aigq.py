"""`aigq` with tiny computations, for tests of what surrounds them: order, parents, conflicts.

Every stage is the project's own, with its name, its inputs and its settings; only `compute` is
replaced: it hashes the inputs. Runner, manifests, ledger, shelf and `publish` are the project's,
on real servers; nothing is logged in MLflow.

As a program it takes the place of the command at the price of a fork: `serve` loads the packages
once, and the script that `write_command` makes has it run its arguments in a process of their own.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from aigq_tasks.cli import NOTHING_TO_DO
from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.recall import u2q
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.plan import STAGES, stages_of
from aigq_tasks.stages.policy import require_think_due, think_is_due
from aigq_tasks.stages.publish import THINK_STAGES, publish
from aigq_tasks.stages.release import publish_release
from aigq_tasks.stages.runner import Stage, StageOutput, run_stage
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest, Output
from aigq_tasks.storage.objects import sha256
from aigq_tasks.storage.tables import to_parquet

CONTROL = "TINY_AIGQ_CONTROL"  # names the folder by which a test stops a stage
HELD_SECONDS = 600
COMMAND = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    message = json.dumps([sys.argv[1:], dict(os.environ)]).encode()
    socket.send_fds(server, [message], [1, 2])
    sys.exit(server.recv(1)[0])
"""


@dataclass(frozen=True)
class Tiny:
    """A stage of the project whose result is the digest of its inputs."""

    real: Stage
    needs: tuple[str, ...] = ("s3",)

    @property
    def name(self) -> str:
        return self.real.name

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return self.real.inputs(ctx, day)

    def config(self, ctx: Context) -> dict[str, Any]:
        return self.real.config(ctx)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        facts = to_json([self.name, day.isoformat(), self.inputs(ctx, day), self.config(ctx)])
        files = _files(self.name, sha256(facts), day)
        if self.name == "gate":
            verdict: dict[str, Any] = {"accepted": True, "ctr_faults": []}
            if think_is_due(ctx, day):
                verdict["think"] = {"accepted": True}
            files["verdict.json"] = to_json(verdict)
        metrics: dict[str, float | str] = {"servable": 1.0} if self.name == "servable" else {}
        return StageOutput(files=files, metrics=metrics)


def _files(stage: str, digest: str, day: date) -> dict[str, bytes]:
    """Outputs that depend on the digest, with what other stages and `publish` read of them."""
    files = {"digest": digest.encode()}
    if stage == "servable":
        files["servable.json"] = to_json({"servable": True, "reasons": []})
    elif stage == "u2q":
        files["u2q.parquet"] = to_parquet(u2q.build({"ann": [digest[:8]]}, day))
    elif stage == "x2q":
        row = {"trigger": ["tea"], "rank": [1], "query": [digest[:8]], "score": [1.0]}
        files["x2q.parquet"] = to_parquet(pd.DataFrame(row))
    return files


def bootstrap(ctx: Context) -> Entry:
    """The release that the first daily run starts from, and the days of log before it."""
    eve = ctx.settings.bootstrap_day
    models = {}
    for kind, stage in {
        "direct": "sft",
        "sft": "sft",
        "think": "think-sft",
        **{kind: kind for kind in ("ctr", "recall", "u2q", "x2q", "item-texts", "item-model")},
    }.items():
        made = _files(stage, sha256(stage.encode()), eve)
        outputs = {name: Output(ctx.store.put_blob(data), len(data)) for name, data in made.items()}
        manifest = Manifest(stage=stage, day=eve, outputs=outputs)
        models[kind] = ctx.manifests.create(manifest).digest
    for back in range(ctx.settings.market.history_days):
        run(ctx, "market", eve - timedelta(days=back))
    entry = Entry(
        day=eve,
        revision=1,
        parent=None,
        models=models,
        verdict="bootstrap",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who="test",
        why="test",
    )
    return publish_release(ctx, entry)


def run(ctx: Context, stage: str, day: date) -> None:
    """What `aigq STAGE --day D` does."""
    if stage == "publish":
        publish(ctx, day)
        return
    if stage in THINK_STAGES:
        require_think_due(ctx, day)
    (real,) = [one for one in STAGES if one.name == stage]
    run_stage(Tiny(real), ctx, day)


def run_day(ctx: Context, day: date) -> None:
    """All stages of the day but `publish`."""
    for stage in stages_of(ctx, day):
        run(ctx, stage.name, day)


class Control:
    """Stops a stage of a day: files that the test writes and the stage looks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def fail(self, stage: str, day: date) -> None:
        """The stage fails from now on."""
        self._file(stage, day).write_text("fail")

    def hold(self, stage: str, day: date) -> None:
        """The stage waits at its start from now on."""
        self._file(stage, day).write_text("hold")

    def free(self, stage: str, day: date) -> None:
        """The stage runs, also one that waits."""
        self._file(stage, day).unlink()

    def wait_for(self, stage: str, day: date) -> None:
        """Return when the stage waits at its start."""
        waits = self._file(stage, day, "waits")
        wait_until(waits.exists, f"{stage} of {day} never started")
        waits.unlink()

    def obey(self, stage: str, day: date) -> None:
        """In the stage: do as the test wishes."""
        wish = self._file(stage, day)
        if not wish.exists():
            return
        if wish.read_text() == "fail":
            raise AigqError(f"{stage} of {day} fails because the test wants it")
        self._file(stage, day, "waits").touch()
        wait_until(lambda: not wish.exists(), f"the test never let {stage} of {day} go")

    def _file(self, stage: str, day: date, suffix: str = "wish") -> Path:
        return self.folder / f"{stage}-{day}.{suffix}"


def wait_until(until: Callable[[], bool], otherwise: str) -> None:
    """Return when it is so; AssertionError, with what is said instead, when it never is."""
    deadline = time.monotonic() + HELD_SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.05)


def write_command(path: Path, server: Path) -> None:
    """The script that runs its arguments by way of the server at the socket `server`."""
    path.write_text(COMMAND.format(python=sys.executable, path=str(server)))
    path.chmod(0o755)


def serve(path: str) -> None:
    """Run what the scripts ask for, each in a fork, until this process is ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                message, (out, err), _, _ = socket.recv_fds(client, 2**20, 2)
                arguments, environment = json.loads(message)
                os.dup2(out, 1)
                os.dup2(err, 2)
                os.environ.clear()
                os.environ.update(environment)
                os.environ.pop("AIGQ_S3__BUCKET", None)  # of Airflow's start; cases have their own
                code = _code(arguments)
                sys.stdout.flush()
                client.sendall(bytes([code]))
                os._exit(0)
            client.close()


def _code(arguments: list[str]) -> int:
    """Run `STAGE --day D`; the exit code, as aigq_tasks.cli.main gives it. Other commands, those
    of hintq_promote and the alerts, have nothing to do."""
    if len(arguments) != 3:
        return NOTHING_TO_DO
    stage, _, text = arguments
    day = date.fromisoformat(text)
    try:
        Control(Path(os.environ[CONTROL])).obey(stage, day)
        run(Context.open(load_settings()), stage, day)
    except NothingToDo as error:
        print(f"aigq: {error}", file=sys.stderr)
        return NOTHING_TO_DO
    except Exception as error:  # the fork must answer, whatever happens
        print(f"aigq: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
