"""A reward term: a list earns the more, the more different words its queries begin with."""

from collections.abc import Sequence

import numpy as np
import torch

from aigq_tasks.policy.advantages import sequence_advantages
from aigq_tasks.policy.config import RewardConfig
from aigq_tasks.policy.parse import Rollout, Slots
from aigq_tasks.policy.rewards import FloatArray, sequence_rewards, sequence_terms


class VariedConfig(RewardConfig):
    """w_variety: of the new term."""

    w_variety: float = 0.5


def r_variety(queries: Sequence[str]) -> float:
    """Distinct first words as a share of the queries; 0 for an empty list."""
    return len({query.split()[0] for query in queries}) / len(queries) if queries else 0.0


def varied_terms(
    rollouts: Sequence[Rollout], list_length: int, config: VariedConfig
) -> dict[str, FloatArray]:
    """`sequence_terms` and "variety", each (N,)."""
    lists = [list(rollout.slots.queries.values()) for rollout in rollouts]
    variety = np.array([r_variety(queries) for queries in lists])
    return sequence_terms(rollouts, list_length, config) | {"variety": variety}


def varied_rewards(terms: dict[str, FloatArray], config: VariedConfig) -> FloatArray:
    """R^s of Eq 10 with the new term, (N,), clipped as before."""
    total = sequence_rewards(terms, config) + config.w_variety * terms["variety"]
    return np.clip(total, -config.reward_clip, config.reward_clip)


def rollout(*queries: str) -> Rollout:
    return Rollout(Slots(dict(enumerate(queries)), {}), [], valid=True)


config = VariedConfig()
group = [rollout("oat milk", "rye bread"), rollout("oat milk", "oat flakes")]  # of one prompt
terms = varied_terms(group, 2, config)
assert terms["variety"].tolist() == [1.0, 0.5]  # 2 first words of 2 queries, 1 of 2
# Whole lists without repeats earn 1 · format + 0 · dup; then 0.5 · 1 and 0.5 · 0.5.
assert sequence_rewards(terms, config).tolist() == [1.0, 1.0]
assert varied_rewards(terms, config).tolist() == [1.5, 1.25]
before, after = (
    sequence_advantages(torch.tensor(rewards), group_size=2, bound=5.0).tolist()
    for rewards in (sequence_rewards(terms, config), varied_rewards(terms, config))
)
assert before == [0.0, 0.0]  # without it the two cannot be told apart, and nothing is learned
assert after[0] > 0 > after[1]
