"""`aigq study`: does IL-GRPO help, and is it luck? The released days again, with other seeds.

For every seed: IL-SFT from the base model, then one update a day by each of the variants, judged
on that day's held-out users. Samples and click models are those of the released days, so the runs
differ in nothing but the training: same prompts, same number of rollouts and updates, same
rewards. Each step is a stage of its own name: the study resumes where it stopped, and no release
ever refers to it. IL-SFT and IL-GRPO with the seed of the settings need no training: they were
released.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.arms import scores_of
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci
from aigq_tasks.evaluation.truth import headed
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.calendar import days_between, eve
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import need, table
from aigq_tasks.pipeline.reads import Moment, Result
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.policy.config import GrpoConfig
from aigq_tasks.research.judging import (
    RULES,
    ArmSlice,
    arm_settings,
    compute_arm,
    seeded,
    stage_name,
)
from aigq_tasks.research.levels import HOW_TO_READ, METRICS, change, distinct, level
from aigq_tasks.stages.evaluate import JUDGED, RIVALS
from aigq_tasks.stages.first_policies import SFT, SftSlice
from aigq_tasks.stages.update import POLICY, UpdateSlice

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings

TRAINING = ("reward", "entropy", "clipped/certain", "clipped/uncertain", "dropped_prompts")
KEYS = ["seed", "day", "user_id"]
IL_SFT = "il-sft"
# What each variant changes in the settings `policy.grpo`; the first is what the daily loop trains.
VARIANTS: dict[str, dict[str, Any]] = {
    "il-grpo": {},
    "grpo": {"algorithm": "grpo"},
    "il-grpo, equal bounds": {"uncertain": GrpoConfig().certain},
    "il-grpo, no entropy bonus": {"entropy_bonus": 0.0},
}
RELEASED = {IL_SFT: "sft", "il-grpo": "challenger"}  # arms of a released day's own evaluation


def study_sft(seed: int) -> Stage[SftSlice]:
    """IL-SFT with another seed."""
    return replace(
        SFT,
        name=f"study-sft-{seed}",
        needs=("s3",),
        settings=lambda settings: SFT.settings(seeded(settings, seed)),
    )


def study_policy(variant: str, seed: int) -> Stage[UpdateSlice]:
    """One update, with another seed, of the study's own policy of the day before."""
    name = stage_name("study", "policy", variant, seed)

    def changed(settings: "Settings") -> "Settings":
        policy = seeded(settings, seed).policy
        grpo = policy.grpo.model_copy(update=VARIANTS[variant])
        return settings.model_copy(update={"policy": policy.model_copy(update={"grpo": grpo})})

    # One key, and on every day one of the two: what the update starts from.
    parent = (
        Result(study_sft(seed).name, eve, when=_is_first, key="release direct"),
        Result(name, eve, when=lambda moment: not _is_first(moment), key="release direct"),
    )
    return replace(
        POLICY.reading(*parent),
        name=name,
        needs=("s3",),
        settings=lambda settings: POLICY.settings(changed(settings)),
    )


def study_evaluate(arm: str, seed: int) -> Stage[ArmSlice]:
    """One arm on the day's held-out users: a variant's policy of the day, or the IL-SFT policy."""
    if arm == IL_SFT:
        policy = Result(study_sft(seed).name, _bootstrap_day, key="policy")
    else:
        policy = Result(study_policy(arm, seed).name, key="policy")
    return Stage(
        name=stage_name("study", "evaluate", arm, seed),
        needs=("s3",),
        reads=(policy, *JUDGED),
        settings=lambda settings: arm_settings(settings, arm),
        compute=compute_arm,
    )


def _is_first(moment: Moment) -> bool:
    """Whether no variant has updated a policy yet."""
    return eve(moment) == moment.settings.bootstrap_day


def _bootstrap_day(moment: Moment) -> date:
    return moment.settings.bootstrap_day


def study(ctx: Context, last: date, variants: Sequence[str], seeds: Sequence[int]) -> str:
    """Run the study for the days after the bootstrap day up to `last`; its `report`.

    AigqError for an unknown variant, or if a day has no samples, click model or release yet."""
    for variant in variants:
        if variant not in VARIANTS:
            raise AigqError(f"no variant {variant!r}: one of {', '.join(map(repr, VARIANTS))}")
    preflight(("s3",), ctx)
    first = ctx.settings.bootstrap_day + timedelta(days=1)
    days = days_between(first, last)
    runs = [(arm, seed) for seed in seeds for arm in (IL_SFT, *variants)]
    for stage, day in track(study_steps(ctx.settings, days, runs), "training and judging"):
        run_stage(stage, ctx, day)
    scores = pd.concat(_tables(ctx, days, arm, seed, "scores") for arm, seed in runs)
    variety = pd.concat(
        [
            *(_tables(ctx, days, arm, seed, "variety") for arm, seed in runs),
            _rules(ctx, days, "variety"),
        ]
    )
    trained = [_training(ctx, days, variant, seeds) for variant in variants]
    rules = _rules(ctx, days, "scores")
    return report(scores, rules, variety, ctx.source.label, ctx.settings.seed, trained)


def study_steps(
    settings: "Settings", days: Sequence[date], runs: Sequence[tuple[str, int]]
) -> list[tuple[Stage[Any], date]]:
    """What the runs need beside what was released, in an order in which it can run: day by day, so
    that all runs of a day share what they read of it."""
    new = [(arm, seed) for arm, seed in runs if not _was_released(settings, arm, seed)]
    first = settings.bootstrap_day
    steps: list[tuple[Stage[Any], date]] = [
        (study_sft(seed), first) for seed in dict.fromkeys(seed for _, seed in new)
    ]
    for day in days:
        for arm, seed in new:
            if arm != IL_SFT:
                steps.append((study_policy(arm, seed), day))
            steps.append((study_evaluate(arm, seed), day))
    return steps


