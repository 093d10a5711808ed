"""What another ranking would have earned, from the clicks on what production showed.

Each row is a hint that was shown: its click (0 or 1), the chance with which production put that
query in that slot, and the chance with which the other ranking would have, either over all pages
that it may draw. All arrays are (n,) float64.

SNIPS: Swaminathan & Joachims, NeurIPS 2015. Doubly robust: Dudík, Langford & Li, ICML 2011.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import RESAMPLES, PairedDifference, paired_bootstrap

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Clicks per hint. snips, robust: None where the estimate abstains. effective: the number of
    rows that the weights are worth, (Σ w)² / Σ w². rows: of the log. outside: share of what the
    other ranking shows that production cannot have shown there: the click model alone values it."""

    snips: float | None
    robust: float | None
    effective: float
    rows: int
    outside: float = 0.0


@dataclass(frozen=True)
class ShownSlots:
    """The arguments of `estimate` but for the floor, the share of the other ranking's mass in the
    slot that production cannot have shown there, and the user of each row."""

    clicks: Values
    logged: Values
    other: Values
    expected: Values
    expected_shown: Values
    outside: Values
    users: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """production: its clicks per hint on the same rows. difference: doubly robust estimate minus
    production's clicks, its interval over users; None where the estimate abstains."""

    estimate: Estimate
    production: float
    difference: PairedDifference | None


def compare(slots: ShownSlots, floor: float, seed: int, resamples: int = RESAMPLES) -> Comparison:
    """The other ranking against production; abstains as `estimate` does."""
    arrays = (slots.clicks, slots.logged, slots.other, slots.expected, slots.expected_shown)
    outside = float(slots.outside.mean()) if len(slots.outside) else 0.0
    estimated = replace(estimate(*arrays, floor), outside=outside)
    production = float(slots.clicks.mean()) if len(slots.clicks) else 0.0
    if estimated.robust is None:
        return Comparison(estimated, production, None)
    weights = slots.other / slots.logged
    corrected = slots.expected + weights * (slots.clicks - slots.expected_shown)
    difference = paired_bootstrap(
        corrected, slots.clicks, slots.users, seed=seed, resamples=resamples
    )
    return Comparison(estimated, production, difference)


def estimate(
    clicks: Values,
    logged: Values,
    other: Values,
    expected: Values,
    expected_shown: Values,
    floor: float,
) -> Estimate:
    """SNIPS and doubly robust estimate of the clicks per hint of the other ranking.

    logged, other: propensities of the shown query. expected: what a model predicts for the slot
    under the other ranking, Σ_q other(q) · model(q). expected_shown: what it predicts for the
    shown query. Abstains when the effective sample size is 0 or below `floor`. AigqError when a
    logged propensity is not in (0, 1]: such a log says nothing about other rankings.
    """
    if ((logged <= 0) | (logged > 1)).any():
        raise AigqError("a logged propensity is not in (0, 1]: the log cannot be reweighted")
    weights = other / logged
    total, squares = float(weights.sum()), float((weights**2).sum())
    effective = total**2 / squares if squares > 0 else 0.0
    if effective < floor or total == 0:
        return Estimate(None, None, effective, len(clicks))
    corrected = expected + weights * (clicks - expected_shown)
    return Estimate(
        float((weights * clicks).sum() / total), float(corrected.mean()), effective, len(clicks)
    )
