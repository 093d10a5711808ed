"""What a day costs: wall time, CPU time and peak memory of each stage's own process.

    python benchmarks/bench_day.py --day 2017-11-11 [--stage policy --stage u2q] [--out day.json]

The stages of the day run one after the other by the `aigq` command, as Airflow's tasks run them,
against the services and the state that the settings name, where the day before is released. A
stage whose result stands finds it: then its row is what a process costs that computes nothing.
CPU time counts all that the process did, imports too.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from aigq_tasks.cli.options import Day
from aigq_tasks.settings import load_settings
from aigq_tasks.stages.day import steps_of

NOTHING_TO_DO = 99


class Cost(NamedTuple):
    """wall, cpu: seconds; peak: MiB of resident memory."""

    stage: str
    wall: float
    cpu: float
    peak: float


def cost(stage: str, day: str) -> Cost:
    """Run one stage. AssertionError when it fails, with what it said."""
    command = [str(Path(sys.executable).with_name("aigq")), stage, "--day", day]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    assert code in (0, NOTHING_TO_DO), f"{stage} ended with {code}:\n{said.decode()}"
    wall = time.perf_counter() - began
    return Cost(stage, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main(
    day: Day,
    stages: Annotated[list[str] | None, typer.Option("--stage", help="Only these.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the rows as JSON.")] = None,
) -> None:
    """Time the stages of a day, one after the other."""
    names = stages or [step.name for step in steps_of(load_settings(), day)]
    console, costs = Console(), []
    for name in names:
        with console.status(name):
            costs.append(cost(name, day.isoformat()))
    costs.append(
        Cost(
            "all", sum(c.wall for c in costs), sum(c.cpu for c in costs), max(c.peak for c in costs)
        )
    )
    table = Table("stage", "wall s", "CPU s", "peak MiB", box=None)
    for own in costs:
        table.add_row(own.stage, f"{own.wall:.1f}", f"{own.cpu:.1f}", f"{own.peak:.0f}")
    console.print(table)
    console.print(f"load average {os.getloadavg()[0]:.1f}")
    if out is not None:
        out.write_text(json.dumps([own._asdict() for own in costs], indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
