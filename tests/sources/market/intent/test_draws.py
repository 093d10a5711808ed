import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.sources.market.intent.draws import Purpose, gumbel, log_normal, uniform


def test_uniform_is_splitmix64() -> None:
    # Purpose 1 on seed 1 is the state 0: the published first output of splitmix64 for seed 0,
    # whose upper 53 bits are the fraction.
    assert Purpose.KEPT == 1
    assert float(uniform(1, Purpose.KEPT)) == (0xE220A8397B1DCDAF >> 11) / 2**53


def test_uniform_has_a_value_per_key_and_broadcasts() -> None:
    keys = np.arange(5)
    grid = uniform(17, Purpose.COLD, keys[:, None], np.arange(3)[None])
    assert grid.shape == (5, 3)
    assert grid[4, 2] == uniform(17, Purpose.COLD, np.array([4]), np.array([2]))[0]


def test_uniform_is_uniform_and_purposes_are_independent() -> None:
    n = 20_000
    keys = np.arange(n)
    one, two = uniform(17, Purpose.KEPT, keys), uniform(17, Purpose.COLD, keys)
    # Standard error of a decile's share: sqrt(0.1 · 0.9 / n) = 0.0021; five of them.
    shares = np.histogram(one, bins=10, range=(0, 1))[0] / n
    assert np.abs(shares - 0.1).max() < 0.011
    # Standard error of a correlation of independent draws: 1 / sqrt(n) = 0.0071.
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.03


@given(seed=st.integers(0, 2**32), key=st.integers(0, 2**62), other=st.integers(0, 2**62))
def test_uniform_of_a_key_depends_on_no_other_key(seed: int, key: int, other: int) -> None:
    alone = uniform(seed, Purpose.HALF, np.array([key]))[0]
    assert uniform(seed, Purpose.HALF, np.array([other, key]))[1] == alone
    assert 0.0 <= alone < 1.0


def test_quantiles_by_hand() -> None:
    # -ln(-ln(e^-1)) = 0; the median of LogN(ln 5, 1) is 5, and e^1 above it lies Φ(1) = 0.841345.
    assert gumbel(np.array([np.exp(-1.0)])) == pytest.approx([0.0])
    assert log_normal(np.array([0.5, 0.841345]), 5.0, 1.0) == pytest.approx(
        [5.0, 5 * np.e], abs=1e-4
    )
    assert np.isfinite(gumbel(np.array([0.0]))).all()
    assert np.isfinite(log_normal(np.array([0.0]), 5.0, 1.0)).all()
