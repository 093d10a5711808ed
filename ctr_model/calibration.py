"""Platt scaling: probability = sigmoid(slope * logit + intercept).

Chosen over isotonic regression: with a few hundred clicks to fit on, isotonic steps follow noise
and tie scores, which hurts ranking.  On eight days of one log (115-199 clicks a day, two days to
fit on) Platt had the better log loss (0.1185 against 0.1192; none: 0.1187) and left AUC alone
(isotonic: -0.002); isotonic had the slightly smaller ECE (0.0051 against 0.0056; none: 0.0066).
A unit Gaussian prior around the identity keeps the fit finite on a slice with few clicks or none,
and vanishes beside hundreds (Platt 1999; the prior stands in for his label smoothing).
"""

from dataclasses import dataclass

import numpy as np

from ctr_model.columns import Bools, Floats

NEWTON_STEPS = 50
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Calibration:
    """The two parameters; a slope of 0 or less means that the scores rank backwards."""

    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, logit: Floats) -> Floats:
        """Calibrated probabilities float64 (n,) of raw scores float64 (n,)."""
        return sigmoid(self.slope * logit + self.intercept)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x), without overflow: (1 + tanh(x / 2)) / 2."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float64)


def fit(logit: Floats, clicked: Bools) -> Calibration:
    """Maximum a posteriori slope and intercept by Newton's method.

    Minimises Σ log-loss + ½ (slope - 1)² + ½ intercept², which is strictly convex.  The step is
    halved while it does not descend, so it cannot diverge.
    """
    design = np.column_stack([logit, np.ones(len(logit))])
    theta = np.array([1.0, 0.0])
    value = _objective(theta, design, clicked)
    for _ in range(NEWTON_STEPS):
        p = sigmoid(design @ theta)
        gradient = design.T @ (p - clicked) + theta - (1.0, 0.0)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while _objective(theta - step, design, clicked) > value and np.abs(step).max() > TOLERANCE:
            step /= 2
        theta = theta - step
        value = _objective(theta, design, clicked)
        if np.abs(step).max() <= TOLERANCE:
            break
    return Calibration(slope=float(theta[0]), intercept=float(theta[1]))


def _objective(theta: Floats, design: Floats, clicked: Bools) -> float:
    z = design @ theta
    loss = np.logaddexp(0.0, z).sum() - z[clicked].sum()
    return float(loss + 0.5 * ((theta - (1.0, 0.0)) ** 2).sum())
