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
from aigq_tasks.stages.publish import THINK_STAGES
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
    """A stage of a day. why: it would run; empty when its result is up to date."""

    day: date
    stage: str
    why: str


def print_plan(ctx: Context, first: date, last: date) -> None:
    """Print the steps of a range of days that would run; the others are counted."""
    if first > last:
        raise AigqError(f"--from {first} lies after --to {last}")
    preflight(("s3",), ctx)
    steps = list(plan(ctx, first, last))
    due = [step for step in steps if step.why]
    console = Console(width=140)
    if due:
        shown = Table("day", "stage", "runs because", box=None)
        for step in due:
            shown.add_row(step.day.isoformat(), step.stage, step.why)
        console.print(shown)
    console.print(f"{len(due)} to run, {len(steps) - len(due)} up to date")


def plan(ctx: Context, first: date, last: date) -> Iterator[Step]:
    """Every stage of every day from `first` to `last`, in an order in which they can run."""
    current = ctx.ledger.current()
    remade: date | None = None  # the day whose release changes before this one
    for day in days_between(first, last):
        runs: set[str] = set()
        for stage in STAGES:
            if stage.name in THINK_STAGES and not think_is_due(ctx, day):
                continue
            before = [name for name in READS[stage.name] if name in runs]
            if remade:
                why = f"it starts from the release of {remade}, which changes"
            else:
                why = f"{' and '.join(before)} would run" if before else stale(stage, ctx, day)
            if why:
                runs.add(stage.name)
            yield Step(day, stage.name, why)
        known = [own.day for own in (*ctx.ledger.entries(), *ctx.ledger.shelf())]
        why = ""
        if runs or day not in known:
            late = current is not None and current.day > day
            why = f"shelved: {current.day} is live" if late and current else "goes live"
        yield Step(day, "publish", why)
        remade = day if why else None


def stale(stage: Stage, ctx: Context, day: date) -> str:
    """Why the stage would run for the day, given the results there are now; "" if it would not."""
    head = ctx.manifests.head(stage.name, day)
    if head is None:
        return "it never ran"
    try:
        now = wanted(stage, ctx, day)
    except AigqError as error:
        return f"it cannot yet: {error}"
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
