"""Stages `policy` and `think-policy`: one IL-GRPO update of the parent's policy against the day's
click model."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.truth import chance_met
from aigq_tasks.pipeline.calendar import before
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.lines import Start
from aigq_tasks.pipeline.reads import Logs, Release, Result, Truth
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.policy.config import GrpoConfig, PolicySample
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of
from aigq_tasks.serving.stack import classifier, click_scorer

if TYPE_CHECKING:
    from aigq_tasks.policy.rollouts import Layout
    from aigq_tasks.recall.stack import Scorer
    from aigq_tasks.sources.base import Needs

    MakeLayout = Callable[[Any, Any], Layout]  # (network, tokenizer) -> layout


class UpdateSlice(Slice):
    """seed, threads: of torch. own_brand: of the click model's features."""

    seed: int
    threads: int
    grpo: GrpoConfig
    own_brand: tuple[str, ...]


class ThinkUpdateSlice(UpdateSlice):
    """limits, history_lines: of what AIGQ-Think may write."""

    limits: ThinkLimits
    history_lines: int


def compute(given: Given, settings: UpdateSlice, day: date) -> Output:
    """θ_D = IL-GRPO(θ_parent, samples(D), r_ctr(·; φ_D))   (Eq 15), of AIGQ-Direct. The parent is
    the policy that serves, or, where that lies below an anchor, the one to start from."""
    from aigq_tasks.policy.rollouts import ListLayout

    def layout(network: Any, tokenizer: Any) -> "Layout":
        return ListLayout(network, tokenizer, settings.grpo.list_length)

    parent, samples = given.release("direct"), given.result("samples")
    return _updated(given, settings, day, parent, samples, layout)


def compute_think(given: Given, settings: ThinkUpdateSlice, day: date) -> Output:
    """The same of AIGQ-Think (Eq 16-17)."""
    from aigq_tasks.policy.rollouts import ThinkLayout

    def layout(network: Any, tokenizer: Any) -> "Layout":
        length = settings.grpo.list_length
        return ThinkLayout(network, tokenizer, settings.limits, settings.history_lines, length)

    parent, samples = given.release("think"), given.result("think-samples")
    return _updated(given, settings, day, parent, samples, layout)


def _updated(
    given: Given,
    settings: UpdateSlice,
    day: date,
    parent: Stored,
    stored: Stored,
    layout: "MakeLayout",
) -> Output:
    from aigq_tasks.policy.backbone import load_policy, make_deterministic, save_policy
    from aigq_tasks.policy.grpo_run import train_il_grpo

    make_deterministic(settings.seed, settings.threads)
    network, tokenizer = load_policy(parent.files())
    samples = policy_samples(stored.table("samples"))
    if not samples:
        raise AigqError(f"the samples of {day} are empty: no session to learn from")
    # Beyond those that the steps take, spare ones for prompts that teach nothing.
    chosen = spread(samples, len(samples), seed_of(day, settings.seed))
    trained, history = train_il_grpo(
        network,
        tokenizer,
        chosen,
        layout(network, tokenizer),
        _click_scorer(given, settings, day),
        settings.grpo,
        settings.seed,
        truth=first_known(given.truths()),
        checkpoints=given.scratch,
        passed=given.passed,
    )
    metrics: dict[str, float | str] = {"prompts": float(len(chosen))}
    # Rewards are logged by the first update of a rollout batch, losses by each of them.
    for name in sorted({name for step in history for name in step}):
        values = [step[name] for step in history if name in step]
        metrics[name] = round(float(np.mean(values)), 6)
    files = save_policy(trained, tokenizer)
    return Output(files=files, records={"history.json": history}, metrics=metrics)


def _click_scorer(given: Given, settings: UpdateSlice, day: date) -> "Scorer":
    return click_scorer(
        given.result("ctr"),
        classifier(given.release("categories")),
        given.logs("before"),
        history_of(given, "before"),
        day,
        settings.own_brand,
    )


def first_known(truths: "Sequence[Needs]") -> "Scorer | None":
    """The chance that a query meets any need on the first of the days that knows the user, 0 where
    none does: that day's visit is the one that the requests belong to. None without any truth."""
    if not truths:
        return None

    def known(users: Sequence[str], queries: Sequence[str]) -> "np.ndarray":
        found = np.full(len(users), np.nan)
        for needs in truths:
            chances = [chance_met(one.values()) for one in needs(users, queries)]
            found = np.where(np.isnan(found), np.array(chances), found)
        return np.where(np.isnan(found), 0.0, found)

    return known


def policy_samples(rows: pd.DataFrame) -> list[PolicySample]:
    """Samples as trainers take them, in the table's order."""
    targets = rows["target"] if "target" in rows else [""] * len(rows)
    columns = [rows[c] for c in ("user_id", "prompt", "labels")]
    return [
        PolicySample(user, prompt, [str(query) for query in labels], target)
        for user, prompt, labels, target in zip(*columns, targets, strict=True)
    ]


def spread(samples: Sequence[PolicySample], count: int, seed: int) -> list[PolicySample]:
    """`count` samples (or all) drawn without replacement, in the drawn order."""
    order = np.random.default_rng(seed).permutation(len(samples))[:count]
    return [samples[int(i)] for i in order]


def seed_of(day: date, seed: int) -> int:
    """Another draw every day, the same draw for the same day."""
    return seed * 100_000 + day.toordinal()


_READS = (
    Result("ctr"),
    Release("categories"),
    Release("item-texts"),
    Logs("before", BEHAVIOUR_TABLES, before),
    Truth(ahead=True),
)

POLICY = Stage(
    name="policy",
    needs=("s3", "mlflow"),
    reads=(Result("samples"), Start(), *_READS),
    settings=lambda settings: UpdateSlice(
        seed=settings.policy.seed,
        threads=settings.threads,
        grpo=settings.policy.grpo,
        own_brand=settings.ctr.own_brand,
    ),
    compute=compute,
)

THINK_POLICY = Stage(
    name="think-policy",
    needs=("s3", "mlflow"),
    reads=(Result("think-samples"), Release("think"), *_READS),
    settings=lambda settings: ThinkUpdateSlice(
        seed=settings.policy.seed,
        threads=settings.threads,
        grpo=settings.think.grpo,
        own_brand=settings.ctr.own_brand,
        limits=settings.think.limits,
        history_lines=settings.samples.history_lines,
    ),
    compute=compute_think,
)
