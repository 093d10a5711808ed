"""`aigq ablation`: what each part of the samples is worth, for AIGQ-Direct and AIGQ-Think.

Every variant is IL-SFT from the base model on the bootstrap days, with one part changed, judged
on all users of the days after: no variant has learned from those days. Nothing is released, and
each step is a stage of its own name, so an ablation resumes where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import Interest, read_interests, render_interests
from aigq_tasks.context.prompt import Histories, Shopper, plain_text
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.stages.arms import held_out_case, score_arms
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.evaluate import EvaluateStage
from aigq_tasks.stages.generation import generate, generate_reasoned
from aigq_tasks.stages.reading import days_between, log_window, need, read_behaviours, table
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.sft import SftStage, bootstrap_days
from aigq_tasks.stages.show import markdown
from aigq_tasks.storage.tables import to_parquet

METRICS = ("query_hr_10", "query_hr_30", "cate_hr_30", "sem_sim", "unique_cates", "valid")


@dataclass(frozen=True)
class Variant:
    """base: the variant that it changes, "" if none. rows: (samples, seed) -> samples. plain:
    prompts are plain text. titled: items go by their titles. free: the policy of `base`, its
    decoding not constrained to the layout."""

    name: str
    base: str
    think: bool
    rows: Callable[[pd.DataFrame, int], pd.DataFrame]
    plain: bool = False
    titled: bool = False
    free: bool = False

    @property
    def learner(self) -> str:
        """The variant whose policy writes."""
        return self.base if self.free else self.name

    def prompt(self, shopper: Shopper) -> str:
        """How it is told of a shopper."""
        prompt = shopper.think_prompt() if self.think else shopper.prompt()
        return plain_text(prompt) if self.plain else prompt


def unchanged(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows


def unordered(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Labels in random order: of Direct the list, of Think interests and queries in each."""
    rng = np.random.default_rng(seed)
    if "target" in rows:
        return rows.assign(target=[_shuffled(target, rng) for target in rows["target"]])
    shuffled = [rng.permutation(list(labels)).tolist() for labels in rows["labels"]]
    return rows.assign(labels=pd.Series(shuffled, rows.index))


def _shuffled(target: str, rng: np.random.Generator) -> str:
    points = read_interests(target)
    shuffled = [
        replace(points[i], queries=tuple(rng.permutation(points[i].queries).tolist()))
        for i in rng.permutation(len(points))
    ]
    return render_interests(shuffled)


