"""Stage `recall`: the classic recall sources, rebuilt on the logs up to and including the day."""

from datetime import date, timedelta
from typing import Any

import pandas as pd

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    files,
    launch_day,
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    release_digest,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput


class RecallStage:
    """Popularity, co-click and own-history anew; the two-tower EBR continued from the parent."""

    name = "recall"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        logs = {"logs": window_digest(log_window(ctx, day))}
        if day < launch_day(ctx):
            return logs | {"item-texts": need(ctx, "item-texts", day).digest}
        return logs | {"release": release_digest(live_entry(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        return {
            "seed": ctx.settings.seed,
            "history_days": ctx.settings.market.history_days,
            "threads": ctx.settings.policy.threads,
            **ctx.settings.recall.model_dump(),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import make_deterministic
        from aigq_tasks.recall import coclick, ebr, own_history, popularity

        make_deterministic(ctx.settings.seed, ctx.settings.policy.threads)
        history = read_behaviours(ctx, log_window(ctx, day), day)
        as_of = pd.Timestamp(day + timedelta(days=1))
        parent = None
        if day >= launch_day(ctx):
            manifest = model(ctx, live_entry(ctx, day), "recall")
            parent = ebr.Ebr.from_files(files(ctx, manifest, "ebr/"))
        config = ebr.EbrConfig(epochs=ctx.settings.recall.ebr_epochs, seed=ctx.settings.seed)
        two_tower, losses = ebr.train(history, as_of, config, parent)
        sources = (
            popularity.build(history, as_of),
            coclick.build(history, as_of),
            own_history.build(history, as_of),
            two_tower,
        )
        output = {
            f"{source.name}/{name}": data
            for source in sources
            for name, data in source.to_files().items()
        }
        metrics: dict[str, float | str] = {
            "behaviours": float(len(history)),
            "ebr_loss": round(losses[-1], 6),
        }
        return StageOutput(files=output, metrics=metrics)
