"""`aigq study`: does IL-GRPO help, and is it luck? The released days again, with other seeds.

For every seed: IL-SFT from the base model, then one IL-GRPO update a day, each judged on that
day's held-out users against the IL-SFT policy it came from. Samples and click models are those of
the released days, so the seeds differ in nothing but the training. Each step is a stage of its
own name: the study resumes where it stopped, and no release ever refers to it. The seed of the
settings needs no training: it is the one that was released.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.evaluate import (
    EvaluateStage,
    held_out_case,
    policy_lists,
    policy_scores,
    score_arms,
)
from aigq_tasks.stages.policy import PolicyStage
from aigq_tasks.stages.reading import days_between, need, table
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.stages.sft import SftStage
from aigq_tasks.stages.show import markdown
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

KEYS = ["seed", "day", "user_id"]
METRICS = ("true_click", "query_hr_10", "query_hr_30", "cate_hr_30", "unique_cates")


class StudySft(SftStage):
    """IL-SFT with the seed of the context's settings."""

    needs = ("s3",)

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.name = f"study-sft-{seed}"


class StudyPolicy(PolicyStage):
    """One IL-GRPO update of the study's own policy of the day before."""

    needs = ("s3",)

    def __init__(self, seed: int) -> None:
        self.sft, self.name = StudySft(seed).name, f"study-policy-{seed}"

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return super().inputs(ctx, day) | {"parent": self.parent(ctx, day).digest}

    def parent(self, ctx: Context, day: date) -> Manifest:
        eve = day - timedelta(days=1)
        return need(ctx, self.sft if eve == ctx.settings.bootstrap_day else self.name, eve)


class StudyEvaluate(EvaluateStage):
    """The seed's policy of the day and its IL-SFT policy, on the day's held-out users."""

    needs = ("s3",)

    def __init__(self, seed: int) -> None:
        self.sft, self.policy = StudySft(seed).name, StudyPolicy(seed).name
        self.name = f"study-evaluate-{seed}"

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        own = {arm: manifest.digest for arm, manifest in self._policies(ctx, day).items()}
        return super().inputs(ctx, day) | own

    def compute(self, ctx: Context, day: date) -> StageOutput:
        case = held_out_case(ctx, day)
        lists, valid = policy_lists(ctx, self._policies(ctx, day), case)
        scores = score_arms(ctx, day, case, lists, valid)
        return StageOutput(files={"scores.parquet": to_parquet(scores)}, metrics={})

    def _policies(self, ctx: Context, day: date) -> dict[str, Manifest]:
        return {
            "challenger": need(ctx, self.policy, day),
            "sft": need(ctx, self.sft, ctx.settings.bootstrap_day),
        }


def study(ctx: Context, last: date, seeds: Sequence[int], out: Path) -> None:
    """Run the study for the days after the bootstrap day up to `last`, and write its report.

    AigqError if a day has no samples, click model or release yet."""
    preflight(("s3",), ctx)
    first = ctx.settings.bootstrap_day + timedelta(days=1)
    days = days_between(first, last)
    released = ctx.settings.policy.seed
    scores = pd.concat(
        _released(ctx, days) if seed == released else _one_seed(ctx, days, seed) for seed in seeds
    )
    out.write_text(report(scores, ctx.settings.seed))
    print(f"study written to {out}")


def _released(ctx: Context, days: Sequence[date]) -> pd.DataFrame:
    """The scores of the released days themselves; a rejected challenger counts as it was."""
    frames = [
        table(ctx, need(ctx, "evaluate", day), "scores").assign(
            seed=ctx.settings.policy.seed, day=day.isoformat()
        )
        for day in days
    ]
    scores = pd.concat(frames)
    return scores[scores["arm"].isin(["challenger", "sft"])]


def _one_seed(ctx: Context, days: Sequence[date], seed: int) -> pd.DataFrame:
    seeded = ctx.with_seed(seed)
    run_stage(StudySft(seed), seeded, ctx.settings.bootstrap_day)
    frames = []
    for day in days:
        run_stage(StudyPolicy(seed), seeded, day)
        judged = run_stage(StudyEvaluate(seed), seeded, day)
        frames.append(table(seeded, judged, "scores").assign(seed=seed, day=day.isoformat()))
    return pd.concat(frames)


def report(scores: pd.DataFrame, seed: int) -> str:
    """Markdown: per seed and for all seeds together, and per day, what IL-GRPO changed, and by
    how much the change of the true click probability grows from day to day.

    scores: arm ("challenger", "sft"), user_id, seed, day and the METRICS. Intervals: 95%
    bootstrap over users, all days and seeds of a user together; `seed` is the bootstrap's."""
    groups = [(str(number), rows) for number, rows in scores.groupby("seed")]
    by_seed = [_row("seed", name, rows, seed) for name, rows in [*groups, ("all", scores)]]
    by_day = [_row("day", str(day), rows, seed) for day, rows in scores.groupby("day")]
    return (
        "# Study: IL-GRPO against the IL-SFT policy it started from\n\n"
        "Replayed market (simulated). Held-out users of each day; `true_click` is the market's "
        "own click probability of the first ten queries, which no model sees. In each cell: "
        "IL-SFT, then the change by IL-GRPO with its 95% interval over users.\n\n"
        f"{markdown(by_seed)}\n## By day, all seeds\n\n{markdown(by_day)}\n"
        f"The change of `true_click` grows by {trend(scores, seed)} a day (least squares over all "
        "user-days).\n"
    )


def trend(scores: pd.DataFrame, seed: int) -> str:
    """Slope of (true click after − before) over days, with its 95% interval over users.

    The slope is the mean of (t − t̄) · change / Var(t) over user-days, t the day's number; 0 for a
    single day."""
    after, before = (_judged(scores, arm, "true_click") for arm in ("challenger", "sft"))
    days = pd.to_datetime(before["day"]).map(pd.Timestamp.toordinal).to_numpy(np.float64)
    change = after["true_click"].to_numpy(np.float64) - before["true_click"].to_numpy(np.float64)
    parts = (days - days.mean()) * change / (days.var() or 1.0)
    found = bootstrap_mean_ci(parts, before["user_id"].tolist(), seed=seed)
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _judged(scores: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """The arm's rows that have the metric, in an order of their own."""
    return policy_scores(scores, arm).dropna(subset=[metric]).sort_values(KEYS)


def _row(title: str, name: str, scores: pd.DataFrame, seed: int) -> dict[str, str]:
    row = {title: name, "user-days": str(len(policy_scores(scores, "sft")))}
    for metric in METRICS:
        after, before = (_judged(scores, arm, metric) for arm in ("challenger", "sft"))
        users = before["user_id"].tolist()
        old, new = (rows[metric].to_numpy(np.float64) for rows in (before, after))
        level = bootstrap_mean_ci(old, users, seed=seed).mean
        change = paired_bootstrap(new, old, users, seed=seed)
        row[metric] = f"{level:.3f} {change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
    return row
