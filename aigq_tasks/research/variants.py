"""The variants of the ablation: one part of the samples of IL-SFT changed in each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import Interest, read_interests, render_interests
from aigq_tasks.context.prompt import Shopper, plain_text
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.stages.first_policies import SftSlice, rows_of, trained


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


def learned_from(given: Given, settings: SftSlice, variant: Variant) -> pd.DataFrame:
    """The samples that the variant's policy learns from."""
    key = "think-samples: sessions" if variant.think else "samples: sessions"
    return variant.rows(rows_of(given, key, settings.samples), settings.seed)


def compute_sft(given: Given, settings: SftSlice, day: date, variant: Variant) -> Output:
    """IL-SFT on the variant's samples."""
    return trained(learned_from(given, settings, variant), settings)
