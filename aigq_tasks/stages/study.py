"""`aigq study`: does IL-GRPO help, and is it luck? The released days again, with other seeds.

For every seed: IL-SFT from the base model, then one update a day by each of the variants, judged
on that day's held-out users. Samples and click models are those of the released days, so the runs
differ in nothing but the training: same prompts, same number of rollouts and updates, same
rewards. Each step is a stage of its own name: the study resumes where it stopped, and no release
ever refers to it. IL-SFT and IL-GRPO with the seed of the settings need no training: they were
released.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.policy.training import GrpoConfig
from aigq_tasks.stages.arms import held_out_case, policy_lists, score_arms
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.evaluate import EvaluateStage, policy_scores
from aigq_tasks.stages.policy import PolicyStage
from aigq_tasks.stages.reading import (
    days_between,
    live_entry,
    log_window,
    need,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.stages.sft import SftStage
from aigq_tasks.stages.show import markdown
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

METRICS = ("true_click", "query_hr_10", "query_hr_30", "cate_hr_30", "unique_cates")
TRAINING = ("reward", "entropy", "clipped/certain", "clipped/uncertain", "dropped_prompts")
KEYS = ["seed", "day", "user_id"]
SFT = "il-sft"
# What each variant changes in the settings `policy.grpo`; the first is what the daily loop trains.
VARIANTS: dict[str, dict[str, Any]] = {
    "il-grpo": {},
    "grpo": {"algorithm": "grpo"},
    "il-grpo, equal bounds": {"uncertain": GrpoConfig().certain},
    "il-grpo, no entropy bonus": {"entropy_bonus": 0.0},
}
RELEASED = {SFT: "sft", "il-grpo": "challenger"}  # arms of a released day's own evaluation


def _stage_name(kind: str, variant: str, seed: int) -> str:
    return f"study-{kind}-{variant.replace(', ', '-').replace(' ', '-')}-{seed}"


class StudySft(SftStage):
    """IL-SFT with the seed of the context's settings."""

    needs = ("s3",)

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.name = f"study-sft-{seed}"


class StudyPolicy(PolicyStage):
    """One update of the study's own policy of the day before."""

    needs = ("s3",)

    def __init__(self, variant: str, seed: int) -> None:
        super().__init__()
        self.sft, self.name = StudySft(seed).name, _stage_name("policy", variant, seed)

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return super().inputs(ctx, day) | {"parent": self.parent(ctx, day).digest}

    def parent(self, ctx: Context, day: date) -> Manifest:
        eve = day - timedelta(days=1)
        return need(ctx, self.sft if eve == ctx.settings.bootstrap_day else self.name, eve)


