"""What the crash matrix disturbs: a bootstrap and one released day at the smallest size."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import servers
from chaos import children
from chaos.cells import World
from smallest import DAY, SMALLEST, WHO, release

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.publish import publish
from aigq_tasks.settings import Settings
from aigq_tasks.stages import day as table

BUCKET = "chaos"
STAGES = [step.stage for step in table.DAY]
IMPORTED = (
    "duckdb",
    "lightgbm",
    "mlflow",
    "aigq_tasks.policy.grpo_run",
    "aigq_tasks.releases.bootstrap",
    "aigq_tasks.releases.plan",
    "aigq_tasks.releases.rollback",
)
# A stage is computed several times per cell.
TINIER = {
    "AIGQ_THINK__UPDATE_DAYS": "1",  # every stage on the one day there is
    "AIGQ_MARKET__HOUSEHOLDS": "100",
    "AIGQ_HISTORY_DAYS": "7",
    "AIGQ_GENERATION__LIST_LENGTH": "2",
    "AIGQ_THINK__LIMITS__INTERESTS": "1",
    "AIGQ_THINK__LIMITS__QUERIES": "2",
    "AIGQ_POLICY__GRPO__PROMPTS_PER_STEP": "1",
    "AIGQ_THINK__GRPO__PROMPTS_PER_STEP": "1",
    "AIGQ_POLICY__GRPO__LIST_LENGTH": "2",
    "AIGQ_POLICY__GRPO__MAX_NEW_TOKENS": "24",
    "AIGQ_THINK__GRPO__MAX_NEW_TOKENS": "40",
    "AIGQ_SERVABLE__CANARIES": "2",
    "AIGQ_SERVABLE__REASONED": "1",
}


@contextmanager
def started(folder: Path) -> Iterator[Settings]:
    """Real servers with their data in the folder, and settings that name them."""
    children.warm(*IMPORTED)
    os.environ.update(SMALLEST | TINIER, AIGQ_STATE_DIR=str(folder / "state"))
    with ExitStack() as stack:
        s3 = stack.enter_context(servers.seaweedfs(folder / "seaweedfs"))
        mlflow = stack.enter_context(servers.mlflow_server(folder / "mlflow"))
        valkey = stack.enter_context(servers.valkey_server(folder / "valkey"))
        yield servers.settings_for(s3, BUCKET, mlflow, valkey)


def build(settings: Settings, logs: Path) -> World:
    """A bootstrap and a released day; AssertionError with the log's end if that fails."""
    log = logs / "build.log"
    assert children.run(log, release_day, settings) == 0, log.read_text()[-2000:]
    return whole(settings, DAY, logs)


def whole(settings: Settings, day: date, logs: Path) -> World:
    """The world in which the day is released, with all stages of the project."""
    return World(settings, day, STAGES, run_named, publish_day, logs)


def run_named(settings: Settings, stage: str, day: date) -> None:
    run_stage(table.find(stage).stage, Context.open(settings), day)


def publish_day(settings: Settings, day: date) -> None:
    publish(Context.open(settings), day, **WHO)


def release_day(settings: Settings) -> None:
    """Bootstrap, run the day stage by stage, and publish it."""
    release(Context.open(settings), [DAY])
