"""What a backfill would run, and why, before it runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.calendar import days_between
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.pipeline.runner import stale
from aigq_tasks.releases.publish import tried
from aigq_tasks.stages.day import after, steps_of
from aigq_tasks.storage.manifests import Manifest


@dataclass(frozen=True)
class PlannedStep:
    """A stage of a day, or its "publish". why: it would run; empty when its result is up to date.
    follows: only because stages of the day would that it reads. release: it is the publication,
    and `why` says what becomes of the release. blocked: it cannot run, and `why` says what is
    missing."""

    day: date
    stage: str
    why: str
    follows: bool = False
    release: bool = False
    blocked: bool = False


def plan(ctx: Context, first: date, last: date) -> list[PlannedStep]:
    """Every stage of every day from `first` to `last`, in an order in which they can run; the last
    one is `blocked` where something is missing that the range does not make. AigqError if the
    range ends before it begins."""
    if first > last:
        raise AigqError(f"--from {first} lies after --to {last}")
    preflight(("s3",), ctx)
    return list(_planned(replace(ctx, manifests=ctx.manifests.frozen()), first, last))


def _planned(ctx: Context, first: date, last: date) -> Iterator[PlannedStep]:
    remade = ""  # the day whose release changes before this one, in words
    for day in days_between(first, last):
        steps = list(_of_day(ctx, day, remade))
        yield from steps
        if steps[-1].blocked:
            return
        runs = any(step.why for step in steps)
        why = _where_to(ctx, day) if runs or not _is_released(ctx, day) else ""
        yield PlannedStep(day, "publish", why, release=True)
        remade = f"it starts from the release of {day}, which changes" if why else ""


def _of_day(ctx: Context, day: date, remade: str) -> Iterator[PlannedStep]:
    """The stages of a day. remade: why all of them would run; "" if that is to be found out."""
    moment = ctx.moment(day)
    runs: list[str] = []
    made_of: dict[str, set[str]] = {}  # stage -> those of the day that it is made of, near and far
    for step in steps_of(ctx.settings, day):
        try:
            read = after(step, moment)
            follows = "" if remade else _waits_for([n for n in read if n in runs], made_of)
            why = remade or follows or stale(step.stage, moment, _held(moment, step.name))
        except AigqError as error:
            yield PlannedStep(day, step.name, str(error), blocked=True)
            return
        made_of[step.name] = set(read).union(*(made_of[name] for name in read))
        if why:
            runs.append(step.name)
        yield PlannedStep(day, step.name, why, follows=bool(follows))


def _held(moment: Moment, stage: str) -> Manifest | None:
    """The newest result of a stage of the day."""
    return moment.heads(stage, [moment.day]).get(moment.day)


def _waits_for(before: Sequence[str], made_of: Mapping[str, set[str]]) -> str:
    """That a stage runs after these, which it reads; what one of them is made of goes without
    saying."""
    nearest = [name for name in before if not any(name in made_of[other] for other in before)]
    return f"{' and '.join(nearest)} would run" if nearest else ""


def _is_released(ctx: Context, day: date) -> bool:
    """Whether what the results of the day make is in the ledger or on the shelf."""
    made = tried(ctx, day, who="", why="")  # a release is the same whoever made it
    return any(own.same_release(made) for own in (*ctx.ledger.entries(), *ctx.ledger.shelf()))


def _where_to(ctx: Context, day: date) -> str:
    current = ctx.ledger.current()
    if current is not None and current.day > day:
        return f"shelved: {current.day} is live"
    return "goes live"
