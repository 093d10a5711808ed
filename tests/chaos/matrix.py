"""The crash matrix: every stage at every crash point, killed, run again, compared.

A cell starts from a world in which all is done but its own stage. A child runs the stage and is
killed at the point; what it left must look to every reader as if it had not run, or as if it had
run to its end. Another child runs the stage again; then the world must be what it was before the
cell: the same keys and bytes in S3, one run and one model version in MLflow.
"""

import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from chaos import releases
from chaos.cells import Cell, Outcome, World, killed_and_run_again
from servers import tracking_of

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.settings import Settings
from aigq_tasks.storage.crash import (
    MODEL_POINTS,
    STAGE_POINTS,
    TRACKING_POINTS,
    TRAINING_POINTS,
)
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key, sha256
from aigq_tasks.tracking.registry import REGISTERED_MODELS
from aigq_tasks.tracking.runs import NOT_IN_NAMES

TRAINED = ("policy", "think-policy")


def cells(stages: Sequence[Stage[Any]]) -> list[Cell]:
    """All of them, in the order of a day."""
    named = {stage.name: points_of(stage) for stage in stages} | releases.RELEASE_CELLS
    return [Cell(name, point) for name, points in named.items() for point in points]


def points_of(stage: Stage[Any]) -> tuple[str, ...]:
    training = TRAINING_POINTS if stage.name in TRAINED else ()
    model = MODEL_POINTS if stage.name in REGISTERED_MODELS else ()
    tracking = TRACKING_POINTS[:3] + model + TRACKING_POINTS[3:]
    return training + STAGE_POINTS + (tracking if "mlflow" in stage.needs else ())


def some(all_cells: Sequence[Cell], count: int, seed: int) -> list[Cell]:
    """A drawn part of the cells, in their order."""
    drawn = set(random.Random(seed).sample(all_cells, count))
    return [cell for cell in all_cells if cell in drawn]


def run_cells(world: World, chosen: Sequence[Cell]) -> Iterator[Outcome]:
    """The outcome of each cell; AssertionError at the first that does not recover."""
    stages = {stage.name: stage for stage in world.stages}
    references = releases.references(world, {cell.stage for cell in chosen})
    for cell in chosen:
        if cell.stage in stages:
            yield _stage_cell(world, stages[cell.stage], cell)
        else:
            yield releases.release_cell(world, cell, references)


def _stage_cell(world: World, stage: Stage[Any], cell: Cell) -> Outcome:
    settings = with_experiment(world.settings, f"{cell.stage}-{cell.point}-{uuid.uuid4().hex[:6]}")
    ctx = Context.open(settings)
    before = ctx.store.list("")
    [key] = ctx.store.list(f"manifests/{cell.stage}/{world.day}/")
    result = ctx.manifests.read(key)
    # From "run" on a cell begins where the result is stored and its run is lost: computing it
    # anew would take most of the matrix's time and pass the same points.
    computes = cell.point in TRAINING_POINTS + STAGE_POINTS
    if computes:
        _forget(ctx, key, result)

    def torn() -> None:
        seen = set(ctx.store.list("manifests/"))
        hidden = computes and cell.point != "manifest"
        assert {name for name in before if name.startswith("manifests/")} - seen == (
            {key} if hidden else set()
        )
        assert not tracking_of(settings).has(result)

    outcome = killed_and_run_again(world, cell, torn, world.run, settings, stage.name, world.day)
    assert ctx.store.list("") == before
    assert ctx.store.get(key) == result.to_bytes()
    for output in result.outputs.values():
        assert len(ctx.store.get_blob(output.digest)) == output.size
    if "mlflow" in stage.needs:
        check_tracked(settings, result)
    return outcome


def with_experiment(settings: Settings, name: str) -> Settings:
    """The same with an MLflow experiment of its own, which holds nothing yet."""
    mlflow = settings.mlflow.model_copy(update={"experiment": name})
    return settings.model_copy(update={"mlflow": mlflow})


def _forget(ctx: Context, key: str, result: Manifest) -> None:
    """Remove a result as if its stage had never run: what no other result shares with it."""
    others = [ctx.manifests.read(own) for own in ctx.store.list("manifests/") if own != key]
    shared = {output.digest for own in others for output in own.outputs.values()}
    own = {output.digest for output in result.outputs.values()} | {sha256(result.to_bytes())}
    ctx.store.delete(key)
    for digest in own - shared:
        ctx.store.delete(blob_key(digest))


def check_tracked(settings: Settings, result: Manifest) -> None:
    """One finished run, one series with each number once, one model version where it is one."""
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow.url)
    experiment = client.get_experiment_by_name(settings.mlflow.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [series] = [run for run in runs if run.data.tags.get("kind") == "series"]
    [run] = [run for run in runs if run.info.run_id != series.info.run_id]
    assert [run.info.status, series.info.status] == ["FINISHED"] * 2
    assert run.data.tags["manifest"] == result.digest
    numbers = {
        NOT_IN_NAMES.sub("_", name): value
        for name, value in result.metrics.items()
        if not isinstance(value, str)
    }
    assert numbers.items() <= run.data.metrics.items()
    for name in numbers:
        assert len(client.get_metric_history(run.info.run_id, name)) == 1
        assert len(client.get_metric_history(series.info.run_id, f"{result.stage}/{name}")) == 1
    if result.stage in REGISTERED_MODELS:
        [version] = client.search_model_versions(f"run_id = '{run.info.run_id}'")
        assert version.tags["manifest"] == result.digest
        files = {one.path for one in client.list_artifacts(run.info.run_id, "model")}
        held = {name for name in result.outputs if not name.startswith("charts/")}
        assert files == {f"model/{name}" for name in held}
