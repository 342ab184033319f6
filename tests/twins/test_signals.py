import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twins.signals import lag, wander


@given(st.floats(-50, 50), st.floats(0.5, 20))
def test_lag_of_a_constant_is_the_constant(value, steps):
    assert lag(np.full(30, value), steps) == pytest.approx(np.full(30, value))


def test_lag_reaches_63_percent_of_a_step_after_its_time_constant():
    answer = lag(np.where(np.arange(400) < 100, 0.0, 1.0), 50.0)
    assert answer[99] == pytest.approx(0.0)
    assert answer[149] == pytest.approx(1 - np.exp(-1), abs=0.01)
    assert np.all(np.diff(answer) > -1e-12)


def test_lag_looks_back_only():
    signal = np.random.default_rng(0).normal(size=50)
    assert lag(signal, 4.0)[:30] == pytest.approx(lag(signal[:30], 4.0))


def test_wander_is_standard_normal_at_its_knots_and_straight_between():
    path = wander(np.random.default_rng(0), 40_001, 10)
    assert path[::10].std() == pytest.approx(1.0, abs=0.05)
    assert path[::10].mean() == pytest.approx(0.0, abs=0.05)
    assert path[5] == pytest.approx((path[0] + path[10]) / 2)


@given(st.integers(1, 200), st.floats(0.4, 300))
def test_wander_has_the_length_asked_for(count, steps):
    assert wander(np.random.default_rng(0), count, steps).shape == (count,)
