"""A cell of the crash matrix: killed at a point, looked at, run again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from chaos import children

from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.settings import Settings


@dataclass(frozen=True)
class Cell:
    """What is killed where."""

    stage: str
    point: str


@dataclass(frozen=True)
class Outcome:
    """seconds: until the child was killed, and until the second run had ended."""

    cell: Cell
    killed: float
    recovered: float


@dataclass(frozen=True)
class World:
    """Where all stages of a day are done and the day is published, as the newest release.

    run: (settings, name, day), what runs a stage; publish: (settings, day), what publishes the
    day: functions of a module, for a child looks them up by name. logs: a folder for what the
    children print.
    """

    settings: Settings
    day: date
    stages: Sequence[Stage[Any]]
    run: Callable[[Settings, str, date], Any]
    publish: Callable[[Settings, date], Any]
    logs: Path


def killed_and_run_again(
    world: World, cell: Cell, torn: Callable[[], None], work: Callable[..., Any], *args: Any
) -> Outcome:
    """Kill `work(*args)` at the cell's point, look at what is `torn`, run it again to its end."""
    log = world.logs / f"{cell.stage}-{cell.point}.log"
    began = time.perf_counter()
    code = children.run(log, work, *args, crash_at=cell.point)
    assert code == children.KILLED, f"{cell} ended with {code}:\n{log.read_text()[-2000:]}"
    killed = time.perf_counter()
    torn()
    code = children.run(log, work, *args)
    assert code == 0, f"{cell}, run again, ended with {code}:\n{log.read_text()[-2000:]}"
    return Outcome(cell, killed - began, time.perf_counter() - killed)
