"""Stage `policy`: one IL-GRPO update of the parent's policy against the day's click model."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.training import PolicySample
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import files, live_entry, model, need, release_digest, table
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import ctr_scorer
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.manifests import Manifest


class PolicyStage:
    """θ_D = IL-GRPO(θ_parent, samples(D), r_ctr(·; φ_D))   (Eq 15)."""

    name = "policy"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "samples": need(ctx, "samples", day).digest,
            "ctr": need(ctx, "ctr", day).digest,
            "release": release_digest(live_entry(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        policy = ctx.settings.policy
        return {"seed": policy.seed, "threads": policy.threads, **policy.grpo.model_dump()}

    def parent(self, ctx: Context, day: date) -> Manifest:
        """The policy that the update starts from: the one that served the day."""
        return model(ctx, live_entry(ctx, day), "direct")

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_policy, make_deterministic, save_policy
        from aigq_tasks.policy.trainer import train_il_grpo

        settings = ctx.settings.policy
        make_deterministic(settings.seed, settings.threads)
        network, tokenizer = load_policy(files(ctx, self.parent(ctx, day)))
        samples = policy_samples(table(ctx, need(ctx, "samples", day), "samples"))
        if not samples:
            raise AigqError(f"samples of {day} are empty: no session with a click to learn from")
        wanted = settings.grpo.steps * settings.grpo.prompts_per_step
        chosen = spread(samples, wanted, seed_of(day, settings.seed))
        scorer = ctr_scorer(ctx, live_entry(ctx, day), need(ctx, "ctr", day), day)
        trained, history = train_il_grpo(
            network, tokenizer, chosen, scorer, settings.grpo, settings.seed
        )
        metrics: dict[str, float | str] = {"prompts": float(len(chosen))}
        for name in sorted(history[-1]):
            values = [step[name] for step in history if name in step]
            metrics[name] = round(float(np.mean(values)), 6)
        output = save_policy(trained, tokenizer) | {"history.json": to_json(history)}
        return StageOutput(files=output, metrics=metrics)


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
