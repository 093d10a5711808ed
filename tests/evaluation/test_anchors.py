"""The bound on pooled differences, by hand, by property and by simulation."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.anchors import MIXTURE, Pool, against_anchors, best, boundary, bounds
from aigq_tasks.evaluation.config import AnchorLimits

ERRORS = st.floats(0.001, 0.2)


def pool(*differences: float, users: list[str] | None = None, days: int = 1) -> Pool:
    values = np.array(differences, dtype=np.float64)
    return Pool(values, users or [f"u{n}" for n in range(len(values))], days)


def test_the_boundary_by_hand() -> None:
    # v = 18, rho = 6: spread 24, sqrt(24 / 6) = 2; with an error of 0.1 the logarithm is
    # log(2 / 0.2 + 1) = log(11) = 2.397895, and sqrt(2 * 24 * 2.397895) = sqrt(115.0990) = 10.7284.
    assert boundary(18.0, 0.1, mixture=6.0) == pytest.approx(10.7284, abs=1e-4)
    # Without any variance: sqrt(2 * 6 * log(1 / 0.2 + 1)) = sqrt(12 * 1.791759) = 4.6369.
    assert boundary(0.0, 0.1, mixture=6.0) == pytest.approx(4.6369, abs=1e-4)


def test_bounds_by_hand() -> None:
    # Ann -1 and -1, Bob 0, Eve 1 and 1 + 0: mean of six 0; sums less n * mean: -2, 0, 2.
    # Variance of the sum: 3 / 2 * (4 + 0 + 4) = 12; by single days it would be 6 / 5 * 4 = 4.8.
    users = ["ann", "ann", "bob", "eve", "eve", "eve"]
    found = bounds(pool(-1, -1, 0, 1, 1, 0, users=users, days=3), 0.1)
    half = boundary(12.0, 0.1) / 6
    assert (found.mean, found.low, found.high) == pytest.approx((0.0, -half, half))
    assert (found.user_days, found.users, found.days) == (6, 3, 3)
    assert str(bounds(pool(-1, -1), 0.1)).startswith("-1.0000 [-")


@given(st.floats(0, 1000), ERRORS, ERRORS)
def test_less_error_means_a_wider_bound(variance: float, one: float, other: float) -> None:
    narrow, wide = max(one, other), min(one, other)
    assert boundary(variance, narrow) <= boundary(variance, wide)


@given(st.floats(0, 1000), st.floats(0, 1000), ERRORS)
def test_a_sum_strays_further_the_more_it_varies(one: float, other: float, error: float) -> None:
    assert boundary(min(one, other), error) <= boundary(max(one, other), error)


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 6), ERRORS)
def test_the_bounds_of_a_mean_shrink_with_users(users: int, times: int, error: float) -> None:
    few = pool(*([-1.0, 0.0, 1.0, 0.0] * users))
    many = pool(*([-1.0, 0.0, 1.0, 0.0] * users * times))
    one, other = bounds(few, error), bounds(many, error)
    assert other.high - other.low < one.high - one.low
    assert one.low < one.mean < one.high


def test_the_same_users_day_for_day_tell_less_than_others() -> None:
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 100)
    others = Pool(np.tile(values, 7), [f"u{n}" for n in range(700)], 7)
    same = Pool(np.tile(values, 7), [f"u{n}" for n in range(100)] * 7, 7)
    assert bounds(same, 0.01).high > bounds(others, 0.01).high


def test_the_closed_form_keeps_what_the_mixture_promises() -> None:
    # At the boundary the mixture 2 sqrt(rho / (v + rho)) exp(s^2 / (2 (v + rho))) Phi(...) of the
    # half-normal prior has reached 1 / error, so Ville's inequality gives the error; and the
    # closed form wastes little: under 5 % more than the root of the mixture.
    def mixture(s: float, v: float) -> float:
        spread = v + MIXTURE
        shape = np.exp(s * s / (2 * spread)) * NormalDist().cdf(s / np.sqrt(spread))
        return float(2 * np.sqrt(MIXTURE / spread) * shape)

    for variance in (0.0, 5.0, 60.0, 1000.0):
        for error in (0.1, 0.0125):
            at = boundary(variance, error)
            assert mixture(at, variance) >= 1 / error
            assert mixture(0.95 * at, variance) < 1 / error


def test_a_walk_without_drift_seldom_leaves_the_boundary_at_any_time() -> None:
    # 1,000 walks of 2,000 steps of -1, 0, 1 (variance 0.06), looked at after each step: at most 5 %
    # may ever leave; 1.96 standard errors alone would be left by far more.
    rng = np.random.default_rng(7)
    steps = rng.choice([-1.0, 0.0, 1.0], (1000, 2000), p=[0.03, 0.94, 0.03])
    sums, variance = steps.cumsum(axis=1), 0.06 * np.arange(1, 2001)
    limit = np.array([boundary(float(v), 0.05) for v in variance])
    left = (sums >= limit).any(axis=1).mean()
    assert 0.005 < left <= 0.05
    assert (sums >= 1.645 * np.sqrt(variance)).any(axis=1).mean() > 0.3


def test_who_lies_below_which_anchor() -> None:
    # 400 users, a difference of -0.1 with a variance of 0.09: V = 36.09, half the error each:
    # u = boundary(36.09, 0.0125) = 18.9, so the upper bound is -0.1 + 0.047.
    values = [-1.0] * 40 + [0.0] * 360
    loses, equal = pool(*values), pool(*([1.0, -1.0] * 20 + [0.0] * 360))
    found = against_anchors([("sft", loses), ("week ago", equal)], AnchorLimits(), 30)
    assert [(one.anchor, one.below) for one in found] == [("sft", True), ("week ago", False)]
    assert found[0].bounds == bounds(loses, 0.0125)
    allowed = AnchorLimits(margin=0.06)
    assert not against_anchors([("sft", loses)], allowed, 30)[0].below
    (few,) = against_anchors([("sft", pool(*[-1.0] * 29))], AnchorLimits(), 30)
    assert (few.users, few.bounds, few.below) == (29, None, False)


def test_where_to_go_back_to() -> None:
    anchor = pool(*([0.0] * 400))
    # Mean 0.1; standard error: V = 400 / 399 * 36 = 36.09, sqrt(36.09) / 400 = 0.015.
    better = pool(*([1.0] * 40 + [0.0] * 360))
    # Mean 0.1 of ten users: V = 10 / 9 * 0.9 = 1, standard error 0.1: no better than the anchor.
    lucky = pool(*([1.0] + [0.0] * 9))
    assert best([("sft", anchor), ("lucky", lucky), ("better", better)]) == "better"
    assert best([("sft", anchor), ("lucky", lucky)]) == "sft"
    assert best([("sft", anchor), ("worse", pool(*([-1.0] + [0.0] * 399)))]) == "sft"


@pytest.mark.parametrize("users", [[], ["ann"]])
def test_a_pool_names_the_user_of_each_difference(users: list[str]) -> None:
    with pytest.raises(AigqError, match="name one user per value"):
        bounds(Pool(np.zeros(2 * len(users)), users, 1), 0.1)
