"""Day zero, in eight steps.

history   searches and item clicks of the months before the launch of hints
items     what shoppers call an item: a model of it, and its first texts
launch    release 1: recall sources only, ranked by fused reciprocal rank
stack     hints are shown for some days; a click model is trained: release 2
sessions  more days under that stack, which the policies learn from
direct    IL-SFT of AIGQ-Direct from the base model, and its first u2q lists
think     IL-SFT of AIGQ-Think from the base model, and its first x2q index
release   release 3 with all of it, which the daily loop continues from

Where no release holds a model yet, the stages of the daily loop read what was just made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.calendar import (
    bootstrap_days,
    days_between,
    landed_from,
    launch_day,
    stack_day,
)
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import live_entry, need
from aigq_tasks.pipeline.reads import Result
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.landing import land
from aigq_tasks.releases.live import publish_release
from aigq_tasks.stages.categories import CATEGORIES
from aigq_tasks.stages.click_model import CTR
from aigq_tasks.stages.direct_samples import SAMPLES
from aigq_tasks.stages.first_policies import SFT, THINK_SFT
from aigq_tasks.stages.item_model import ITEM_MODEL
from aigq_tasks.stages.item_texts import ITEM_TEXTS
from aigq_tasks.stages.land import LOGS
from aigq_tasks.stages.recall_sources import RECALL
from aigq_tasks.stages.think_samples import THINK_SAMPLES
from aigq_tasks.stages.u2q import U2Q
from aigq_tasks.stages.x2q import X2Q
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

# Of days before the launch nothing changes anymore: they are not tracked one by one.
HISTORY = replace(LOGS, needs=("s3",))
FIRST_ITEM_TEXTS = ITEM_TEXTS.without("release item-texts").reading(
    Result("item-model", key="release item-model")
)
FIRST_RECALL = RECALL.without("release recall").reading(
    Result("item-texts", key="release item-texts"),
    Result("categories", key="release categories"),
)
# No gate judges these days, so nobody is held out.
ALL_SAMPLES = replace(
    SAMPLES, settings=lambda own: SAMPLES.settings(own).model_copy(update={"holdout": 0.0})
)
ALL_THINK_SAMPLES = replace(
    THINK_SAMPLES,
    settings=lambda own: THINK_SAMPLES.settings(own).model_copy(update={"holdout": 0.0}),
)
# No gate has spoken yet, and no release has a policy: those of IL-SFT write.
FIRST_U2Q = U2Q.without("gate", "policy", "release u2q").reading(
    Result("sft", key="release direct")
)
FIRST_X2Q = X2Q.without("release x2q").reading(Result("think-sft", key="release think"))
# All that is not as in the daily loop, in an order in which they run.
FIRST_STAGES = (
    *(ITEM_MODEL, FIRST_ITEM_TEXTS, CATEGORIES, FIRST_RECALL),
    *(ALL_SAMPLES, SFT, FIRST_U2Q, ALL_THINK_SAMPLES, THINK_SFT, FIRST_X2Q),
)


@dataclass(frozen=True)
class _Run:
    """A step under way. who, why: of the release that it may make."""

    ctx: Context
    day: date
    who: str
    why: str

    @property
    def eve_of_launch(self) -> date:
        return launch_day(self.ctx.settings) - timedelta(days=1)

    def land(self, first: date, last: date) -> None:
        for day in track(days_between(first, last), "replaying hints"):
            land(self.ctx, day)

    def release(self, day: date, made: dict[str, Manifest], parent: Entry | None) -> None:
        models = dict(parent.models) if parent else {}
        models |= {name: manifest.digest for name, manifest in made.items()}
        entry = Entry(
            day=day,
            revision=1,
            parent=parent.number if parent else None,
            manifests={manifest.stage: manifest.digest for manifest in made.values()},
            models=models,
            verdict="bootstrap",
            code=self.ctx.code_digest(),
            config=self.ctx.config_digest(),
            who=self.who,
            why=self.why,
        )
        publish_release(self.ctx, entry)


def _history(run: _Run) -> None:
    first = landed_from(run.ctx.moment(run.day))
    for past in track(days_between(first, run.eve_of_launch), "landing history"):
        land(run.ctx, past, HISTORY)


def _items(run: _Run) -> None:
    run_stage(ITEM_MODEL, run.ctx, run.eve_of_launch)
    run_stage(FIRST_ITEM_TEXTS, run.ctx, run.eve_of_launch)


def _launch(run: _Run) -> None:
    ctx, eve = run.ctx, run.eve_of_launch
    made = {name: need(ctx, name, eve) for name in ("item-model", "item-texts")}
    made["categories"] = run_stage(CATEGORIES, ctx, eve)
    made["recall"] = run_stage(FIRST_RECALL, ctx, eve)
    run.release(eve, made, None)


def _stack(run: _Run) -> None:
    ctx, last = run.ctx, stack_day(run.ctx.settings)
    run.land(launch_day(ctx.settings), last)
    made = {
        "item-texts": run_stage(ITEM_TEXTS, ctx, last),
        "recall": run_stage(RECALL, ctx, last),
        "ctr": run_stage(CTR, ctx, last),
    }
    run.release(last, made, live_entry(ctx, last))


def _sessions(run: _Run) -> None:
    run.land(bootstrap_days(run.ctx.settings)[0], run.day)
    run_stage(ITEM_TEXTS, run.ctx, run.day)
    run_stage(RECALL, run.ctx, run.day)
    run_stage(CTR, run.ctx, run.day)


def _direct(run: _Run) -> None:
    for past in bootstrap_days(run.ctx.settings):
        run_stage(ALL_SAMPLES, run.ctx, past)
    run_stage(SFT, run.ctx, run.day)
    run_stage(FIRST_U2Q, run.ctx, run.day)


def _think(run: _Run) -> None:
    settings = run.ctx.settings
    for past in bootstrap_days(settings)[-settings.think.bootstrap_days :]:
        run_stage(ALL_THINK_SAMPLES, run.ctx, past)
    run_stage(THINK_SFT, run.ctx, run.day)
    run_stage(FIRST_X2Q, run.ctx, run.day)


def _first_release(run: _Run) -> None:
    ctx, day = run.ctx, run.day
    made = {name: need(ctx, name, day) for name in ("item-texts", "recall", "ctr", "u2q", "x2q")}
    made["direct"] = made["sft"] = need(ctx, "sft", day)
    made["think"] = need(ctx, "think-sft", day)
    run.release(day, made, live_entry(ctx, day))


STEPS: dict[str, Callable[[_Run], None]] = {
    "history": _history,
    "items": _items,
    "launch": _launch,
    "stack": _stack,
    "sessions": _sessions,
    "direct": _direct,
    "think": _think,
    "release": _first_release,
}


def bootstrap(ctx: Context, day: date, step: str, who: str, why: str) -> None:
    """Run one step up to `day`, which must be the setting `bootstrap_day`. who, why: of what it
    appends to the ledger."""
    if day != ctx.settings.bootstrap_day:
        raise AigqError(
            f"bootstrap is set to {ctx.settings.bootstrap_day}, not {day}: "
            "set bootstrap_day (AIGQ_BOOTSTRAP_DAY) to start from another day"
        )
    preflight(("s3", "mlflow", "valkey"), ctx)
    STEPS[step](_Run(ctx, day, who, why))
