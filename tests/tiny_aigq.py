"""`aigq` with tiny computations, for tests of what surrounds them: order, parents, conflicts.

Every stage is the project's own, with its name, its reads and its settings; only `compute` is
replaced: it hashes what was read. Runner, manifests, ledger, shelf and `publish` are the project's,
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
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from aigq_tasks.cli import NOTHING_TO_DO
from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.logs.schema import SCHEMAS
from aigq_tasks.pipeline.calendar import require_think_due
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.runner import files_of, run_stage
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall import u2q
from aigq_tasks.releases.live import publish_release
from aigq_tasks.releases.publish import publish
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.day import find, steps_of
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.objects import sha256

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


def tiny(stage: Stage[Any]) -> Stage[Any]:
    """The stage with a result that is the digest of all it reads and of its settings."""
    return replace(stage, needs=("s3",), compute=partial(tiny_compute, stage.name))


def tiny_compute(stage: str, given: Given, settings: Slice, day: date) -> Output:
    declared = sorted(given._declared.items())
    read = {key: found.digest for key, found in declared if found}
    facts = to_json([stage, day.isoformat(), read, settings.model_dump(mode="json")])
    output = tiny_output(stage, sha256(facts), day)
    if stage != "gate":
        return output
    verdict: dict[str, Any] = {"accepted": True, "ctr_faults": []}
    if "think-policy" in given.result("evaluate").manifest.inputs:
        verdict["think"] = {"accepted": True}
    return replace(output, records={"verdict.json": verdict})


def tiny_output(stage: str, digest: str, day: date) -> Output:
    """What depends on the digest, with what other stages and `publish` read of it."""
    output = Output(files={"digest": digest.encode()})
    if stage == "logs":  # of a log the digests of its tables are read, by whoever declares them
        return Output(files={f"{name}.parquet": digest.encode() for name in SCHEMAS})
    if stage == "servable":
        verdict = {"servable": True, "reasons": []}
        return replace(output, records={"servable.json": verdict}, metrics={"servable": 1.0})
    if stage == "u2q":
        return replace(output, tables={"u2q": u2q.build({"ann": [digest[:8]]}, day)})
    if stage == "x2q":
        row = {"trigger": ["tea"], "rank": [1], "query": [digest[:8]], "score": [1.0]}
        return replace(output, tables={"x2q": pd.DataFrame(row)})
    return output


def bootstrap(ctx: Context) -> Entry:
    """The release that the first daily run starts from, and the days of log before it."""
    eve = ctx.settings.bootstrap_day
    models = {}
    for kind, stage in {
        "direct": "sft",
        "sft": "sft",
        "think": "think-sft",
        **{kind: kind for kind in ("ctr", "recall", "u2q", "x2q", "item-texts", "item-model")},
        "categories": "categories",
    }.items():
        made = files_of(tiny_output(stage, sha256(stage.encode()), eve))
        outputs = {name: Blob(ctx.store.put_blob(data), len(data)) for name, data in made.items()}
        manifest = Manifest(stage=stage, day=eve, outputs=outputs)
        models[kind] = ctx.manifests.create(manifest).digest
    for back in reversed(range(ctx.settings.history_days)):
        run(ctx, "logs", eve - timedelta(days=back))
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
        publish(ctx, day, os.environ.get("AIGQ_WHO", "test"), os.environ.get("AIGQ_WHY", "test"))
        return
    step = find(stage)
    if step.think:
        require_think_due(ctx.settings, day)
    run_stage(tiny(step.stage), ctx, day)


def run_day(ctx: Context, day: date) -> None:
    """All stages of the day but `publish`."""
    for step in steps_of(ctx.settings, day):
        run(ctx, step.name, day)


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
