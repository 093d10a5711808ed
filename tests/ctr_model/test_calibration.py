import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctr_model.calibration import Calibration, fit, sigmoid


def test_a_distorted_score_is_put_right() -> None:
    # True log-odds z; the score says 2 z + 1, so slope 1/2 and intercept -1/2 mend it.
    rng = np.random.default_rng(0)
    z = rng.normal(-2.0, 1.0, 40_000)
    clicked = rng.random(len(z)) < sigmoid(z)
    fitted = fit(2 * z + 1, clicked)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.06)


def test_the_fit_is_the_minimum_of_its_objective() -> None:
    # At the minimum both derivatives vanish:  Σ (p - y) z + slope - 1  and  Σ (p - y) + intercept.
    z = np.array([-3.0, -1.0, 0.0, 2.0])
    clicked = np.array([False, True, False, True])
    fitted = fit(z, clicked)
    residual = fitted.probability(z) - clicked
    assert residual @ z + fitted.slope - 1 == pytest.approx(0, abs=1e-8)
    assert residual.sum() + fitted.intercept == pytest.approx(0, abs=1e-8)


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=40),
)
def test_any_slice_gives_finite_probabilities(rows: list[tuple[float, bool]]) -> None:
    z = np.array([r[0] for r in rows])
    fitted = fit(z, np.array([r[1] for r in rows]))
    p = fitted.probability(z)
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_without_rows_nothing_is_changed() -> None:
    assert fit(np.empty(0), np.empty(0, bool)) == Calibration(slope=1.0, intercept=0.0)


def test_scores_that_rank_backwards_are_not_hidden() -> None:
    z = np.repeat([-2.0, 2.0], 100)
    assert fit(z, z < 0).slope < 0
