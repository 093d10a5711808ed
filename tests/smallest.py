"""The loop at its smallest: the same code on a tenth of the households and a few steps of
everything, as settings of the environment."""

from collections.abc import Sequence
from datetime import date, timedelta

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.bootstrap import STEPS, bootstrap
from aigq_tasks.releases.publish import publish
from aigq_tasks.stages.day import steps_of
from aigq_tasks.storage.manifests import Manifest

EVE = date(2017, 10, 8)
DAY = EVE + timedelta(days=1)
DAYS = (DAY, DAY + timedelta(days=1))
WHO = {"who": "test", "why": "smallest"}
SMALLEST = {
    "AIGQ_BOOTSTRAP_DAY": EVE.isoformat(),
    "AIGQ_LAUNCH_DAYS": "8",
    "AIGQ_MARKET__HOUSEHOLDS": "300",
    "AIGQ_HISTORY_DAYS": "14",
    "AIGQ_SAMPLES__BOOTSTRAP_DAYS": "3",
    "AIGQ_RECALL__EBR__EPOCHS": "1",
    "AIGQ_CTR__TRAIN__NUM_THREADS": "1",
    "AIGQ_GENERATION__LIST_LENGTH": "5",
    "AIGQ_GATE__MIN_USER_DAYS": "3",
    "AIGQ_GATE__VARIETY__MIN_DISTINCT": "3",
    "AIGQ_THREADS": "1",
    "AIGQ_POLICY__SFT__MAX_STEPS": "4",
    "AIGQ_THINK__SFT__MAX_STEPS": "4",
    "AIGQ_ITEM_TEXT__SFT__MAX_STEPS": "4",
    # Hardly trained models write as long as they may.
    "AIGQ_THINK__LIMITS__INTERESTS": "2",
    "AIGQ_THINK__LIMITS__QUERIES": "3",
    "AIGQ_THINK__LIMITS__RATIONALE_TOKENS": "4",
    "AIGQ_THINK__LIMITS__QUERY_TOKENS": "6",
    "AIGQ_POLICY__GRPO__STEPS": "2",
    "AIGQ_POLICY__GRPO__PROMPTS_PER_STEP": "2",
    "AIGQ_THINK__GRPO__STEPS": "2",
    "AIGQ_THINK__GRPO__PROMPTS_PER_STEP": "2",
    "AIGQ_THINK__GRPO__LIST_LENGTH": "6",
    "AIGQ_THINK__GRPO__MAX_NEW_TOKENS": "80",
    "AIGQ_THINK__UPDATE_DAYS": "2",
    "AIGQ_SERVABLE__MAX_SECONDS": "60",  # the machine may be busy
}


def run_day(ctx: Context, day: date) -> dict[str, Manifest]:
    return {step.name: run_stage(step.stage, ctx, day) for step in steps_of(ctx.settings, day)}


def release(ctx: Context, days: Sequence[date]) -> None:
    """Bootstrap and release the days, by way of the stages alone, one by one."""
    for step in STEPS:
        bootstrap(ctx, EVE, step, **WHO)
    for day in days:
        run_day(ctx, day)
        publish(ctx, day, **WHO)
