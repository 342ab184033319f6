import numpy as np
import pytest

from training.leaks.difference import TOLERANCE, Difference, largest

STORED = np.array([[1.0, 10.0], [2.0, np.nan]])


def compare(again, spread=1.0):
    return largest(STORED, np.array(again), spread, lambda row, column: f"{row},{column}")


def test_the_largest_in_units_of_the_spread():
    found = compare([[1.5, 13.0], [2.0, np.nan]], np.array([1.0, 100.0]))
    assert found == Difference(0.5, "0,0", 2)
    assert found.found


def test_equal_values_and_rounding_are_no_difference():
    assert compare(STORED).size == 0
    assert not compare(STORED * (1 + TOLERANCE / 100)).found


@pytest.mark.parametrize("again", [[[1, 10], [2, 0]], [[np.nan, 10], [2, np.nan]], [[1, 10]], [[1], [2]]])
def test_what_is_missing_or_too_much_is_different(again):
    assert compare(again).size == np.inf


def test_nothing_compared_is_no_equality():
    assert largest(np.empty((0, 2)), np.empty((0, 2)), 1.0, lambda *_: "").found


def test_the_worse_of_two_counts_both():
    assert Difference(0.1, "a", 3).worse(Difference(0.2, "b", 4)) == Difference(0.2, "b", 7)
