"""`aigq ablation`: what each part of the samples is worth, for AIGQ-Direct and AIGQ-Think.

Every variant is IL-SFT from the base model on the bootstrap days, with one part changed, judged
on all users of the days after: no variant has learned from those days. Nothing is released, and
each step is a stage of its own name, so an ablation resumes where it stopped.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.intervals import paired_bootstrap
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.calendar import bootstrap_days, days_between, sessions
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import table
from aigq_tasks.pipeline.reads import Result, Results
from aigq_tasks.pipeline.runner import given_for, run_stage
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.research.judging import (
    RULES,
    ArmSlice,
    arm_settings,
    compute_arm,
    compute_rules,
    seeded,
    stage_name,
)
from aigq_tasks.research.levels import HOW_TO_READ, METRICS, distinct, level
from aigq_tasks.research.variants import (
    VARIANTS,
    Variant,
    VariantSlice,
    compute_sft,
    learned_from,
)
from aigq_tasks.stages.direct_samples import SAMPLES
from aigq_tasks.stages.evaluate import JUDGED, STACKED, ClassicSlice, classic_slice
from aigq_tasks.stages.first_policies import SFT, THINK_SFT
from aigq_tasks.storage.manifests import Manifest

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings

HIT = "query_hr_30"
MEASURED = (*METRICS, "sem_sim", "valid")
# AIGQ-Direct's samples of the bootstrap days, items called by their titles; nobody held out.
TITLED_SAMPLES = replace(
    SAMPLES.without("release item-texts"),
    name="ablation-samples-titled",
    needs=("s3",),
    settings=lambda settings: SAMPLES.settings(settings).model_copy(update={"holdout": 0.0}),
)


def ablation_sft(variant: Variant, seed: int) -> Stage[VariantSlice]:
    """The training of the policy that writes for the variant."""
    released = THINK_SFT if variant.think else SFT

    def changed(settings: "Settings") -> VariantSlice:
        own = dict(released.settings(seeded(settings, seed)))
        return VariantSlice(**own, think=variant.think, change=variant.change)

    learner = Stage(
        name=stage_name("ablation", "sft", variant.learner, seed),
        needs=("s3",),
        reads=released.reads,
        settings=changed,
        compute=compute_sft,
    )
    if not variant.titled:
        return learner
    return learner.reading(
        Results(TITLED_SAMPLES.name, "sessions", sessions, key="samples: sessions")
    )


def ablation_evaluate(variant: Variant, seed: int) -> Stage[ArmSlice]:
    """The variant's lists for all users of a day, scored."""
    learner = ablation_sft(variant, seed).name

    def of_everybody(settings: "Settings") -> ArmSlice:
        arm = arm_settings(settings, variant.name, variant.think)
        changed = {"holdout": 1.0, "plain": variant.plain, "constrained": not variant.free}
        return arm.model_copy(update=changed)

    judge: Stage[ArmSlice] = Stage(
        name=stage_name("ablation", "evaluate", variant.name, seed),
        needs=("s3",),
        reads=(
            Result(learner, lambda moment: moment.settings.bootstrap_day, key="policy"),
            *JUDGED,
        ),
        settings=of_everybody,
        compute=compute_arm,
    )
    return judge.without("release item-texts") if variant.titled else judge


# What needs no language model, for the same users.
ABLATION_RULES: Stage[ClassicSlice] = Stage(
    name="ablation-evaluate-rules",
    needs=("s3",),
    reads=(*STACKED, *JUDGED),
    settings=lambda settings: classic_slice(settings).model_copy(update={"holdout": 1.0}),
    compute=compute_rules,
)


