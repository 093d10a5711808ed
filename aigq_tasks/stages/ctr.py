"""Stage `ctr`: retrain the click model on a trailing window and judge its predecessor on the day.

Features are those logged at serving time. Held-out users' rows of the day itself are left out,
so that nothing the policy's reward knows comes from a label that the gate reads.
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.behaviours import with_late_clicks
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    files,
    launch_day,
    live_entry,
    log_window,
    read_logs,
    release_digest,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.manifests import Manifest

KEYS = ["request_id", "position"]


class CtrStage:
    """φ_D of Eq 14, and how φ of the release that served D did on D."""

    name = "ctr"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "logs": window_digest(_window(ctx, day)),
            "release": release_digest(live_entry(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return {
            "seed": ctx.settings.seed,
            "holdout": ctx.settings.samples.holdout,
            "window_days": ctx.settings.ctr.window_days,
            "num_threads": ctx.settings.ctr.num_threads,
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from ctr_model.train import TrainConfig, train

        rows = _impressions(ctx, _window(ctx, day))
        today = rows["time"].dt.date == day
        kept = held_out(
            rows.loc[today, "user_id"].unique(),
            day,
            ctx.settings.samples.holdout,
            ctx.settings.seed,
        )
        training = rows[~(today & rows["user_id"].isin(kept))]
        config = TrainConfig(seed=ctx.settings.seed, num_threads=ctx.settings.ctr.num_threads)
        try:
            model = train(*_arrays(training), config)
        except ValueError as error:
            raise AigqError(f"ctr of {day} cannot be trained: {error}") from None
        validation, charts = _progressive(ctx, day, rows[today])
        metrics: dict[str, float | str] = {
            f"validation/{name}": round(value, 6) for name, value in sorted(validation.items())
        }
        metrics |= {"rows": float(len(training)), "clicks": float(training["clicked"].sum())}
        metrics["trees"] = float(model.training["trees"])
        newest = {name: round(value, 6) for name, value in sorted(model.metrics.items())}
        metrics |= {f"newest/{name}": newest[name] for name in ("auc", "ece") if name in newest}
        output = model.to_files() | {"newest.json": to_json(newest)}
        return StageOutput(files=output, metrics=metrics, charts=charts)


def _window(ctx: Context, day: date) -> list[Manifest]:
    first = max(launch_day(ctx), day - timedelta(days=ctx.settings.ctr.window_days - 1))
    if day < first:
        raise AigqError(f"no hints before {first}: nothing to train a click model on")
    return log_window(ctx, day, (day - first).days + 1)


def _impressions(ctx: Context, window: list[Manifest]) -> pd.DataFrame:
    """Impressions of the window with their logged features and all clicks known by its end."""
    logs = read_logs(ctx, window, ("hint_impressions", "late_clicks", "impression_features"))
    shown = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    rows = shown.merge(logs["impression_features"], on=KEYS, validate="one_to_one")
    return rows.sort_values(["time", *KEYS], ignore_index=True)


def _arrays(rows: pd.DataFrame) -> tuple[Any, Any, Any]:
    from ctr_model.features import FEATURES

    absent = [name for name in FEATURES if name not in rows]
    if absent:
        raise AigqError(f"the logged features lack {', '.join(absent)}: land the days again")
    features = rows[list(FEATURES)].to_numpy(np.float32)
    days = rows["time"].to_numpy().astype("M8[D]")
    return features, rows["clicked"].to_numpy(bool), days


def _progressive(
    ctx: Context, day: date, today: pd.DataFrame
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Metrics and calibration chart of the serving release's click model on the day's rows."""
    from aigq_tasks.evaluation.charts import calibration_curve
    from ctr_model.model import CtrModel
    from ctr_model.validate import evaluate, standard_slices

    entry = live_entry(ctx, day)
    if "ctr" not in entry.models:
        return {}, {}
    model = CtrModel.from_files(files(ctx, ctx.manifests.get(entry.models["ctr"])))
    features, clicked, _ = _arrays(today)
    probability = model.predict(features)
    metrics = evaluate(clicked, probability, standard_slices(features))
    chart = calibration_curve(
        probability,
        clicked.astype(np.float64),
        title=f"Click model of release {entry.number} on {day}",
    )
    return metrics, {"calibration.png": chart}
