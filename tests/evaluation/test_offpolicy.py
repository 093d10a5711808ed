import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.offpolicy import Estimate, estimate


def of(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_by_hand() -> None:
    # Weights 0.4/0.2 = 2, 0.1/0.4 = 0.25, 0/0.5 = 0. SNIPS = (2·1 + 0.25·0) / 2.25 = 0.888889.
    # Doubly robust: 0.3 + 2·(1 − 0.4) = 1.5; 0.2 + 0.25·(0 − 0.4) = 0.1; 0.1 + 0 = 0.1:
    # mean 0.566667. Effective: 2.25² / (4 + 0.0625) = 1.246154.
    found = estimate(
        of(1, 0, 1), of(0.2, 0.4, 0.5), of(0.4, 0.1, 0), of(0.3, 0.2, 0.1), of(0.4, 0.4, 0.2), 1
    )
    assert found.snips == pytest.approx(0.888889, abs=1e-6)
    assert found.robust == pytest.approx(0.566667, abs=1e-6)
    assert found.effective == pytest.approx(1.246154, abs=1e-6)
    assert found.rows == 3


def test_too_few_rows_that_count_give_no_estimate() -> None:
    arrays = (of(1, 0), of(0.5, 0.5), of(0.5, 0.001), of(0, 0), of(0, 0))
    assert estimate(*arrays, floor=1.5) == Estimate(None, None, pytest.approx(1.004), 2)
    assert estimate(*arrays, floor=1.0).snips is not None
    nothing = estimate(of(1), of(0.5), of(0), of(0), of(0), floor=1)
    assert (nothing.snips, nothing.effective) == (None, 0.0)
    assert estimate(of(), of(), of(), of(), of(), floor=1).snips is None


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.1])
def test_a_log_without_propensities_is_refused(propensity: float) -> None:
    with pytest.raises(AigqError, match="cannot be reweighted"):
        estimate(of(1), of(propensity), of(0.5), of(0), of(0), floor=1)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 1)), min_size=1, max_size=20))
def test_the_same_ranking_earns_what_was_logged(rows: list[tuple[bool, float]]) -> None:
    clicks, logged = of(*(click for click, _ in rows)), of(*(p for _, p in rows))
    zeros = np.zeros(len(rows))
    found = estimate(clicks, logged, logged, zeros, zeros, floor=0)
    assert found.snips == pytest.approx(clicks.mean())
    assert found.robust == pytest.approx(clicks.mean())
    assert found.effective == pytest.approx(len(rows))


def test_both_find_the_truth_of_a_known_log() -> None:
    """Two queries that are clicked with 0.5 and 0.1; production shows the first in 3 of 10, the
    other ranking in 9 of 10: 0.9 · 0.5 + 0.1 · 0.1 = 0.46."""
    draw = np.random.default_rng(0)
    first = draw.random(40_000) < 0.3
    clicks = (draw.random(40_000) < np.where(first, 0.5, 0.1)).astype(np.float64)
    logged, other = np.where(first, 0.3, 0.7), np.where(first, 0.9, 0.1)
    wrong = np.full(40_000, 0.2)  # a model that knows nothing costs variance, not truth
    found = estimate(clicks, logged, other, wrong, wrong, floor=100)
    assert found.snips == pytest.approx(0.46, abs=0.01)
    assert found.robust == pytest.approx(0.46, abs=0.01)
