from collections.abc import Sequence

import numpy as np
import pytest

from aigq_tasks.policy.config import RewardConfig
from aigq_tasks.policy.parse import Rollout, Slots
from aigq_tasks.policy.reward_metrics import correlation, reward_metrics
from aigq_tasks.policy.rewards import FloatArray, Rewards

NAN = np.nan
ROLLOUTS = [
    Rollout(Slots({0: "tea", 1: "milk"}, {}), [], True),
    Rollout(Slots({0: "beer"}, {}), [], False),
]
TERMS = {
    "ctr": np.array([[0.4, 0.8], [0.2, NAN]]),
    "rouge": np.array([[1.0, 0.0], [0.5, NAN]]),
    "len": np.array([[1.0, 1.0], [1.0, NAN]]),
    "format": np.array([1.0, 0.0]),
    "dup": np.array([0.0, 0.0]),
}
REWARDS = Rewards(np.empty((2, 2)), np.empty((2, 0)), np.empty(2), np.empty(2), TERMS)


def likes_tea(users: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([0.5 if query == "tea" else 0.1 for query in queries])


def test_every_term_has_a_mean_a_share_and_a_correlation_with_the_truth() -> None:
    config = RewardConfig(w_ctr=1.0, w_rouge=0.3, w_len=0.1, w_format=0.5, w_dup=1.0)
    found = reward_metrics(ROLLOUTS, REWARDS, config, ["u", "v"], likes_tea)
    assert found["queries_per_list"] == 1.5
    assert found["valid_lists"] == 0.5
    # Over the three queries there are.
    assert found["reward/ctr"] == pytest.approx((0.4 + 0.8 + 0.2) / 3)
    assert found["reward/rouge"] == pytest.approx(0.5)
    # Rollouts' means: ctr 0.6 and 0.2, deviation 0.2; rouge 0.5 and 0.5; len 1 and 1; format 1 and
    # 0, deviation 0.5, times its weight 0.25; dup none. So 0.2 and 0.25 of 0.45.
    assert found["share/ctr"] == pytest.approx(0.2 / 0.45)
    assert found["share/format"] == pytest.approx(0.25 / 0.45)
    assert found["share/rouge"] == found["share/len"] == found["share/dup"] == 0.0
    # True: (0.5 + 0.1) / 2 = 0.3, and 0.1.
    assert found["meets_need"] == pytest.approx(0.2)
    assert found["truth/ctr"] == pytest.approx(1.0)
    assert found["truth/rouge"] == 0.0


def test_without_a_market_there_is_no_truth() -> None:
    found = reward_metrics(ROLLOUTS, REWARDS, RewardConfig(), ["u", "v"], None)
    assert not [name for name in found if "truth" in name or name == "meets_need"]


def test_correlation() -> None:
    one = np.array([1.0, 2.0, 3.0])
    assert correlation(one, -one) == pytest.approx(-1.0)
    assert correlation(one, np.ones(3)) == 0.0
