"""Day zero, in four steps: history, launch, stack, policy.

history  searches and item clicks of the months before the launch of hints
launch   release 1: recall sources only, ranked by fused reciprocal rank
stack    hints are shown for some days; a click model is trained: release 2
policy   more days under that stack; IL-SFT from the base model distils what it ranked and what
         was clicked: release 3, which the daily loop continues from
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.stages.categories import CategoriesStage
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.ctr import CtrStage
from aigq_tasks.stages.market import MarketStage
from aigq_tasks.stages.policy import policy_samples
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
    table,
    window_digest,
)
from aigq_tasks.stages.recall import RecallStage
from aigq_tasks.stages.release import publish_release
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.u2q import build_u2q, generation_config
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

STEPS = ("history", "launch", "stack", "policy")


def bootstrap(ctx: Context, day: date, step: str) -> None:
    """Run one step up to `day`, which must be the setting `bootstrap_day`."""
    if day != ctx.settings.bootstrap_day:
        raise AigqError(
            f"bootstrap is set to {ctx.settings.bootstrap_day}, not {day}: "
            "set bootstrap_day (AIGQ_BOOTSTRAP_DAY) to start from another day"
        )
    preflight(("s3", "mlflow", "valkey"), ctx)
    {"history": _history, "launch": _launch, "stack": _stack, "policy": _policy}[step](ctx, day)


def _history(ctx: Context, day: date) -> None:
    days = days_between(first_log_day(ctx), launch_day(ctx) - timedelta(days=1))
    for past in track(days, "landing history"):
        run_stage(HistoryStage(), ctx, past)


class HistoryStage(MarketStage):
    """The market before the launch. Not tracked day by day: nothing of it changes anymore."""

    needs: tuple[str, ...] = ("s3",)


def _launch(ctx: Context, day: date) -> None:
    eve = launch_day(ctx) - timedelta(days=1)
    categories = run_stage(CategoriesStage(), ctx, eve)
    recall = run_stage(RecallStage(), ctx, eve)
    _release(ctx, eve, {"categories": categories, "recall": recall}, None)


def _stack(ctx: Context, day: date) -> None:
    last = stack_day(ctx)
    _land(ctx, launch_day(ctx), last)
    made = {"recall": run_stage(RecallStage(), ctx, last), "ctr": run_stage(CtrStage(), ctx, last)}
    _release(ctx, last, made, live_entry(ctx, last))


def _policy(ctx: Context, day: date) -> None:
    first = stack_day(ctx) + timedelta(days=1)
    _land(ctx, first, day)
    for past in days_between(first, day):
        run_stage(SamplesStage(holdout=0.0), ctx, past)  # no gate judges these days
    made = {"recall": run_stage(RecallStage(), ctx, day), "ctr": run_stage(CtrStage(), ctx, day)}
    made["direct"] = made["sft"] = run_stage(SftStage(), ctx, day)
    made["u2q"] = run_stage(FirstU2qStage(), ctx, day)
    _release(ctx, day, made, live_entry(ctx, day))


def _land(ctx: Context, first: date, last: date) -> None:
    for day in track(days_between(first, last), "replaying hints"):
        run_stage(MarketStage(), ctx, day)


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


class SftStage:
    """IL-SFT (Eq 5-6) from the backbone on the sessions of the bootstrap days."""

    name = "sft"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        days = _sample_days(ctx, day)
        return {"samples": window_digest(need(ctx, "samples", past) for past in days)}

    def config(self, ctx: Context) -> dict[str, Any]:
        policy = ctx.settings.policy
        return {
            "backbone": policy.backbone,
            "seed": policy.seed,
            "threads": policy.threads,
            "samples": ctx.settings.samples.bootstrap_samples,
            **policy.sft.model_dump(),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
        from aigq_tasks.policy.il_sft import train_il_sft

        policy = ctx.settings.policy
        make_deterministic(policy.seed, policy.threads)
        days = [
            table(ctx, need(ctx, "samples", past), "samples") for past in _sample_days(ctx, day)
        ]
        rows = pd.concat(days, ignore_index=True).tail(ctx.settings.samples.bootstrap_samples)
        network, tokenizer = load_backbone(policy.backbone)
        history = train_il_sft(network, tokenizer, policy_samples(rows), policy.sft, policy.seed)
        losses = [step["loss"] for step in history if "loss" in step]
        metrics: dict[str, float | str] = {
            "samples": float(len(rows)),
            "steps": float(len(losses)),
            "loss_first": round(float(np.mean(losses[:10])), 6),
            "loss_last": round(float(np.mean(losses[-10:])), 6),
            "backbone": policy.backbone,
        }
        output = save_policy(network, tokenizer) | {"history.json": to_json(history)}
        return StageOutput(files=output, metrics=metrics)


def _sample_days(ctx: Context, day: date) -> list[date]:
    return days_between(stack_day(ctx) + timedelta(days=1), day)


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