def unexplained(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every rationale is the same word; the layout stays."""

    def bare(point: Interest) -> Interest:
        return replace(point, rationale="lately")

    targets = [render_interests([*map(bare, read_interests(text))]) for text in rows["target"]]
    return rows.assign(target=targets)


def spelt_out(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Prompts as plain text."""
    return rows.assign(prompt=[plain_text(prompt) for prompt in rows["prompt"]])


VARIANTS = (
    Variant("direct", "", False, unchanged),
    Variant("direct, unordered labels", "direct", False, unordered),
    Variant("direct, plain-text prompt", "direct", False, spelt_out, plain=True),
    Variant("direct, titles for item texts", "direct", False, unchanged, titled=True),
    Variant("think", "direct", True, unchanged),
    Variant("think, unordered labels", "think", True, unordered),
    Variant("think, plain-text prompt", "think", True, spelt_out, plain=True),
    Variant("think, without rationales", "think", True, unexplained),
    Variant("think, free decoding", "think", True, unchanged, free=True),
)


def _stage_name(kind: str, name: str, seed: int) -> str:
    return f"ablation-{kind}-{name.replace(', ', '-').replace(' ', '-')}-{seed}"


class _TitledSamples(SamplesStage):
    """AIGQ-Direct's samples with items called by their titles."""

    name: ClassVar[str] = "ablation-samples-titled"
    needs: ClassVar[tuple[str, ...]] = ("s3",)

    def _histories(self, ctx: Context, day: date) -> Histories:
        return Histories.of(read_behaviours(ctx, log_window(ctx, day), None))


class _Sft(SftStage):
    """IL-SFT of one variant with the seed of the context's settings."""

    needs = ("s3",)

    def __init__(self, variant: Variant, seed: int) -> None:
        super().__init__(variant.think)
        self.name = _stage_name("sft", variant.learner, seed)
        self.variant, self.seed = variant, seed
        if variant.titled:
            self.samples = _TitledSamples.name

    def rows(self, ctx: Context, day: date) -> pd.DataFrame:
        return self.variant.rows(super().rows(ctx, day), self.seed)


class _Evaluate(EvaluateStage):
    """The variant's lists for all users of a day."""

    needs = ("s3",)

    def __init__(self, variant: Variant, seed: int) -> None:
        self.name, self.variant = _stage_name("evaluate", variant.name, seed), variant
        self.sft = _stage_name("sft", variant.learner, seed)

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        own = need(ctx, self.sft, ctx.settings.bootstrap_day).digest
        return {**super().inputs(ctx, day), "policy": own}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        case = held_out_case(ctx, day, everybody=True, titled=self.variant.titled)
        policy = need(ctx, self.sft, ctx.settings.bootstrap_day)
        prompt = self.variant.prompt
        if self.variant.think:
            made = generate_reasoned(ctx, policy, case.shoppers, prompt, not self.variant.free)
        else:
            made = generate(ctx, policy, case.shoppers, prompt)
        name = self.variant.name
        scores = score_arms(ctx, day, case, {name: made.lists}, {name: made.valid})
        return StageOutput(files={"scores.parquet": to_parquet(scores)}, metrics={})


def ablation(ctx: Context, last: date, seeds: Sequence[int], out: Path) -> None:
    """Train and judge every variant with every seed up to the day `last`; write the report.

    AigqError if a day up to `last` is not released yet."""
    preflight(("s3",), ctx)
    first = ctx.settings.bootstrap_day
    days = days_between(first + timedelta(days=1), last)
    for day in bootstrap_days(ctx, first):
        run_stage(_TitledSamples(holdout=0.0), ctx, day)
    frames, tokens = [], {}
    for variant in VARIANTS:
        for seed in seeds:
            frames.append(_scores(ctx, variant, seed, days))
        rows = _Sft(variant, seeds[0]).rows(ctx, first)
        tokens[variant.name] = tokens_per_prompt(ctx, rows["prompt"].tolist())
    out.write_text(report(pd.concat(frames), tokens, ctx.settings.seed))
    print(f"ablation written to {out}")


def _scores(ctx: Context, variant: Variant, seed: int, days: Sequence[date]) -> pd.DataFrame:
    seeded = ctx.with_seed(seed)
    run_stage(_Sft(variant, seed), seeded, ctx.settings.bootstrap_day)
    frames = []
    for day in days:
        judged = run_stage(_Evaluate(variant, seed), seeded, day)
        frames.append(table(seeded, judged, "scores").assign(seed=seed, day=day.isoformat()))
    return pd.concat(frames)


def tokens_per_prompt(ctx: Context, prompts: Sequence[str]) -> float:
    """Mean number of tokens, by the tokenizer of the backbone."""
    from aigq_tasks.policy.backbone import load_backbone

    extra = SftStage(think=True).tokens(ctx)
    _, tokenizer = load_backbone(ctx.settings.policy.backbone, extra)
    return float(np.mean([len(ids) for ids in tokenizer(list(prompts))["input_ids"]]))


def report(scores: pd.DataFrame, tokens: dict[str, float], seed: int) -> str:
    """Markdown: per variant tokens per prompt, the METRICS over all days and seeds, and the paired
    change of Query HR@30 to the variant it is based on; 95% bootstrap over users.

    scores: arm (a variant's name), user_id, seed, day and the METRICS."""
    return (
        "# Ablation of IL-SFT\n\n"
        "Replayed market (simulated), the teacher of AIGQ-Think is "
        "the one named in the manifests of `think-samples`. All users of the days after the "
        f"bootstrap, {scores['seed'].nunique()} seeds; no variant learned from these days. `valid` "
        "is the share of user-days with a well-formed list whose queries may all be shown; "
        "AIGQ-Think writes none for a shopper without a history.\n\n"
        f"{markdown([_row(variant, scores, tokens, seed) for variant in VARIANTS])}"
    )


def _row(
    variant: Variant, scores: pd.DataFrame, tokens: dict[str, float], seed: int
) -> dict[str, str]:
    own = _of(scores, variant.name)
    users = own["user_id"].tolist()
    row: dict[str, Any] = {
        "variant": variant.name,
        "user-days": str(len(own)),
        "tokens per prompt": f"{tokens[variant.name]:.0f}",
    }
    for metric in METRICS:
        value = bootstrap_mean_ci(own[metric].to_numpy(np.float64), users, seed=seed)
        row[metric] = str(value)
    row["change of query_hr_30"] = "-"
    if variant.base:
        base = _of(scores, variant.base)["query_hr_30"].to_numpy(np.float64)
        change = paired_bootstrap(own["query_hr_30"].to_numpy(np.float64), base, users, seed=seed)
        row["change of query_hr_30"] = f"{change} to {variant.base}"
    return row


def _of(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    return scores[scores["arm"] == name].sort_values(["seed", "day", "user_id"])
