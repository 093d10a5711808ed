"""The variants of the ablation: one part of the samples of IL-SFT changed in each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import Interest, read_interests, render_interests
from aigq_tasks.context.prompt import plain_text
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.stages.first_policies import SftSlice, rows_of, trained


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


Change = Literal["unchanged", "unordered", "spelt out", "unexplained"]
CHANGES: dict[Change, Callable[[pd.DataFrame, int], pd.DataFrame]] = {  # (samples, seed) -> samples
    "unchanged": unchanged,
    "unordered": unordered,
    "spelt out": spelt_out,
    "unexplained": unexplained,
}


@dataclass(frozen=True)
class Variant:
    """base: the variant that it changes, "" if none. change: of the samples. titled: items go by
    their titles. free: the policy of `base`, its decoding not constrained to the layout."""

    name: str
    base: str
    think: bool
    change: Change = "unchanged"
    titled: bool = False
    free: bool = False

    @property
    def learner(self) -> str:
        """The variant whose policy writes."""
        return self.base if self.free else self.name

    @property
    def plain(self) -> bool:
        """Whether prompts are plain text, where it learns and where it writes."""
        return self.change == "spelt out"


VARIANTS = (
    Variant("direct", "", False),
    Variant("direct, unordered labels", "direct", False, "unordered"),
    Variant("direct, plain-text prompt", "direct", False, "spelt out"),
    Variant("direct, titles for item texts", "direct", False, titled=True),
    Variant("think", "direct", True),
    Variant("think, unordered labels", "think", True, "unordered"),
    Variant("think, plain-text prompt", "think", True, "spelt out"),
    Variant("think, without rationales", "think", True, "unexplained"),
    Variant("think, free decoding", "think", True, free=True),
)


class VariantSlice(SftSlice):
    """think: whose samples. change: what becomes of them."""

    think: bool
    change: Change


def learned_from(given: Given, settings: VariantSlice) -> pd.DataFrame:
    """The samples that the variant's policy learns from."""
    key = "think-samples: sessions" if settings.think else "samples: sessions"
    rows = rows_of(given, key, settings.samples)
    return CHANGES[settings.change](rows, settings.seed)


def compute_sft(given: Given, settings: VariantSlice, day: date) -> Output:
    """IL-SFT on the variant's samples."""
    return trained(learned_from(given, settings), settings)
