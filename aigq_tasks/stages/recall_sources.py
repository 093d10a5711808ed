"""Stage `recall`: the classic recall sources, rebuilt on the logs up to and including the day."""

from datetime import date, timedelta

import pandas as pd

from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Release
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import ClusterConfig, EbrConfig
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of
from aigq_tasks.serving.stack import classifier, embeddings, encoder


class RecallSlice(Slice):
    """seed: of the two-tower model and the clusters, which are made in one thread whatever the
    setting."""

    seed: int
    ebr: EbrConfig
    clusters: ClusterConfig


def compute(given: Given, settings: RecallSlice, day: date) -> Output:
    """Counted sources, vectors and clusters anew; the two-tower EBR continued from the parent."""
    from aigq_tasks.policy.backbone import make_deterministic
    from aigq_tasks.recall import cooccurrence, ebr, own_history, popularity
    from aigq_tasks.recall.clusters import embedded

    make_deterministic(settings.seed, threads=1)
    behaviours, as_of = history_of(given, "history"), pd.Timestamp(day + timedelta(days=1))
    parent, meanings = None, None
    if given.released("recall"):
        parent = ebr.Ebr.from_files(given.release("recall").files("ebr/"))
        meanings = embeddings(given.release("recall"))
    two_tower, losses = ebr.train(behaviours, as_of, settings.ebr, settings.seed, parent)
    meanings = embedded(behaviours, as_of, encoder(), settings.clusters, settings.seed, meanings)
    units: dict[str, cooccurrence.UnitOf | None] = {
        "text": None,
        "category": classifier(given.release("categories")).classify,
        "cluster": meanings.cluster_of,
    }
    counted = [
        cooccurrence.build(behaviours, as_of, kind, units[kind.unit]) for kind in cooccurrence.KINDS
    ]
    made = {
        "popularity": popularity.build(behaviours, as_of).to_files(),
        "own_history": own_history.build(behaviours, as_of).to_files(),
        "ebr": two_tower.to_files(),
        "embedded": meanings.to_files(),
    } | {one.name: one.to_files() for one in counted}
    return Output(
        files={f"{part}/{name}": data for part, own in made.items() for name, data in own.items()},
        metrics={"behaviours": float(len(behaviours)), "ebr_loss": round(losses[-1], 6)}
        | {f"ties/{one.name}": float(len(one.ties)) for one in counted},
    )


RECALL = Stage(
    name="recall",
    needs=("s3", "mlflow"),
    reads=(
        Logs("history", BEHAVIOUR_TABLES, history),
        *(Release(kind) for kind in ("item-texts", "categories", "recall")),
    ),
    settings=lambda settings: RecallSlice(
        seed=settings.seed, ebr=settings.recall.ebr, clusters=settings.recall.clusters
    ),
    compute=compute,
)