class StudyEvaluate(EvaluateStage):
    """One arm on the day's held-out users: a variant's policy of the day, or the IL-SFT policy."""

    needs = ("s3",)

    def __init__(self, arm: str, seed: int) -> None:
        self.arm, self.seed, self.name = arm, seed, _stage_name("evaluate", arm, seed)

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "policy": self._policy(ctx, day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        case = held_out_case(ctx, day)
        lists, valid = policy_lists(ctx, {self.arm: self._policy(ctx, day)}, case)
        scores = score_arms(ctx, day, case, lists, valid)
        return StageOutput(files={"scores.parquet": to_parquet(scores)}, metrics={})

    def _policy(self, ctx: Context, day: date) -> Manifest:
        if self.arm == SFT:
            return need(ctx, StudySft(self.seed).name, ctx.settings.bootstrap_day)
        return need(ctx, StudyPolicy(self.arm, self.seed).name, day)


def study(
    ctx: Context, last: date, variants: Sequence[str], seeds: Sequence[int], out: Path
) -> None:
    """Run the study for the days after the bootstrap day up to `last`, and write its report.

    AigqError for an unknown variant, or if a day has no samples, click model or release yet."""
    for variant in variants:
        if variant not in VARIANTS:
            raise AigqError(f"no variant {variant!r}: one of {', '.join(map(repr, VARIANTS))}")
    preflight(("s3",), ctx)
    first = ctx.settings.bootstrap_day + timedelta(days=1)
    days = days_between(first, last)
    runs = [(arm, seed) for seed in seeds for arm in (SFT, *variants)]
    scores = pd.concat(_run(ctx, days, arm, seed) for arm, seed in runs)
    trained = [_training(ctx, days, variant, seeds) for variant in variants]
    out.write_text(report(scores, ctx.settings.seed, trained))
    print(f"study written to {out}")


def _run(ctx: Context, days: Sequence[date], arm: str, seed: int) -> pd.DataFrame:
    """The scores of one run: arm, user_id, seed, day and the METRICS."""
    if seed == ctx.settings.policy.seed and arm in RELEASED:
        # A rejected challenger counts as it was.
        frames = [table(ctx, need(ctx, "evaluate", day), "scores") for day in days]
    else:
        frames = _trained(ctx, days, arm, seed)
    dated = [rows.assign(day=day.isoformat()) for rows, day in zip(frames, days, strict=True)]
    scores = pd.concat(dated).assign(seed=seed)
    return scores[scores["arm"].isin([arm, RELEASED.get(arm)])].assign(arm=arm)


def _trained(ctx: Context, days: Sequence[date], arm: str, seed: int) -> list[pd.DataFrame]:
    own = ctx.with_seed(seed).with_grpo(**VARIANTS.get(arm, {}))
    run_stage(StudySft(seed), own, ctx.settings.bootstrap_day)
    frames = []
    for day in days:
        if arm != SFT:
            run_stage(StudyPolicy(arm, seed), own, day)
        judged = run_stage(StudyEvaluate(arm, seed), own, day)
        frames.append(table(own, judged, "scores"))
    return frames


def _training(
    ctx: Context, days: Sequence[date], variant: str, seeds: Sequence[int]
) -> dict[str, str]:
    """One row: what the variant's updates logged, in the mean over days and seeds."""
    stages = [_policy_stage(ctx, variant, seed) for seed in seeds]
    logged = [need(ctx, stage, day).metrics for stage in stages for day in days]
    row = {"variant": variant}
    for metric in TRAINING:
        values = [float(one[metric]) for one in logged if metric in one]
        row[metric] = f"{np.mean(values):.4f}" if values else "-"
    return row


def _policy_stage(ctx: Context, variant: str, seed: int) -> str:
    released = seed == ctx.settings.policy.seed and variant in RELEASED
    return PolicyStage().name if released else StudyPolicy(variant, seed).name


def report(scores: pd.DataFrame, seed: int, trained: Sequence[dict[str, str]] = ()) -> str:
    """Markdown: what each variant changed against IL-SFT, and the first against the others, per
    seed and for all seeds together; how much the change of the true click probability grows from
    day to day; and the first variant against IL-SFT per day.

    scores: arm (the variants, SFT), user_id, seed, day and the METRICS. Intervals: 95% bootstrap
    over users, all days and seeds of a user together; `seed` is the bootstrap's. trained: rows of
    what the trainings logged, for a table at the end."""
    arms = [variant for variant in VARIANTS if variant in set(scores["arm"])]
    pairs = [(arm, SFT) for arm in arms] + [(arms[0], other) for other in arms[1:]]
    by_day = [
        _row("day", str(day), rows, arms[0], SFT, seed) for day, rows in scores.groupby("day")
    ]
    return (
        "# Study: what the daily updates change\n\n"
        "Replayed market (simulated). Held-out users of each day; `true_click` is the market's "
        "own click probability of the first ten queries, which no model sees. In each cell: "
        "the second arm, then the change by the first with its 95% interval over users.\n\n"
        + "\n".join(_section(scores, new, old, seed) for new, old in pairs)
        + f"\n## {arms[0]} against {SFT} by day, all seeds\n\n{markdown(by_day)}"
        + (f"\n## In training, mean over days and seeds\n\n{markdown(trained)}" if trained else "")
    )


def _section(scores: pd.DataFrame, new: str, old: str, seed: int) -> str:
    groups = [(str(number), rows) for number, rows in scores.groupby("seed")]
    rows = [_row("seed", name, own, new, old, seed) for name, own in [*groups, ("all", scores)]]
    return (
        f"## {new} against {old}\n\n{markdown(rows)}\n"
        f"The change of `true_click` grows by {trend(scores, new, old, seed)} a day (least "
        "squares over all user-days).\n"
    )


def trend(scores: pd.DataFrame, new: str, old: str, seed: int) -> str:
    """Slope of (true click of new − of old) over days, with its 95% interval over users.

    The slope is the mean of (t − t̄) · change / Var(t) over user-days, t the day's number; 0 for a
    single day."""
    after, before = (_judged(scores, arm, "true_click") for arm in (new, old))
    days = pd.to_datetime(before["day"]).map(pd.Timestamp.toordinal).to_numpy(np.float64)
    change = after["true_click"].to_numpy(np.float64) - before["true_click"].to_numpy(np.float64)
    parts = (days - days.mean()) * change / (days.var() or 1.0)
    found = bootstrap_mean_ci(parts, before["user_id"].tolist(), seed=seed)
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _judged(scores: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """The arm's rows that have the metric, in an order of their own."""
    return policy_scores(scores, arm).dropna(subset=[metric]).sort_values(KEYS)


def _row(
    title: str, name: str, scores: pd.DataFrame, new: str, old: str, seed: int
) -> dict[str, str]:
    row = {title: name, "user-days": str(len(policy_scores(scores, old)))}
    for metric in METRICS:
        after, before = (_judged(scores, arm, metric) for arm in (new, old))
        users = before["user_id"].tolist()
        was, now = (rows[metric].to_numpy(np.float64) for rows in (before, after))
        level = bootstrap_mean_ci(was, users, seed=seed).mean
        change = paired_bootstrap(now, was, users, seed=seed)
        row[metric] = f"{level:.3f} {change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
    return row
