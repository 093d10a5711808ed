"""Stage `ctr`: retrain the click model on a trailing window and judge its predecessor on the day.

Features are those logged at serving time. Held-out users' rows of the day itself are left out,
so that nothing the policy's reward knows comes from a label that the gate reads.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.behaviours import with_late_clicks
from aigq_tasks.pipeline.calendar import shown
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Release
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.serving.stack import click_model
from ctr_model.config import TrainConfig

KEYS = ["request_id", "position"]


class CtrSlice(Slice):
    """seed: of the training, and of who is held out."""

    seed: int
    holdout: float
    train: TrainConfig


def compute(given: Given, settings: CtrSlice, day: date) -> Output:
    """φ_D of Eq 14, how φ of the release that served D did on D, and, for the gate, how a model
    trained without D does on D."""
    from ctr_model.train import train

    rows = _impressions(given.logs("shown"))
    today = rows["time"].dt.date == day
    users = rows.loc[today, "user_id"].unique()
    kept = held_out(users, day, settings.holdout, settings.seed)
    training = rows[~(today & rows["user_id"].isin(kept))]
    try:
        model = train(*_arrays(training), settings.train, settings.seed)
    except ValueError as error:
        raise AigqError(f"ctr of {day} cannot be trained: {error}") from None
    metrics: dict[str, float | str] = {}
    charts: dict[str, bytes] = {}
    if given.released("ctr"):
        metrics, charts = _progressive(given.release("ctr"), rows[today], day)
    # Of this day's model; a slope below 0 ranks backwards whatever the one without the day does.
    slope = {"calibration_slope": round(model.calibration.slope, 6)}
    next_day = _next_day(rows, today.to_numpy(), settings) | slope
    metrics |= {f"next_day/{name}": next_day[name] for name in ("auc", "ece") if name in next_day}
    metrics |= {"rows": float(len(training)), "clicks": float(training["clicked"].sum())}
    metrics["trees"] = float(model.training["trees"])
    newest = {name: round(value, 6) for name, value in sorted(model.metrics.items())}
    metrics |= {f"newest/{name}": newest[name] for name in ("auc", "ece") if name in newest}
    return Output(
        files=model.to_files(), records={"next_day.json": next_day}, metrics=metrics, charts=charts
    )


def _impressions(logs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Impressions of the window with their logged features and all clicks known by its end."""
    rows = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    rows = rows.merge(logs["impression_features"], on=KEYS, validate="one_to_one")
    return rows.sort_values(["time", *KEYS], ignore_index=True)


def _arrays(rows: pd.DataFrame) -> tuple[Any, Any, Any]:
    from ctr_model.features import FEATURES

    absent = [name for name in FEATURES if name not in rows]
    if absent:
        raise AigqError(f"the logged features lack {', '.join(absent)}: land the days again")
    features = rows[list(FEATURES)].to_numpy(np.float32)
    days = rows["time"].to_numpy().astype("M8[D]")
    return features, rows["clicked"].to_numpy(bool), days


def _next_day(
    rows: pd.DataFrame, today: "np.typing.NDArray[np.bool_]", settings: CtrSlice
) -> dict[str, float]:
    """How the same training does on the next day: metrics on the day's rows of a model made of the
    days before. Neither its trees nor its calibration know of the day. {} where those days are too
    few."""
    from ctr_model.train import train
    from ctr_model.validate import evaluate

    try:
        earlier = train(*_arrays(rows[~today]), settings.train, settings.seed)
    except ValueError:
        return {}
    features, clicked, _ = _arrays(rows[today])
    found = evaluate(clicked, earlier.predict(features))
    return {name: round(value, 6) for name, value in sorted(found.items())}


def _progressive(
    served: Stored, today: pd.DataFrame, day: date
) -> tuple[dict[str, float | str], dict[str, bytes]]:
    """Metrics and calibration chart of the serving release's click model on the day's rows."""
    from aigq_tasks.evaluation.charts import calibration_curve
    from ctr_model.validate import evaluate, standard_slices

    features, clicked, _ = _arrays(today)
    probability = click_model(served).predict(features)
    found = evaluate(clicked, probability, standard_slices(features))
    chart = calibration_curve(
        probability,
        clicked.astype(np.float64),
        title=f"The click model of {served.day} on {day}",
    )
    metrics: dict[str, float | str] = {
        f"validation/{name}": round(value, 6) for name, value in sorted(found.items())
    }
    return metrics, {"calibration.png": chart}


CTR = Stage(
    name="ctr",
    needs=("s3", "mlflow"),
    reads=(
        Logs("shown", ("hint_impressions", "late_clicks", "impression_features"), shown),
        Release("ctr", optional=True),
    ),
    settings=lambda settings: CtrSlice(
        seed=settings.seed, holdout=settings.samples.holdout, train=settings.ctr.train
    ),
    compute=compute,
)
