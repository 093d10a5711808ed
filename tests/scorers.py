"""Click models by formula, for policies that train in a test."""

from collections.abc import Sequence

import numpy as np

from aigq_tasks.policy.rewards import FloatArray


def likes_tea(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([0.25 if query == "tea" else 0.0 for query in queries])


def letters(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([min(len(query), 20) / 100 for query in queries])
