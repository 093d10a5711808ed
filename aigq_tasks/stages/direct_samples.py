"""Stage `samples`: the day's click sessions as ordered query lists (paper 3.3, Eq 2-3)."""

from datetime import date

from pydantic import Field

from aigq_tasks.context.prompt import Histories
from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Release, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.samples.direct import direct_samples
from aigq_tasks.samples.engine import EngineName, engine
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of


class SampleSlice(Slice):
    """holdout: share of the day's users left out; 0 for days that no gate judges. engine: both
    give the same tables."""

    seed: int
    labels: int
    history_lines: int
    holdout: float
    engine: EngineName = Field(exclude=True)


def compute(given: Given, settings: SampleSlice, day: date) -> Output:
    """Prompt and ordered labels per session of the day, held-out users left out."""
    log = given.logs("today")
    shown = log["hint_impressions"]
    kept = held_out(shown["user_id"].unique(), day, settings.holdout, settings.seed)
    with engine(settings.engine) as execute:
        samples = direct_samples(
            shown,
            log["hint_rankings"],
            log["users"],
            Histories.of(history_of(given, "history")),
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
    return Output(tables={"samples": samples}, metrics=metrics)


SAMPLES = Stage(
    name="samples",
    needs=("s3", "mlflow"),
    reads=(
        Logs("history", BEHAVIOUR_TABLES, history),
        Logs("today", ("hint_impressions", "hint_rankings", "users"), today),
        Release("item-texts"),
    ),
    settings=lambda settings: SampleSlice(
        seed=settings.seed,
        labels=settings.samples.labels,
        history_lines=settings.samples.history_lines,
        holdout=settings.samples.holdout,
        engine=settings.engine,
    ),
    compute=compute,
)
