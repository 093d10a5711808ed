"""Day zero, in eight steps.

history   searches and item clicks of the months before the launch of hints
items     what shoppers call an item: a model of it, and its first texts
launch    release 1: recall sources only, ranked by fused reciprocal rank
stack     hints are shown for some days; a click model is trained: release 2
sessions  more days under that stack, which the policies learn from
direct    IL-SFT of AIGQ-Direct from the base model, and its first u2q lists
think     IL-SFT of AIGQ-Think from the base model, and its first x2q index
release   release 3 with all of it, which the daily loop continues from
"""

from datetime import date, timedelta
from typing import Any

from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.stages.categories import CategoriesStage
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.ctr import CtrStage
from aigq_tasks.stages.generation import generation_config
from aigq_tasks.stages.item_text import ItemModelStage, ItemTextsStage
from aigq_tasks.stages.market import MarketStage, land
from aigq_tasks.stages.publish import publisher, reason
from aigq_tasks.stages.reading import (
    days_between,
    first_log_day,
    launch_day,
    live_entry,
    log_window,
    need,
    release_digest,
    stack_day,
    window_digest,
)
from aigq_tasks.stages.recall import RecallStage
from aigq_tasks.stages.release import publish_release
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.sft import SftStage, bootstrap_days
from aigq_tasks.stages.think_samples import ThinkSamplesStage
from aigq_tasks.stages.u2q import build_u2q
from aigq_tasks.stages.x2q import X2qStage
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest


def _history(ctx: Context, day: date) -> None:
    days = days_between(first_log_day(ctx), launch_day(ctx) - timedelta(days=1))
    for past in track(days, "landing history"):
        land(ctx, past, HistoryStage())


class HistoryStage(MarketStage):
    """The market before the launch. Not tracked day by day: nothing of it changes anymore."""

    needs: tuple[str, ...] = ("s3",)


def _items(ctx: Context, day: date) -> None:
    eve = launch_day(ctx) - timedelta(days=1)
    run_stage(ItemModelStage(), ctx, eve)
    run_stage(ItemTextsStage(), ctx, eve)


def _launch(ctx: Context, day: date) -> None:
    eve = launch_day(ctx) - timedelta(days=1)
    made = {name: need(ctx, name, eve) for name in ("item-model", "item-texts")}
    made["categories"] = run_stage(CategoriesStage(), ctx, eve)
    made["recall"] = run_stage(RecallStage(), ctx, eve)
    _release(ctx, eve, made, None)


def _stack(ctx: Context, day: date) -> None:
    last = stack_day(ctx)
    _land(ctx, launch_day(ctx), last)
    stages = (ItemTextsStage(), RecallStage(), CtrStage())
    made = {stage.name: run_stage(stage, ctx, last) for stage in stages}
    _release(ctx, last, made, live_entry(ctx, last))


def _sessions(ctx: Context, day: date) -> None:
    _land(ctx, bootstrap_days(ctx, day)[0], day)
    for stage in (ItemTextsStage(), RecallStage(), CtrStage()):
        run_stage(stage, ctx, day)


def _direct(ctx: Context, day: date) -> None:
    for past in bootstrap_days(ctx, day):
        run_stage(SamplesStage(holdout=0.0), ctx, past)  # no gate judges these days
    run_stage(SftStage(), ctx, day)
    run_stage(FirstU2qStage(), ctx, day)


def _think(ctx: Context, day: date) -> None:
    sft = SftStage(think=True)
    for past in sft.days(ctx, day):
        run_stage(ThinkSamplesStage(holdout=0.0), ctx, past)
    run_stage(sft, ctx, day)
    run_stage(FirstX2qStage(), ctx, day)


def _first_release(ctx: Context, day: date) -> None:
    made = {name: need(ctx, name, day) for name in ("item-texts", "recall", "ctr", "u2q", "x2q")}
    made["direct"] = made["sft"] = need(ctx, "sft", day)
    made["think"] = need(ctx, "think-sft", day)
    _release(ctx, day, made, live_entry(ctx, day))


def _land(ctx: Context, first: date, last: date) -> None:
    for day in track(days_between(first, last), "replaying hints"):
        land(ctx, day, MarketStage())


def _release(ctx: Context, day: date, made: dict[str, Manifest], parent: Entry | None) -> None:
    models = dict(parent.models) if parent else {}
    models |= {name: manifest.digest for name, manifest in made.items()}
    entry = Entry(
        day=day,
        revision=1,
        parent=parent.number if parent else None,
        manifests={manifest.stage: manifest.digest for manifest in made.values()},
        models=models,
        verdict="bootstrap",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=publisher(),
        why=reason(),
    )
    publish_release(ctx, entry)


class FirstU2qStage:
    """The first u2q cache: no gate has spoken yet, the IL-SFT policy writes it."""

    name = "u2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "policy": need(ctx, "sft", day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return generation_config(ctx)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        return build_u2q(ctx, day, need(ctx, "sft", day), None)


class FirstX2qStage(X2qStage):
    """The first x2q index: the IL-SFT policy that no release serves yet reasons."""

    def think(self, ctx: Context, day: date) -> Manifest:
        return need(ctx, SftStage(think=True).name, day)


STEPS = {
    "history": _history,
    "items": _items,
    "launch": _launch,
    "stack": _stack,
    "sessions": _sessions,
    "direct": _direct,
    "think": _think,
    "release": _first_release,
}


def bootstrap(ctx: Context, day: date, step: str) -> None:
    """Run one step up to `day`, which must be the setting `bootstrap_day`."""
    if day != ctx.settings.bootstrap_day:
        raise AigqError(
            f"bootstrap is set to {ctx.settings.bootstrap_day}, not {day}: "
            "set bootstrap_day (AIGQ_BOOTSTRAP_DAY) to start from another day"
        )
    preflight(("s3", "mlflow", "valkey"), ctx)
    STEPS[step](ctx, day)
