"""Stage `recall`: the classic recall sources, rebuilt on the logs up to and including the day."""

from datetime import date, timedelta

import pandas as pd

from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Release
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import EbrConfig
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of


class RecallSlice(Slice):
    """seed: of the two-tower model, which trains in one thread whatever the setting."""

    seed: int
    ebr: EbrConfig


def compute(given: Given, settings: RecallSlice, day: date) -> Output:
    """Popularity, co-click and own-history anew; the two-tower EBR continued from the parent."""
    from aigq_tasks.policy.backbone import make_deterministic
    from aigq_tasks.recall import coclick, ebr, own_history, popularity

    make_deterministic(settings.seed, threads=1)
    behaviours, as_of = history_of(given, "history"), pd.Timestamp(day + timedelta(days=1))
    parent = None
    if given.released("recall"):
        parent = ebr.Ebr.from_files(given.release("recall").files("ebr/"))
    two_tower, losses = ebr.train(behaviours, as_of, settings.ebr, settings.seed, parent)
    sources = (
        popularity.build(behaviours, as_of),
        coclick.build(behaviours, as_of),
        own_history.build(behaviours, as_of),
        two_tower,
    )
    return Output(
        files={
            f"{source.name}/{name}": data
            for source in sources
            for name, data in source.to_files().items()
        },
        metrics={"behaviours": float(len(behaviours)), "ebr_loss": round(losses[-1], 6)},
    )


RECALL = Stage(
    name="recall",
    needs=("s3", "mlflow"),
    reads=(Logs("history", BEHAVIOUR_TABLES, history), Release("item-texts"), Release("recall")),
    settings=lambda settings: RecallSlice(seed=settings.seed, ebr=settings.recall.ebr),
    compute=compute,
)
