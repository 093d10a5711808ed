"""`aigq plan`: what a backfill would run, and why, before it runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from rich.console import Console
from rich.table import Table

from aigq_tasks.errors import AigqError
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.ctr import CtrStage
from aigq_tasks.stages.evaluate import EvaluateStage, RivalsStage
from aigq_tasks.stages.gate import GateStage
from aigq_tasks.stages.item_text import ItemTextsStage
from aigq_tasks.stages.market import MarketStage
from aigq_tasks.stages.policy import PolicyStage, think_is_due
from aigq_tasks.stages.publish import THINK_STAGES, tried
from aigq_tasks.stages.reading import days_between
from aigq_tasks.stages.recall import RecallStage
from aigq_tasks.stages.runner import Stage, preflight, wanted
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.servable import ServableStage
from aigq_tasks.stages.think_samples import ThinkSamplesStage
from aigq_tasks.stages.u2q import U2qStage
from aigq_tasks.stages.x2q import X2qStage

# The stages of a day in an order in which they can run, and which of them each one reads.
STAGES: tuple[Stage, ...] = (
    MarketStage(),
    CtrStage(),
    RecallStage(),
    SamplesStage(),
    ThinkSamplesStage(),
    PolicyStage(),
    PolicyStage(think=True),
    RivalsStage(),
    EvaluateStage(),
    GateStage(),
    U2qStage(),
    X2qStage(),
    ItemTextsStage(),
    ServableStage(),
)
READS = {
    "market": (),
    "ctr": ("market",),
    "recall": ("market",),
    "samples": ("market",),
    "think-samples": ("market",),
    "policy": ("ctr", "samples"),
    "think-policy": ("ctr", "think-samples"),
    "rivals": ("ctr",),
    "evaluate": ("policy", "think-policy", "rivals"),
    "gate": ("evaluate",),
    "u2q": ("gate",),
    "x2q": ("ctr",),
    "item-texts": ("market",),
    "servable": ("recall", "u2q", "x2q", "item-texts"),
}


@dataclass(frozen=True)
class Step:
    """A stage of a day. why: it would run; empty when its result is up to date. blocked: it cannot
    run, and `why` says what is missing."""

    day: date
    stage: str
    why: str
    blocked: bool = False


def print_plan(ctx: Context, first: date, last: date) -> None:
    """Print the steps of a range of days that would run; the others are counted."""
    if first > last:
        raise AigqError(f"--from {first} lies after --to {last}")
    preflight(("s3",), ctx)
    steps = list(plan(ctx, first, last))
    due = [step for step in steps if step.why and not step.blocked]
    console = Console(width=140)
    if due:
        shown = Table("day", "stage", "runs because", box=None)
        for step in due:
            shown.add_row(step.day.isoformat(), step.stage, step.why)
        console.print(shown)
    up_to_date = sum(not step.why for step in steps)
    console.print(f"{len(due)} to run, {up_to_date} up to date")
    for step in steps:
        if step.blocked:
            console.print(f"it would stop at {step.stage} of {step.day}: {step.why}")


def plan(ctx: Context, first: date, last: date) -> Iterator[Step]:
    """Every stage of every day from `first` to `last`, in an order in which they can run; the last
    one is `blocked` where something is missing that the range does not make."""
    remade: date | None = None  # the day whose release changes before this one
    for day in days_between(first, last):
        runs: set[str] = set()
        for stage in stages_of(ctx, day):
            before = [name for name in READS[stage.name] if name in runs]
            if remade:
                why = f"it starts from the release of {remade}, which changes"
            elif before:
                why = f"{' and '.join(before)} would run"
            else:
                try:
                    why = stale(stage, ctx, day)
                except AigqError as error:
                    yield Step(day, stage.name, str(error), blocked=True)
                    return
            if why:
                runs.add(stage.name)
            yield Step(day, stage.name, why)
        why = _where_to(ctx, day) if runs or not _is_released(ctx, day) else ""
        yield Step(day, "publish", why)
        remade = day if why else None


def stale(stage: Stage, ctx: Context, day: date) -> str:
    """Why the stage would run for the day, given the results there are now; "" if it would not.
    AigqError when it cannot run, for an input is missing."""
    now = wanted(stage, ctx, day)
    head = ctx.manifests.head(stage.name, day)
    if head is None:
        return "it never ran"
    if head.input_digest == now.input_digest:
        return ""
    changes = [
        f"{kind} {name}"
        for kind, old, new in (
            ("input", head.inputs, now.inputs),
            ("setting", head.config, now.config),
        )
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if head.version != now.version:
        changes.append(f"version {head.version}")
    return f"changed: {', '.join(changes)}"


def require_up_to_date(ctx: Context, day: date) -> None:
    """AigqError when a result of the day was made of something else than there is now: another
    release went live while the day ran, or a log was landed again. Such a day is no function of
    its inputs: half of it would follow the old ones, half the new ones."""
    for stage in stages_of(ctx, day):
        why = stale(stage, ctx, day)
        if why:
            raise AigqError(
                f"{stage.name} of {day} is out of date ({why}): run the day again from there, in "
                f"Airflow by clearing {stage.name} and what follows it; what is live stays live"
            )


def stages_of(ctx: Context, day: date) -> list[Stage]:
    """The stages that run for the day: AIGQ-Think is not renewed on every one."""
    due = think_is_due(ctx, day)
    return [stage for stage in STAGES if due or stage.name not in THINK_STAGES]


def _is_released(ctx: Context, day: date) -> bool:
    """Whether what the results of the day make is in the ledger or on the shelf."""
    made = tried(ctx, day)
    return any(own.same_release(made) for own in (*ctx.ledger.entries(), *ctx.ledger.shelf()))


def _where_to(ctx: Context, day: date) -> str:
    current = ctx.ledger.current()
    if current is not None and current.day > day:
        return f"shelved: {current.day} is live"
    return "goes live"
