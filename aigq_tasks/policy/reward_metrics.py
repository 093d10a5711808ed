"""What is logged of the rewards of a step: does the policy chase the right thing?"""

from collections.abc import Sequence

import numpy as np

from aigq_tasks.policy.config import RewardConfig
from aigq_tasks.policy.parse import Rollout
from aigq_tasks.policy.rewards import CtrScorer, FloatArray, Rewards, row_means


def reward_metrics(
    rollouts: Sequence[Rollout],
    rewards: Rewards,
    config: RewardConfig,
    user_ids: Sequence[str],
    truth: CtrScorer | None,
) -> dict[str, float]:
    """reward/TERM: its mean. share/TERM: its part of all variation (weight times standard
    deviation over the rollouts), for what does not vary moves no advantage. Both also for
    "trigger" where there are any. With truth: truth/TERM, the correlation of rollouts' means with
    their queries' mean chance to meet a need, and meets_need, the mean of that."""
    terms = rewards.terms | ({"trigger": rewards.trigger} if rewards.trigger.size else {})
    of_rollouts = {
        name: row_means(table) if table.ndim == 2 else table for name, table in terms.items()
    }
    weights = {name: getattr(config, f"w_{name}", 1.0) for name in terms}
    spread = {name: abs(weights[name]) * float(own.std()) for name, own in of_rollouts.items()}
    metrics = {
        "queries_per_list": float(np.mean([len(one.slots.queries) for one in rollouts])),
        "valid_lists": float(np.mean([one.valid for one in rollouts])),
    }
    for name, table in terms.items():
        metrics[f"reward/{name}"] = _mean(table)
        metrics[f"share/{name}"] = spread[name] / (sum(spread.values()) or 1.0)
    if truth is not None:
        met = _met(rollouts, user_ids, truth)
        metrics["meets_need"] = float(met.mean())
        for name, own in of_rollouts.items():
            metrics[f"truth/{name}"] = correlation(own, met)
    return metrics


def correlation(one: FloatArray, two: FloatArray) -> float:
    """Pearson's, of two (n,); 0 where one of them does not vary."""
    if not len(one) or np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def _met(rollouts: Sequence[Rollout], user_ids: Sequence[str], truth: CtrScorer) -> FloatArray:
    """(N,): the mean over the queries of each rollout, 0 without any."""
    pairs = [
        (i, user, query)
        for i, (user, one) in enumerate(zip(user_ids, rollouts, strict=True))
        for query in one.slots.queries.values()
    ]
    known = truth([user for _, user, _ in pairs], [query for _, _, query in pairs])
    rows = np.array([i for i, _, _ in pairs], dtype=np.int64)
    total = np.bincount(rows, weights=known, minlength=len(rollouts))
    return total / np.maximum(np.bincount(rows, minlength=len(rollouts)), 1)


def _mean(table: FloatArray) -> float:
    """Over what is not NaN; 0 if nothing is."""
    held = table[~np.isnan(table)]
    return float(held.mean()) if held.size else 0.0