def ablation(ctx: Context, last: date, seeds: Sequence[int]) -> str:
    """Train and judge every variant with every seed up to the day `last`; the `report`.

    AigqError if a day up to `last` is not released yet."""
    preflight(("s3",), ctx)
    first = ctx.settings.bootstrap_day
    days = days_between(first + timedelta(days=1), last)
    for day in bootstrap_days(ctx.settings):
        run_stage(TITLED_SAMPLES, ctx, day)
    judged: list[tuple[int, date, Manifest]] = []
    tokens = {}
    for variant in VARIANTS:
        for seed in seeds:
            run_stage(ablation_sft(variant, seed), ctx, first)
            judge = ablation_evaluate(variant, seed)
            judged += [(seed, day, run_stage(judge, ctx, day)) for day in days]
        tokens[variant.name] = tokens_per_prompt(ctx, _prompts(ctx, variant, seeds[0]))
    judged += [(0, day, run_stage(ABLATION_RULES, ctx, day)) for day in days]
    scores, variety = (_all(ctx, judged, name) for name in ("scores", "variety"))
    return report(scores, variety, tokens, len(seeds), ctx.source.label, ctx.settings.seed)


def _all(ctx: Context, judged: Sequence[tuple[int, date, Manifest]], name: str) -> pd.DataFrame:
    """A table of several results, with seed and day."""
    return pd.concat(
        table(ctx, made, name).assign(seed=seed, day=day.isoformat()) for seed, day, made in judged
    )


def _prompts(ctx: Context, variant: Variant, seed: int) -> list[str]:
    """Those that the variant learns from."""
    stage = ablation_sft(variant, seed)
    given = given_for(ctx, ctx.settings.bootstrap_day, stage.reads)
    rows = learned_from(given, stage.settings(ctx.settings))
    return list(rows["prompt"])


def tokens_per_prompt(ctx: Context, prompts: Sequence[str]) -> float:
    """Mean number of tokens, by the tokenizer of the backbone."""
    from aigq_tasks.policy.backbone import load_backbone

    tokens = THINK_SFT.settings(ctx.settings).tokens
    _, tokenizer = load_backbone(ctx.settings.policy.backbone, tokens)
    return float(np.mean([len(ids) for ids in tokenizer(list(prompts))["input_ids"]]))


def report(
    scores: pd.DataFrame,
    variety: pd.DataFrame,
    tokens: dict[str, float],
    seeds: int,
    source: str,
    seed: int,
) -> str:
    """Markdown: per variant tokens per prompt, what is MEASURED over all days and seeds, and the
    paired change of Query HR@30 to the variant it is based on; 95% bootstrap over users; below
    them what needs no language model.

    scores: arm (a variant's name, or one of the RULES), user_id, seed, day and what is MEASURED.
    variety: of `distinct_queries`. seeds: how many. source: whose days they are."""
    rows = [_row(variant, scores, tokens, seed) for variant in VARIANTS]
    rows += [_rule(arm, scores, seed) for arm in RULES]
    for row in rows:
        row["distinct_queries"] = distinct(variety, row["variant"])
    return (
        "# Ablation of IL-SFT\n\n"
        f"{source}: all users of the days after the bootstrap, {seeds} seeds; "
        "no variant learned from these days. The teacher of AIGQ-Think is the one named in the "
        "manifests of `think-samples`. `valid` is the share of user-days with a well-formed list "
        "whose queries may all be shown; AIGQ-Think writes none for a shopper without a history."
        f" {HOW_TO_READ}\n\n{markdown(rows)}"
    )


def _row(
    variant: Variant, scores: pd.DataFrame, tokens: dict[str, float], seed: int
) -> dict[str, str]:
    own = _of(scores, variant.name)
    row = {
        "variant": variant.name,
        "user-days": str(len(own)),
        "tokens per prompt": f"{tokens[variant.name]:.0f}",
        **level(own, MEASURED, seed),
        "change of query_hr_30": "-",
    }
    if variant.base:
        own, base = (_of(scores, name).dropna(subset=HIT) for name in (variant.name, variant.base))
        hit, before = (side[HIT].to_numpy(np.float64) for side in (own, base))
        change = paired_bootstrap(hit, before, own["user_id"].tolist(), seed=seed)
        row["change of query_hr_30"] = f"{change} to {variant.base}"
    return row


def _rule(arm: str, scores: pd.DataFrame, seed: int) -> dict[str, str]:
    own = _of(scores, arm)
    row = {"variant": arm, "user-days": str(len(own)), "tokens per prompt": "-"}
    return row | level(own, MEASURED, seed) | {"change of query_hr_30": "-"}


def _of(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    return scores[scores["arm"] == name].sort_values(["seed", "day", "user_id"])
