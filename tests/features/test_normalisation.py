"""How far a sensor is from what a healthy machine shows under the same conditions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.normalisation import Normalisation, polynomial
from tests.features.machines import CLASSES, parameters

SET_POINTS = CLASSES["set points held"]
NOTHING_KNOWN = np.float32([[np.nan, np.nan]])


def regimes():
    """Three set points of (speed, load) with means of their own for oil and water."""
    return replace(
        parameters(SET_POINTS, regimes=3),
        centres=np.float32([[10, 10], [50, 10], [90, 80]]),
        half_widths=np.float32([[2, 2], [2, 4], [5, 5]]),
        scale=np.float32([80, 70]),
        expected=np.float32([[20, 30], [40, 50], [60, 70]]),
        spread=np.float32([[1, 2], [2, 4], [5, 5]]),
    )


def normalise(made, values, conditions=None):
    conditions = None if conditions is None else np.float32(conditions)
    z, outside = Normalisation(made)(np.float32(values), conditions)
    return z, None if outside is None else outside[:, 0]


def test_each_regime_has_its_own_mean_and_spread():
    z, outside = normalise(regimes(), [[21, 34], [38, 54], [60, 60]], [[10, 10], [51, 9], [89, 84]])
    np.testing.assert_allclose(z, [[1, 2], [-1, 1], [0, -2]])
    assert (outside <= 1).all()


def test_how_far_out_conditions_are_is_measured_by_the_nearest_regime():
    rows = [[10, 10], [12, 10], [13, 10], [14, 10], [10, 0], [30, 10]]
    _, outside = normalise(regimes(), np.zeros((6, 2)), rows)
    np.testing.assert_allclose(outside, [0, 1, 1.5, 2, 5, 10], atol=1e-6)


def test_no_sensor_can_be_judged_while_a_condition_is_unknown():
    z, outside = normalise(regimes(), [[21, 34], [21, 34]], [[10, np.nan], [10, 10]])
    assert np.isnan(z).tolist() == [[True, True], [False, False]]
    assert np.isfinite(outside).all()


def test_a_missing_value_is_missing_alone():
    z, _ = normalise(regimes(), [[np.nan, 34]], [[10, 10]])
    assert np.isnan(z).tolist() == [[True, False]]


def test_without_conditions_there_is_one_mean():
    made = replace(parameters(CLASSES["plain"]), expected=np.float32([[20, 30]]), spread=np.float32([[2, 5]]))
    z, outside = normalise(made, [[24, 25], [np.nan, 30]])
    np.testing.assert_array_equal(z, np.float32([[2, -1], [np.nan, 0]]))
    assert outside is None


def test_one_regime_follows_its_conditions():
    cls = CLASSES["polynomial, stuck, derived"]
    made = parameters(cls)
    conditions = np.float32([[50], [55], [60]])
    offset = (conditions - made.centres) / made.half_widths
    expected = made.expected[0] + offset * made.expected[1] + offset**2 * made.expected[2]
    z, _ = normalise(made, expected + made.spread, conditions)
    np.testing.assert_allclose(z, 1, rtol=1e-5)


def test_polynomial_has_every_monomial_once():
    x = np.float32([[2, 3, 5]])
    assert polynomial(x, 1).tolist() == [[1, 2, 3, 5]]
    assert polynomial(x, 2).tolist() == [[1, 2, 3, 5, 4, 6, 10, 9, 15, 25]]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_regime_is_the_nearest_set_point(rows):
    made, conditions = regimes(), np.float32(rows)
    distance = np.linalg.norm((conditions[:, None] - made.centres) / made.scale, axis=2)
    clear = np.ptp(np.sort(distance, axis=1)[:, :2], axis=1) > 1e-4
    values = np.full((len(rows), 2), 5, np.float32)
    z, _ = normalise(made, values, conditions)
    nearest = distance.argmin(axis=1)
    expected = (values - made.expected[nearest]) / made.spread[nearest]
    np.testing.assert_allclose(z[clear], expected[clear], rtol=1e-5)


@pytest.mark.parametrize("name", ["set points held", "polynomial, stuck, derived", "plain"])
def test_differences_are_not_lost_beside_a_large_level(name):
    """A sensor at 50,000 that moves by 0.1: folded into x·a − b, float32 would lose it."""
    cls = CLASSES[name]
    made = parameters(cls, regimes=3 if name == "set points held" else 1)
    level = np.zeros_like(made.expected)
    level[: len(level) if len(made.centres) > 1 else 1] = 50_000
    made = replace(made, expected=level, spread=np.full_like(made.spread, 0.1))
    values = np.full((1, len(made.sensors)), 50_000.125, np.float32)
    conditions = np.full((1, len(cls.conditions)), 50, np.float32) if cls.conditions else None
    z, _ = normalise(made, values, conditions)
    np.testing.assert_allclose(z, 1.25, rtol=1e-6)
