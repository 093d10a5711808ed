import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctr_model.columns import Ragged, gather, ratio, runs, sum_by


def test_ragged_rows_are_taken_end_to_end() -> None:
    ragged = Ragged.of([[7, 8], [], [9]])
    owner, value = ragged.take(np.array([2, 0, 1, 0]))
    assert owner.tolist() == [0, 1, 1, 3, 3]
    assert value.tolist() == [9, 7, 8, 7, 8]


@given(st.lists(st.integers(0, 4), max_size=20))
def test_runs_cover_sorted_keys(keys: list[int]) -> None:
    key = np.array(sorted(keys), np.int64)
    value, first, last, group = runs(key)
    assert value.tolist() == sorted(set(keys))
    assert [key[a : b + 1].tolist() for a, b in zip(first, last, strict=True)] == [
        [v] * keys.count(v) for v in value
    ]
    assert value[group].tolist() == key.tolist()


def test_missing_rows_and_zero_denominators() -> None:
    assert gather(np.array([5.0, 6.0]), np.array([1, -1]), 0.5).tolist() == [6.0, 0.5]
    np.testing.assert_array_equal(ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0])), [0.5, np.nan])
    assert sum_by(np.array([0, 2, 2]), np.array([1.0, 2.0, 3.0]), 4).tolist() == [1, 0, 5, 0]
