"""Operations on numpy columns that the feature tables share: ragged rows, groups, lookups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """Rows of different length, end to end: row i is values[starts[i]:starts[i + 1]]."""

    starts: Ints
    values: Ints

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        values = np.fromiter((v for row in rows for v in row), np.int64, int(starts[-1]))
        return cls(starts, values)

    def take(self, rows: Ints) -> tuple[Ints, Ints]:
        """The values of the given rows, and for each value the index into `rows` it belongs to."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return owner, self.values[self.starts[rows][owner] + offset]


def sum_by(group: Ints, values: Floats, n: int) -> Floats:
    """Sum of `values` in each of the groups 0..n-1."""
    return np.bincount(group, values, n).astype(np.float64)


def count_by(group: Ints, n: int) -> Floats:
    """Size of each of the groups 0..n-1."""
    return np.bincount(group, minlength=n).astype(np.float64)


def gather(values: Floats, row: Ints, default: float) -> Floats:
    """values[row], and `default` where row is -1."""
    out = np.full(len(row), default)
    known = row >= 0
    out[known] = values[row[known]]
    return out


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, NaN where the denominator is 0."""
    out = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def runs(key: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Of sorted keys: distinct values, first and last index of each, and each element's run."""
    new = np.ones(len(key), bool)
    new[1:] = key[1:] != key[:-1]
    first = np.flatnonzero(new)
    last = np.flatnonzero(np.append(new[1:], True)[: len(key)])
    return key[first], first, last, np.cumsum(new) - 1
