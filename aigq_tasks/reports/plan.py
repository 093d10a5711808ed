"""What a backfill would run, as rows: a line for each day, or for each stage."""

from collections.abc import Sequence
from itertools import groupby

from aigq_tasks.releases.plan import PlannedStep

LONGEST = 4  # stages that a line names one by one


def due(steps: Sequence[PlannedStep]) -> list[PlannedStep]:
    """Those that would run."""
    return [step for step in steps if step.why and not step.blocked]


def step_rows(steps: Sequence[PlannedStep]) -> list[dict[str, str]]:
    """One row per step that would run: day, stage, why."""
    return [
        {"day": step.day.isoformat(), "stage": step.stage, "runs because": step.why}
        for step in due(steps)
    ]


def day_rows(steps: Sequence[PlannedStep]) -> list[dict[str, str]]:
    """One row per day on which something would run: how many of its steps, which ones, why the
    first of them, and what becomes of the release."""
    of_days = (list(of_day) for _, of_day in groupby(steps, key=lambda step: step.day))
    return [_day_row(of_day) for of_day in of_days if due(of_day)]


def _day_row(steps: Sequence[PlannedStep]) -> dict[str, str]:
    run = due(steps)
    release = next((step.why for step in run if step.release), "-")
    whole = len(run) == len(steps)
    return {
        "day": run[0].day.isoformat(),
        "run": f"all {len(run)}" if whole else f"{len(run)} of {len(steps)}",
        "stages": _chain([step.stage for step in run]),
        "because": _cause(run),
        "release": release,
    }


def _chain(names: Sequence[str]) -> str:
    """logs → ctr → … → publish"""
    shown = names if len(names) <= LONGEST else [*names[:2], "…", names[-1]]
    return " → ".join(shown)


def _cause(run: Sequence[PlannedStep]) -> str:
    """Why the first of them runs, and which others have a cause of their own: not those that run
    after another."""
    own = [step for step in run if not step.follows and not step.release]
    if not own:
        return "it is not released"
    others = [step.stage for step in own if step.why != own[0].why]
    return f"{own[0].why}; also {', '.join(others)}" if others else own[0].why