def _was_released(settings: "Settings", arm: str, seed: int) -> bool:
    return seed == settings.policy.seed and arm in RELEASED


def _tables(ctx: Context, days: Sequence[date], arm: str, seed: int, name: str) -> pd.DataFrame:
    """A table of one run with seed and day: "scores" of user-days, or "variety" of days. A
    rejected challenger counts as it was."""
    judge = "evaluate" if _was_released(ctx.settings, arm, seed) else study_evaluate(arm, seed).name
    dated = [table(ctx, need(ctx, judge, day), name).assign(day=day.isoformat()) for day in days]
    rows = pd.concat(dated).assign(seed=seed)
    return rows[rows["arm"].isin([arm, RELEASED.get(arm)])].assign(arm=arm)


def _rules(ctx: Context, days: Sequence[date], name: str) -> pd.DataFrame:
    """The same of the RULES, which the released days have scored on the same users."""
    dated = [
        table(ctx, need(ctx, RIVALS.name, day), name).assign(day=day.isoformat()) for day in days
    ]
    rows = pd.concat(dated)
    return rows[rows["arm"].isin(RULES)]


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
    released = _was_released(ctx.settings, variant, seed)
    return POLICY.name if released else study_policy(variant, seed).name


def report(
    scores: pd.DataFrame,
    rules: pd.DataFrame,
    variety: pd.DataFrame,
    source: str,
    seed: int,
    trained: Sequence[dict[str, str]] = (),
) -> str:
    """Markdown: what each variant changed against IL-SFT, and the first against the others, per
    seed and for all seeds together; how much the change of the needs met grows from day to day;
    the first variant against IL-SFT per day; and the level of each arm beside what needs no
    language model.

    scores: arm (the variants, IL_SFT), user_id, seed, day and the METRICS. rules: the same of the
    RULES, without seed. variety: of `distinct_queries`, all arms. source: whose days they are.
    Intervals: 95% bootstrap over users, all days and seeds of a user together; `seed` is the
    bootstrap's. trained: rows of what the trainings logged, for a table at the end."""
    arms = [variant for variant in VARIANTS if variant in set(scores["arm"])]
    pairs = [(arm, IL_SFT) for arm in arms] + [(arms[0], other) for other in arms[1:]]
    levels = [
        {"arm": arm, "user-days": str(len(own))}
        | level(own, METRICS, seed)
        | {"distinct_queries": distinct(variety, arm)}
        for table_of, names in ((scores, [IL_SFT, *arms]), (rules, RULES))
        for arm in names
        for own in [scores_of(table_of, arm)]
    ]
    by_day = [
        _row("day", str(day), rows, arms[0], IL_SFT, seed) for day, rows in scores.groupby("day")
    ]
    return (
        "# Study: what the daily updates change\n\n"
        f"{source}: held-out users of each day. {HOW_TO_READ} In each cell: the second arm, then "
        "the change by the first with its 95% interval over users.\n\n"
        + "\n".join(_section(scores, new, old, seed) for new, old in pairs)
        + f"\n## {arms[0]} against {IL_SFT} by day, all seeds\n\n{markdown(by_day)}"
        + "\n## Every arm beside what needs no language model, all days and seeds\n\n"
        + markdown(levels)
        + (f"\n## In training, mean over days and seeds\n\n{markdown(trained)}" if trained else "")
    )


def _section(scores: pd.DataFrame, new: str, old: str, seed: int) -> str:
    groups = [(str(number), rows) for number, rows in scores.groupby("seed")]
    parts = [*groups, ("all", scores)]
    rows = [_row("seed", name, part, new, old, seed) for name, part in parts]
    written = f"## {new} against {old}\n\n{markdown(rows)}\n"
    if scores["needs_10"].isna().all():
        return written
    return (
        f"{written}The change of `needs_10` grows by {trend(scores, new, old, seed)} a day "
        "(least squares over all user-days).\n"
    )


def trend(scores: pd.DataFrame, new: str, old: str, seed: int) -> str:
    """Slope of (needs met by new − by old) over days, with its 95% interval over users.

    The slope is the mean of (t − t̄) · change / Var(t) over user-days, t the day's number; 0 for a
    single day."""
    after, before = (_judged(scores, arm, "needs_10") for arm in (new, old))
    days = pd.to_datetime(before["day"]).map(pd.Timestamp.toordinal).to_numpy(np.float64)
    gain = after["needs_10"].to_numpy(np.float64) - before["needs_10"].to_numpy(np.float64)
    parts = (days - days.mean()) * gain / (days.var() or 1.0)
    slope = bootstrap_mean_ci(parts, before["user_id"].tolist(), seed=seed)
    return f"{slope.mean:+.4f} [{slope.low:+.4f}, {slope.high:+.4f}]"


def _judged(scores: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """The arm's rows that have the metric, in an order of their own."""
    return scores_of(scores, arm).dropna(subset=[metric]).sort_values(KEYS)


def _row(
    title: str, name: str, scores: pd.DataFrame, new: str, old: str, seed: int
) -> dict[str, str]:
    row = {title: name, "user-days": str(len(scores_of(scores, old)))}
    for metric in METRICS:
        after, before = (_judged(scores, arm, metric) for arm in (new, old))
        users = before["user_id"].tolist()
        row[headed(metric)] = change(after[metric], before[metric], users, seed)
    return row
