"""A world that is built in seconds: one stage, two releases."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
from chaos import children
from chaos.cells import World

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reading import need
from aigq_tasks.pipeline.reads import Result
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall import u2q
from aigq_tasks.releases.live import publish_release
from aigq_tasks.settings import Settings
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.tables import to_parquet

FIRST = date(2017, 11, 6)
DAY = FIRST + timedelta(days=1)
LISTS = ("u2q", "x2q")


class Factor(Slice):
    factor: int = 2


def _scaled(given: Given, settings: Factor, day: date) -> Output:
    numbers = [int(n) for n in given.result("numbers").file("n.txt").split()]
    return Output(
        files={"doubled.txt": b" ".join(b"%d" % (settings.factor * n) for n in numbers)},
        metrics={"mean": settings.factor * sum(numbers) / len(numbers), "unit": "queries"},
        charts={"bars.png": b"\x89PNG, as good as any for storing"},
    )


# Twice the day's numbers. It goes by the name of a stage whose results are models.
SCALE = Stage("ctr", ("s3", "mlflow"), (Result("numbers"),), lambda _: Factor(), _scaled)


def land(settings: Settings) -> Context:
    """What the stage and both releases are made of."""
    ctx = Context.open(settings)
    _land(ctx, "numbers", DAY, {"n.txt": b"1 2 6"})
    for day in (FIRST, DAY):
        lists = u2q.build({"ann": [f"tea {day}"], "bob": ["jam"]}, day)
        index = pd.DataFrame(
            [("tea", 1, f"jam {day}", 0.5)], columns=["trigger", "rank", "query", "score"]
        )
        for name, entries in zip(LISTS, (lists, index), strict=True):
            _land(ctx, name, day, {f"{name}.parquet": to_parquet(entries)})
    return ctx


def build(settings: Settings, logs: Path) -> World:
    """The stage has run, and both days are released."""
    children.warm("mlflow", "aigq_tasks.releases.rollback")
    run_stage(SCALE, land(settings), DAY)
    for day in (FIRST, DAY):
        publish(settings, day)
    return World(settings, DAY, [SCALE], run_scale, publish, logs)


def run_scale(settings: Settings, stage: str, day: date) -> None:
    run_stage(SCALE, Context.open(settings), day)


def publish(settings: Settings, day: date) -> None:
    ctx = Context.open(settings)
    models = {name: need(ctx, name, day).digest for name in LISTS}
    entry = Entry(
        day=day,
        revision=1,
        parent=None,
        models={**models, "direct": models["u2q"]},
        verdict="accepted",
        code="c" * 64,
        config="d" * 64,
        who="ann",
        why="daily run",
    )
    publish_release(ctx, entry)


def _land(ctx: Context, stage: str, day: date, files: dict[str, bytes]) -> None:
    outputs = {name: Blob(ctx.store.put_blob(data), len(data)) for name, data in files.items()}
    ctx.manifests.create(Manifest(stage=stage, day=day, outputs=outputs))
