"""Which readings are used, and what is said of the others."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.quality import Quality
from features.cleaning import Cleaning, quality
from features.state import StateLayout
from tests.features.machines import CONDITION, SENSOR, asset_class

CLS = asset_class(
    channels={
        "speed": CONDITION | {"hold": 3},
        "oil": SENSOR | {"stuck_after": 3},
        "water": SENSOR,
        "load": CONDITION | {"stuck_after": 2, "hold": 5},
    }
)
SPEED, OIL, WATER, LOAD = range(4)


def clean(rows, dt=1.0, cls=CLS):
    """Values and flags [T,C] of one machine that sends `rows` [T,C]; `dt` from the second on, one or one each."""
    cleaning = Cleaning(cls)
    layout = StateLayout(tuple(cleaning.slices))
    state = np.zeros((1, layout.size), np.float32)
    steps = np.concatenate([[0], np.broadcast_to(dt, len(rows) - 1)]).astype(np.float32)
    values, flags = [], []
    for row, step in zip(rows, steps, strict=True):
        entered = layout.enter(state, np.zeros(1, np.float32))
        value, found, new = cleaning(np.array([row], np.float32), np.array([[step]]), entered)
        state = layout.leave(new) if layout.slices else state
        values.append(value[0])
        flags.append(quality(found)[0])
    return np.array(values), np.array(flags)


def column(index, values, rest=20.0):
    """Rows in which the channel `index` shows `values`, and the others change all the time."""
    rows = rest + 0.01 * np.arange(len(values))[:, None] + np.zeros((1, 4))
    rows[:, index] = values
    return rows


def test_good_readings_pass_as_they_are():
    rows = np.random.default_rng(0).uniform(0, 90, (20, 4)).astype(np.float32)
    values, flags = clean(rows)
    np.testing.assert_array_equal(values, rows)
    assert not flags.any()


def test_missing_and_impossible_readings_of_a_sensor_are_not_replaced():
    values, flags = clean(column(WATER, [20, np.nan, 150, 150.1, -50, -51, np.inf, -np.inf]))
    wild = Quality.OUT_OF_RANGE
    assert flags[:, WATER].tolist() == [0, Quality.MISSING, 0, wild, 0, wild, wild, wild]
    np.testing.assert_array_equal(np.isnan(values[:, WATER]), flags[:, WATER] > 0)


def test_a_reading_unchanged_for_too_long_is_stuck_until_it_moves():
    _, flags = clean(column(OIL, [30, 30, 30, 30, 30, 31, 31]))
    assert flags[:, OIL].tolist() == [0, 0, 0, Quality.STUCK, Quality.STUCK, 0, 0]


def test_stuck_is_a_matter_of_time_not_of_samples():
    _, flags = clean(column(OIL, [30] * 9), dt=0.5)
    assert np.flatnonzero(flags[:, OIL]).tolist() == [6, 7, 8]


def test_missing_readings_do_not_make_a_sensor_move():
    _, flags = clean(column(OIL, [30, 30, np.nan, 400, 30, 30]))
    assert flags[:, OIL].tolist() == [0, 0, Quality.MISSING, Quality.OUT_OF_RANGE, 0, Quality.STUCK]


def test_a_channel_without_a_limit_may_stay_constant():
    _, flags = clean(column(WATER, [30] * 50))
    assert not flags[:, WATER].any()


def test_a_first_reading_of_zero_is_not_stuck():
    _, flags = clean(column(OIL, [0, 0, 0, 1]))
    assert not flags[:, OIL].any()


def test_a_missing_condition_is_held_for_a_while_and_then_unknown():
    values, flags = clean(column(SPEED, [40, np.nan, 999, np.nan, np.nan, 41, np.nan]))
    missing, wild, held = Quality.MISSING, Quality.OUT_OF_RANGE, Quality.HELD
    assert flags[:, SPEED].tolist() == [0, missing + held, wild + held, missing, missing, 0, missing + held]
    np.testing.assert_array_equal(values[:, SPEED], np.float32([40, 40, 40, np.nan, np.nan, 41, 41]))


def test_holding_expires_over_a_gap():
    values, _ = clean(column(SPEED, [40, np.nan]), dt=100.0)
    assert np.isnan(values[1, SPEED])


def test_nothing_is_held_before_anything_was_seen():
    values, flags = clean(column(SPEED, [np.nan, np.nan]))
    assert np.isnan(values[:, SPEED]).all()
    assert flags[:, SPEED].tolist() == [Quality.MISSING] * 2


def test_a_stuck_condition_is_held_at_what_it_last_showed():
    values, flags = clean(column(LOAD, [50, 50, 50, 50]))
    assert flags[:, LOAD].tolist() == [0, 0, Quality.STUCK + Quality.HELD, Quality.STUCK + Quality.HELD]
    assert (values[:, LOAD] == 50).all()


def test_a_class_without_limits_in_time_keeps_no_state():
    assert Cleaning(asset_class()).slices == []


@given(st.lists(st.tuples(st.sampled_from([np.nan, np.inf, 30, 31, 1e9]), st.floats(0, 4, width=32)), min_size=2))
@settings(max_examples=60, deadline=None)
def test_every_reading_is_used_or_flagged(steps):
    shown, dt = zip(*steps, strict=True)
    values, flags = clean(column(OIL, shown), dt=dt[1:])
    used = ~np.isnan(values[:, OIL])
    np.testing.assert_array_equal(used, flags[:, OIL] == 0)
    np.testing.assert_array_equal(values[used, OIL], np.float32(shown)[used])
