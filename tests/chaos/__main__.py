"""`make chaos`: the whole crash matrix on the real stages, and 200 publish races; writes a report.

With a number, only as many cells, drawn: `python -m chaos docs/results/chaos.md 12`.
"""

import io
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from chaos import matrix, races, world
from chaos.cells import Outcome
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from aigq_tasks.settings import Settings

RACES = 200
SEED = 5
COLUMNS = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def main(report: Path, count: int | None) -> None:
    """Run all cells (or `count` of them) and all races; AssertionError at the first that fails."""
    console = Console(stderr=True)
    chosen = matrix.cells(world.STAGES)
    if count:
        chosen = matrix.some(chosen, count, SEED)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        world.started(Path(folder)) as settings,
        Progress(*COLUMNS, console=console) as progress,
    ):
        bar = progress.add_task("bootstrap and one day", total=1)
        built = world.build(settings, Path(folder))
        progress.update(bar, advance=1)
        bar = progress.add_task("cells", total=len(chosen))
        for outcome in matrix.run_cells(built, chosen):
            outcomes.append(outcome)
            times = f"killed after {outcome.killed:.1f} s, recovered in {outcome.recovered:.1f} s"
            progress.print(f"{outcome.cell.stage} {outcome.cell.point}: {times}")
            progress.update(bar, advance=1)
        entries, shelved = _race(settings, progress)
    report.write_text(_report(outcomes, entries, shelved, time.monotonic() - began))
    console.print(f"{len(outcomes)} cells recovered; written to {report}")


def _race(settings: Settings, progress: Progress) -> tuple[int, int]:
    bar = progress.add_task("races", total=RACES)
    entries = shelved = 0
    with redirect_stdout(io.StringIO()):  # a line per publication
        for live, left in races.run_races(settings, RACES, SEED):
            entries, shelved = entries + live, shelved + left
            progress.update(bar, advance=1)
    return entries, shelved


def _report(outcomes: Sequence[Outcome], entries: int, shelved: int, seconds: float) -> str:
    lines = [
        "# Crash matrix and publish races",
        "",
        f"Written by `make chaos` on {platform.machine()}, Python {platform.python_version()}, in "
        f"{seconds / 60:.0f} minutes. What a cell is: [crash safety](../crash-safety.md).",
        "",
        f"{RACES} races of {races.WRITERS} writers: {entries} releases, numbered without a gap, "
        f"and {shelved} shelved because a later day was live; every writer's is there once.",
        "",
        f"{len(outcomes)} cells, all killed by SIGKILL, all recovered to the bytes of an "
        "undisturbed run.",
        "",
        "| stage | point | killed after, s | second run, s |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {own.cell.stage} | {own.cell.point} | {own.killed:.1f} | {own.recovered:.1f} |"
        for own in outcomes
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
