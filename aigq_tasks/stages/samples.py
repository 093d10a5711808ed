"""Stage `samples`: the day's click sessions as ordered query lists (paper 3.3, Eq 2-3)."""

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from aigq_tasks.context.prompt import Histories
from aigq_tasks.samples.direct import direct_samples
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    live_entry,
    log_window,
    need,
    read_behaviours,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.engine import engine
from aigq_tasks.storage.tables import to_parquet


@dataclass(frozen=True)
class SamplesStage:
    """samples(D): prompt and ordered labels per session of D, held-out users left out.

    holdout: share of users left out; None for the setting, 0 for days that no gate judges."""

    holdout: float | None = None
    name: ClassVar[str] = "samples"
    needs: ClassVar[tuple[str, ...]] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "logs": window_digest(log_window(ctx, day)),
            "release": release_digest(live_entry(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return {
            "seed": ctx.settings.seed,
            "history_days": ctx.settings.market.history_days,
            **ctx.settings.samples.model_dump(),
            "holdout": self._holdout(ctx),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        settings = ctx.settings.samples
        market = need(ctx, "market", day)
        impressions = table(ctx, market, "hint_impressions")
        kept = held_out(impressions["user_id"].unique(), day, self._holdout(ctx), ctx.settings.seed)
        with engine(ctx.settings.engine) as execute:
            samples = direct_samples(
                impressions,
                table(ctx, market, "hint_rankings"),
                table(ctx, market, "users"),
                self._histories(ctx, day),
                kept,
                settings.labels,
                settings.history_lines,
                execute,
            )
        metrics: dict[str, float | str] = {
            "samples": float(len(samples)),
            "users": float(samples["user_id"].nunique()),
            "held_out_users": float(len(kept)),
        }
        if len(samples):
            metrics["labels_mean"] = round(float(samples["labels"].str.len().mean()), 4)
        return StageOutput(files={"samples.parquet": to_parquet(samples)}, metrics=metrics)

    def _histories(self, ctx: Context, day: date) -> Histories:
        return Histories.of(read_behaviours(ctx, log_window(ctx, day), day))

    def _holdout(self, ctx: Context) -> float:
        return ctx.settings.samples.holdout if self.holdout is None else self.holdout
