"""Stages `sft` and `think-sft`: IL-SFT of AIGQ-Direct and AIGQ-Think from the backbone."""

from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.tokens import think_tokens
from aigq_tasks.pipeline.calendar import sessions, think_sessions
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Outside, Results
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.policy.backbone import backbone_digest
from aigq_tasks.policy.config import SftConfig
from aigq_tasks.stages.update import policy_samples


class SftSlice(Slice):
    """samples: sessions to learn from, the latest. tokens: special tokens that the backbone gets
    besides those of every prompt. seed, threads: of torch."""

    backbone: str
    seed: int
    threads: int
    samples: int
    tokens: tuple[str, ...]
    sft: SftConfig


def compute(given: Given, settings: SftSlice, day: date) -> Output:
    """IL-SFT (Eq 5-6) on the latest sessions of the bootstrap days."""
    return trained(rows_of(given, "samples: sessions", settings.samples), settings)


def compute_think(given: Given, settings: SftSlice, day: date) -> Output:
    """The same on reasoned targets (Eq 8-9)."""
    return trained(rows_of(given, "think-samples: sessions", settings.samples), settings)


def rows_of(given: Given, key: str, count: int) -> pd.DataFrame:
    """The latest `count` samples of several days."""
    days = [stored.table("samples") for stored in given.results(key)]
    return pd.concat(days, ignore_index=True).tail(count)


def trained(rows: pd.DataFrame, settings: SftSlice) -> Output:
    """The backbone after IL-SFT on these samples."""
    from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
    from aigq_tasks.policy.il_sft import train_il_sft

    make_deterministic(settings.seed, settings.threads)
    network, tokenizer = load_backbone(settings.backbone, settings.tokens)
    samples = policy_samples(rows)
    history = train_il_sft(network, tokenizer, samples, settings.sft, settings.seed)
    losses = [step["loss"] for step in history if "loss" in step]
    metrics: dict[str, float | str] = {
        "samples": float(len(rows)),
        "steps": float(len(losses)),
        "loss_first": round(float(np.mean(losses[:10])), 6),
        "loss_last": round(float(np.mean(losses[-10:])), 6),
        "backbone": settings.backbone,
    }
    files = save_policy(network, tokenizer)
    return Output(files=files, records={"history.json": history}, metrics=metrics)


BASE_MODEL = Outside("base model", lambda own: backbone_digest(own.policy.backbone))

SFT = Stage(
    name="sft",
    needs=("s3", "mlflow"),
    reads=(Results("samples", "sessions", sessions), BASE_MODEL),
    settings=lambda settings: SftSlice(
        backbone=settings.policy.backbone,
        seed=settings.policy.seed,
        threads=settings.threads,
        samples=settings.samples.bootstrap_samples,
        tokens=(),
        sft=settings.policy.sft,
    ),
    compute=compute,
)

THINK_SFT = Stage(
    name="think-sft",
    needs=("s3", "mlflow"),
    reads=(Results("think-samples", "sessions", think_sessions), BASE_MODEL),
    settings=lambda settings: SftSlice(
        backbone=settings.policy.backbone,
        seed=settings.policy.seed,
        threads=settings.threads,
        samples=settings.think.bootstrap_samples,
        tokens=tuple(think_tokens(settings.samples.history_lines)),
        sft=settings.think.sft,
    ),
    compute=compute_think,
)
