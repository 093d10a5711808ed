"""Stages `policy` and `think-policy`: one IL-GRPO update of the parent's policy against the day's
click model."""

import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.policy.training import GrpoConfig, PolicySample
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import files, live_entry, model, need, release_digest, table
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import ctr_scorer
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import sha256

if TYPE_CHECKING:
    from aigq_tasks.policy.rollouts import Layout
    from aigq_tasks.recall.stack import Scorer


class PolicyStage:
    """θ_D = IL-GRPO(θ_parent, samples(D), r_ctr(·; φ_D))   (Eq 15)."""

    needs: tuple[str, ...] = ("s3", "mlflow")

    def __init__(self, think: bool = False) -> None:
        self.think = think
        self.name = "think-policy" if think else "policy"
        self.samples = "think-samples" if think else "samples"

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "samples": need(ctx, self.samples, day).digest,
            "ctr": need(ctx, "ctr", day).digest,
            "release": release_digest(live_entry(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        policy, training = ctx.settings.policy, self.training(ctx).model_dump()
        own = {"seed": policy.seed, "threads": policy.threads, **training}
        if self.think:
            own["limits"] = ctx.settings.think.limits.model_dump()
        return own

    def training(self, ctx: Context) -> GrpoConfig:
        return (ctx.settings.think if self.think else ctx.settings.policy).grpo

    def parent(self, ctx: Context, day: date) -> Manifest:
        """The policy that the update starts from: the one that served the day."""
        return model(ctx, live_entry(ctx, day), "think" if self.think else "direct")

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_policy, make_deterministic, save_policy
        from aigq_tasks.policy.train import train_il_grpo

        settings, training = ctx.settings.policy, self.training(ctx)
        make_deterministic(settings.seed, settings.threads)
        network, tokenizer = load_policy(files(ctx, self.parent(ctx, day)))
        samples = policy_samples(table(ctx, need(ctx, self.samples, day), "samples"))
        if not samples:
            raise AigqError(f"{self.samples} of {day} are empty: no session to learn from")
        # Beyond those that the steps take, spare ones for prompts that teach nothing.
        chosen = spread(samples, len(samples), seed_of(day, settings.seed))
        scorer = ctr_scorer(ctx, live_entry(ctx, day), need(ctx, "ctr", day), day)
        checkpoints = self._checkpoints(ctx, day)
        trained, history = train_il_grpo(
            network,
            tokenizer,
            chosen,
            self._layout(ctx, network, tokenizer),
            scorer,
            training,
            settings.seed,
            truth=market_truth(ctx, day),
            checkpoints=checkpoints,
        )
        metrics: dict[str, float | str] = {"prompts": float(len(chosen))}
        # Rewards are logged by the first update of a rollout batch, losses by each of them.
        for name in sorted({name for step in history for name in step}):
            values = [step[name] for step in history if name in step]
            metrics[name] = round(float(np.mean(values)), 6)
        output = save_policy(trained, tokenizer) | {"history.json": to_json(history)}
        shutil.rmtree(checkpoints, ignore_errors=True)
        return StageOutput(files=output, metrics=metrics)

    def _layout(self, ctx: Context, network: Any, tokenizer: Any) -> "Layout":
        from aigq_tasks.policy.rollouts import ListLayout, ThinkLayout

        length = self.training(ctx).list_length
        if not self.think:
            return ListLayout(network, tokenizer, length)
        limits, lines = ctx.settings.think.limits, ctx.settings.samples.history_lines
        return ThinkLayout(network, tokenizer, limits, lines, length)

    def _checkpoints(self, ctx: Context, day: date) -> Path:
        """Where a killed training goes on from; another place for other inputs or settings."""
        key = sha256(to_json({"inputs": self.inputs(ctx, day), "config": self.config(ctx)}))
        return ctx.settings.state_dir / "checkpoints" / f"{self.name}-{day}-{key[:16]}"


def think_is_due(ctx: Context, day: date) -> bool:
    """Whether the run for `day` renews AIGQ-Think: every so many days after the bootstrap."""
    return (day - ctx.settings.bootstrap_day).days % ctx.settings.think.update_days == 0


def require_think_due(ctx: Context, day: date) -> None:
    """NothingToDo on a day that does not renew AIGQ-Think."""
    if not think_is_due(ctx, day):
        every, since = ctx.settings.think.update_days, ctx.settings.bootstrap_day
        raise NothingToDo(
            f"AIGQ-Think is not renewed on {day}: every {every} days from {since} on "
            "(think.update_days)"
        )


def market_truth(ctx: Context, day: date) -> "Scorer":
    """The market's true click probabilities for the visits of `day` and the two days after, which
    the home-page requests of the day precede. For the training log only."""
    from aigq_tasks.market import oracle

    baskets: dict[str, list[Any]] = {}
    for ahead in range(3):
        then = day + timedelta(days=ahead)
        found = oracle.baskets_of_users(then, ctx.settings.market, ctx.settings.seed)
        for user, own in found.items():
            baskets.setdefault(user, own)  # the visit that comes first
    return lambda users, queries: oracle.true_clicks(users, queries, baskets, ctx.settings.seed)


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
