"""How far values made again lie from the stored ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# In units of what the values spread. On one computer the pipeline's own values come back to the last bit (measured: but
# for log(1), 7e-15); another one's linear algebra may round otherwise. A single foreign machine among a hundred moves a
# mean by some 1e-2.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Difference:
    """The largest difference found, in units of the spread, and at what."""

    size: float
    at: str
    compared: int = 0  # rows, or constants

    @property
    def found(self) -> bool:
        return self.size > TOLERANCE

    def worse(self, other: Difference) -> Difference:
        """The larger of the two."""
        larger = other if other.size > self.size else self
        return Difference(larger.size, larger.at, self.compared + other.compared)


def largest(
    stored: np.ndarray, again: np.ndarray, spread: np.ndarray | float, name: Callable[[int, int], str]
) -> Difference:
    """The largest of the differences between `stored` [R,F] and `again`, in units of `spread` [F]; `name` (row, column)
    says where it is. NaN equals NaN and nothing else; another shape, or nothing to compare, is no equality either.
    """
    if stored.shape != again.shape or not stored.size:
        return Difference(float("inf"), f"the shape: {stored.shape} stored, {again.shape} when made again")
    apart = np.abs(stored.astype(np.float64) - again) / np.maximum(spread, 1e-9)
    apart[np.isnan(stored) & np.isnan(again)] = 0
    apart[np.isnan(apart)] = np.inf
    row, column = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return Difference(float(apart[row, column]), name(int(row), int(column)), len(stored))
