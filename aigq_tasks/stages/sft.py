"""Stages `sft` and `think-sft`: IL-SFT of AIGQ-Direct and AIGQ-Think from the backbone."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.context.tokens import think_tokens
from aigq_tasks.policy.training import SftConfig
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.policy import policy_samples
from aigq_tasks.stages.reading import days_between, need, stack_day, table, window_digest
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json


class SftStage:
    """IL-SFT (Eq 5-6; of AIGQ-Think on reasoned targets, Eq 8-9) on the latest sessions of the
    bootstrap days."""

    needs: tuple[str, ...] = ("s3", "mlflow")

    def __init__(self, think: bool = False) -> None:
        self.think = think
        self.name = "think-sft" if think else "sft"
        self.samples = "think-samples" if think else "samples"

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        found = (need(ctx, self.samples, past) for past in self.days(ctx, day))
        return {"samples": window_digest(found)}

    def config(self, ctx: Context) -> dict[str, Any]:
        policy = ctx.settings.policy
        return {
            "backbone": policy.backbone,
            "seed": policy.seed,
            "threads": policy.threads,
            "samples": self.count(ctx),
            "tokens": list(self.tokens(ctx)),
            **self.training(ctx).model_dump(),
        }

    def training(self, ctx: Context) -> SftConfig:
        return ctx.settings.think.sft if self.think else ctx.settings.policy.sft

    def count(self, ctx: Context) -> int:
        """Sessions to learn from."""
        settings = ctx.settings
        return (settings.think if self.think else settings.samples).bootstrap_samples

    def tokens(self, ctx: Context) -> Sequence[str]:
        """Special tokens that the backbone gets besides those of every prompt."""
        return think_tokens(ctx.settings.samples.history_lines) if self.think else ()

    def days(self, ctx: Context, day: date) -> list[date]:
        """Whose sessions to learn from."""
        days = bootstrap_days(ctx, day)
        return days[-ctx.settings.think.bootstrap_days :] if self.think else days

    def rows(self, ctx: Context, day: date) -> pd.DataFrame:
        """The samples to learn from."""
        days = self.days(ctx, day)
        sessions = [table(ctx, need(ctx, self.samples, past), "samples") for past in days]
        return pd.concat(sessions, ignore_index=True).tail(self.count(ctx))

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
        from aigq_tasks.policy.il_sft import train_il_sft

        policy = ctx.settings.policy
        make_deterministic(policy.seed, policy.threads)
        rows = self.rows(ctx, day)
        network, tokenizer = load_backbone(policy.backbone, self.tokens(ctx))
        history = train_il_sft(
            network, tokenizer, policy_samples(rows), self.training(ctx), policy.seed
        )
        losses = [step["loss"] for step in history if "loss" in step]
        metrics: dict[str, float | str] = {
            "samples": float(len(rows)),
            "steps": float(len(losses)),
            "loss_first": round(float(np.mean(losses[:10])), 6),
            "loss_last": round(float(np.mean(losses[-10:])), 6),
            "backbone": policy.backbone,
        }
        output = save_policy(network, tokenizer) | {"history.json": to_json(history)}
        return StageOutput(files=output, metrics=metrics)


def bootstrap_days(ctx: Context, day: date) -> list[date]:
    """The days whose sessions the first policies learn from: those of the first full stack."""
    return days_between(stack_day(ctx) + timedelta(days=1), day)
