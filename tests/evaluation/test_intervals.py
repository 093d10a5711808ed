import time
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap


def test_three_users_against_the_exact_bootstrap_distribution() -> None:
    # All 27 equally likely resamples of (0, 0, 1): means 0, 1/3, 2/3, 1 with 8, 12, 6, 1 of 27.
    means = sorted(np.mean(draw) for draw in product([0.0, 0.0, 1.0], repeat=3))
    assert [round(3 * m) for m in means].count(0) == 8
    # 1/27 = 3.7 % of the mass at 1 is more than 2.5 %, so the 97.5 % quantile is 1; 8/27 at 0.
    interval = bootstrap_mean_ci([0, 0, 1], seed=1, resamples=20_000)
    assert interval.mean == pytest.approx(1 / 3)
    assert (interval.low, interval.high, interval.users) == (0.0, 1.0, 3)


def test_width_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(5).normal(size=2000)
    interval = bootstrap_mean_ci(values, seed=0)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_coverage_is_near_nominal() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        interval = bootstrap_mean_ci(rng.random(300) < 0.4, seed=seed, resamples=500)
        covered += interval.low <= 0.4 <= interval.high
    # Binomial(200, 0.95): mean 190, standard deviation 3.1.
    assert 178 <= covered <= 200


def test_copies_of_a_users_day_add_no_certainty() -> None:
    rng = np.random.default_rng(2)
    values = (rng.random(100) < 0.4).astype(float)
    users = [f"u{i:03d}" for i in range(100)]
    once = bootstrap_mean_ci(values, users, seed=3)
    copied = bootstrap_mean_ci(np.tile(values, 9), users * 9, seed=3)
    assert copied.users == once.users == 100
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    naive = bootstrap_mean_ci(np.tile(values, 9), seed=3)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_mean_weighs_user_days_not_users() -> None:
    # User a has three days, b one: the mean of the four is 3/4, not (1 + 0)/2.
    interval = bootstrap_mean_ci([1, 1, 1, 0], ["a", "a", "a", "b"], seed=0)
    # Resamples of two users: (a, a) 6/6, (a, b) and (b, a) 3/4, (b, b) 0/2.
    assert (interval.mean, interval.low, interval.high) == (0.75, 0.0, 1.0)


def test_pairing_sees_what_the_separate_intervals_hide() -> None:
    rng = np.random.default_rng(7)
    champion = rng.random(500)
    challenger = champion + 0.01 + 0.01 * rng.normal(size=500)
    difference = paired_bootstrap(challenger, champion, seed=0)
    assert difference.low > 0
    assert difference.p_value == pytest.approx(1 / 2001)
    first, second = (bootstrap_mean_ci(v, seed=0) for v in (challenger, champion))
    assert first.low < second.high  # the two intervals overlap


def test_p_value_is_one_sided() -> None:
    better, worse = np.ones(50), np.zeros(50)
    # Every resampled mean is +1, then -1, then 0.
    assert paired_bootstrap(better, worse, seed=0, resamples=99).p_value == 0.01
    assert paired_bootstrap(worse, better, seed=0, resamples=99).p_value == 1.0
    assert paired_bootstrap(better, better, seed=0, resamples=99).p_value == 1.0


def test_p_value_of_a_known_case() -> None:
    # Differences (+1, -1): the mean of two draws is 1, 0, -1 with 1/4, 1/2, 1/4: P(<= 0) = 3/4.
    difference = paired_bootstrap([1, 0], [0, 1], seed=4, resamples=20_000)
    assert difference.mean == 0.0
    assert difference.p_value == pytest.approx(0.75, abs=0.015)


def test_seed_decides() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean_ci(values, seed=1) == bootstrap_mean_ci(values, seed=1)
    assert bootstrap_mean_ci(values, seed=1) != bootstrap_mean_ci(values, seed=2)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    whole = bootstrap_mean_ci(values, seed=1)
    monkeypatch.setattr("aigq_tasks.evaluation.intervals._BLOCK", 350)  # seven resamples at once
    assert bootstrap_mean_ci(values, seed=1) == whole


def test_two_thousand_resamples_of_a_thousand_users_are_quick() -> None:
    values = np.random.default_rng(0).random(1000)
    users = [f"u{i}" for i in range(1000)]
    start = time.process_time()
    bootstrap_mean_ci(values, users, seed=0, resamples=2000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_mean_ci([], seed=0), "no user-days"),
        (lambda: bootstrap_mean_ci([1.0, np.nan], seed=0), "not finite"),
        (lambda: bootstrap_mean_ci([1.0], ["a", "b"], seed=0), "1 values for 2 users"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0], seed=0), "1 user-days and champion 2"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], words: str) -> None:
    with pytest.raises(AigqError, match=words):
        call()


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 9))
def test_interval_lies_within_the_values(values: list[float], seed: int) -> None:
    interval = bootstrap_mean_ci(values, seed=seed, resamples=100)
    assert min(values) - 1e-12 <= interval.low <= interval.high <= max(values) + 1e-12
