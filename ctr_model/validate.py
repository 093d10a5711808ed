"""How good are the probabilities: AUC, log loss and ECE, overall and on slices; and is that sane.

A metric that does not exist (AUC of a slice with one class, anything of an empty slice) is left
out of the result; the counts are always there, so a reader can tell "absent" from "forgotten".
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ctr_model.columns import Bools, Floats
from ctr_model.features import FEATURES

ECE_BINS = 10
SMALLEST_PROBABILITY = 1e-12


def auc(clicked: Bools, probability: Floats) -> float:
    """Area under the ROC curve: P(clicked scores above unclicked) + ½ P(tie).  NaN: one class.

    Counted, not integrated: the ranks are exact and one division rounds.  The trapezoids of
    scikit-learn's `roc_auc_score` end one bit off in a third of all cases, which a value at a
    rounding tie, say 0.4796875, shows in its last printed digit.
    """
    positives = int(clicked.sum())
    negatives = len(clicked) - positives
    if not positives or not negatives:
        return float("nan")
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[group]  # 1-based, ties share the mean rank
    above = rank[clicked].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def log_loss(clicked: Bools, probability: Floats) -> float:
    """Mean of -log(probability of what happened), nats per impression.  NaN: no rows."""
    if not len(clicked):
        return float("nan")
    from sklearn import metrics

    p = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return float(metrics.log_loss(clicked, p, labels=[False, True]))


def ece(clicked: Bools, probability: Floats, bins: int = ECE_BINS) -> float:
    """Expected calibration error over bins of equal mass: Σ_b n_b/n |mean p̂_b - click rate_b|.

    Rows of equal probability share their mean label, so the result does not depend on how ties
    fall into bins.  NaN: no rows.
    """
    if not len(clicked):
        return float("nan")
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    label = (np.bincount(group, clicked) / size)[group]
    order = np.argsort(probability, kind="stable")
    gaps = (
        abs(float((probability[part] - label[part]).sum()))
        for part in np.array_split(order, min(bins, len(order)))
    )
    return sum(gaps) / len(clicked)


def standard_slices(features: NDArray[np.float32]) -> dict[str, Bools]:
    """Masks (n,) from the features (n, len(FEATURES)): seen/unseen query, warm/cold user."""
    seen = features[:, FEATURES.index("query_seen")] > 0
    cold = np.isnan(features[:, FEATURES.index("user_days_since_event")])
    return {"seen_query": seen, "unseen_query": ~seen, "warm_user": ~cold, "cold_user": cold}


def evaluate(
    clicked: Bools, probability: Floats, slices: Mapping[str, Bools] | None = None
) -> dict[str, float]:
    """Metrics by name: rows, clicks, mean_probability, auc, log_loss, ece.

    Those of a slice carry its name: "cold_user/auc".  Undefined metrics are left out.
    """
    metrics = _metrics(clicked, probability)
    for name, mask in sorted((slices or {}).items()):
        part = _metrics(clicked[mask], probability[mask])
        metrics |= {f"{name}/{key}": value for key, value in part.items()}
    return metrics


def sanity(metrics: Mapping[str, float], min_auc: float, max_ece: float) -> list[str]:
    """Why a model with these metrics must not serve, one line each; empty when it may.

    Looks at auc, ece and, where given, calibration_slope.  A metric at its limit passes.  An absent
    metric is a reason: a model that could not be judged is not sane.
    """
    counts = f"{metrics.get('rows', 0):.0f} rows, {metrics.get('clicks', 0):.0f} clicks"
    reasons = [
        f"ctr {name} could not be measured ({counts})"
        for name in ("auc", "ece")
        if not np.isfinite(metrics.get(name, np.nan))
    ]
    if metrics.get("auc", np.nan) < min_auc:
        reasons.append(f"ctr auc {metrics['auc']:.4f} is below {min_auc:g}")
    if metrics.get("ece", np.nan) > max_ece:
        reasons.append(f"ctr ece {metrics['ece']:.4f} is above {max_ece:g}")
    if metrics.get("calibration_slope", 1.0) <= 0:
        reasons.append("ctr scores rank backwards on the newest days (calibration slope <= 0)")
    return reasons


def _metrics(clicked: Bools, probability: Floats) -> dict[str, float]:
    values = {
        "mean_probability": float(probability.mean()) if len(probability) else float("nan"),
        "auc": auc(clicked, probability),
        "log_loss": log_loss(clicked, probability),
        "ece": ece(clicked, probability),
    }
    counts = {"rows": float(len(clicked)), "clicks": float(clicked.sum())}
    return counts | {name: value for name, value in values.items() if not np.isnan(value)}
