"""Alarm conditions: limits, dead-bands and delays (ISA-18.2), alike in NumPy and in the graph."""

import ndonnx as ndx
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.state import StateLayout
from tests.features.machines import NOMINAL, asset_class
from training.alarms import Alarms

HOT = {"level": 2, "signal": "oil", "above": 60, "dead_band": 10, "on_delay": 2, "off_delay": 3}
WORN = {"level": 1, "signal": "health", "below": 0.5, "dead_band": 0.1}
BURNING = {"level": 3, "signal": "oil", "above": 90}


def made(**alarms):
    """The alarms of a class that has a setting of its own, which comes first."""
    return Alarms(asset_class(alarms=alarms, settings=NOMINAL))


def own_settings(alarms, **changes):
    """f32[1,P] settings of one machine; `hot__limit=70` is that of alarm `hot`."""
    names = [*alarms.asset_class.settings, *alarms.asset_class.alarm_settings]
    values = np.full((1, len(names)), np.nan, np.float32)
    for name, value in changes.items():
        values[0, names.index(name.replace("__", "."))] = value
    return values


def levels(alarms, dt=1.0, settings=None, **signals):
    """The level after each step, of one machine whose signals are given step by step."""
    layout = StateLayout(tuple(alarms.slices))
    state, seen = np.zeros((1, layout.size), np.float32), []
    settings = own_settings(alarms) if settings is None else settings
    steps = np.broadcast_to(dt, len(next(iter(signals.values()))))
    for step, *now in zip(steps, *signals.values(), strict=True):
        by_name = {name: np.array([[value]], np.float32) for name, value in zip(signals, now, strict=True)}
        level, new = alarms(by_name, settings, np.float32([[step]]), layout.enter(state, np.zeros(1)))
        assert level.dtype == np.float32
        state = layout.leave(new)
        seen.append(int(level.item()))
    return seen


def test_a_condition_turns_on_when_it_has_lasted():
    assert levels(made(hot=HOT), oil=[50, 61, 62, 63, 64]) == [0, 0, 0, 2, 2]


def test_a_delay_is_a_time_not_a_count():
    assert levels(made(hot=HOT), dt=0.5, oil=[61] * 7) == [0, 0, 0, 0, 2, 2, 2]
    assert levels(made(hot=HOT), dt=5, oil=[61, 61]) == [0, 2]


def test_a_short_excursion_is_none():
    assert levels(made(hot=HOT), oil=[61, 61, 59, 61, 61, 59]) == [0] * 6


def test_the_limit_itself_is_not_beyond_it():
    assert levels(made(burning=BURNING), oil=[90, 90, 90.1]) == [0, 0, 3]


def test_it_turns_off_only_below_the_dead_band_and_after_its_delay():
    oil = [61, 61, 61, 55, 50.1, 49, 49, 51, 49, 49, 49, 49]
    assert levels(made(hot=HOT), oil=oil) == [0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0]


def test_without_delays_it_follows_at_once():
    assert levels(made(burning=BURNING), oil=[91, 89, 91]) == [3, 0, 3]


def test_a_lower_limit():
    assert levels(made(worn=WORN), health=[0.6, 0.49, 0.55, 0.59, 0.61]) == [0, 1, 1, 1, 0]


def test_the_highest_active_level_is_said():
    alarms = made(hot=HOT | {"on_delay": 0}, worn=WORN, burning=BURNING)
    assert levels(alarms, oil=[20, 20, 70, 95, 20], health=[1, 0, 0, 0, 1]) == [0, 1, 2, 3, 2]


def test_an_unknown_signal_stops_the_timer_and_changes_nothing():
    nan = np.nan
    assert levels(made(hot=HOT), oil=[61, 61, nan, nan, nan, 61]) == [0, 0, 0, 0, 0, 2]
    assert levels(made(hot=HOT), oil=[61, 61, 61, nan, nan, nan, nan, 61]) == [0, 0, 2, 2, 2, 2, 2, 2]
    assert levels(made(hot=HOT), oil=[nan, nan]) == [0, 0]


def test_a_machine_may_have_limits_and_delays_of_its_own():
    alarms = made(hot=HOT, burning=BURNING)
    oil = [65, 65, 65, 75, 75, 75]
    assert levels(alarms, oil=oil) == [0, 0, 2, 2, 2, 2]
    assert levels(alarms, oil=oil, settings=own_settings(alarms, hot__limit=70)) == [0, 0, 0, 0, 0, 2]
    assert levels(alarms, oil=oil, settings=own_settings(alarms, hot__on_delay=0)) == [2] * 6
    assert levels(alarms, oil=oil, settings=own_settings(alarms, burning__limit=60)) == [3] * 6
    assert levels(alarms, oil=oil, settings=own_settings(alarms, nominal=1)) == levels(alarms, oil=oil)


def test_every_part_of_every_alarm_is_a_setting():
    alarms = made(hot=HOT, worn=WORN)
    parts = ("limit", "dead_band", "on_delay", "off_delay")
    assert set(alarms.asset_class.alarm_settings) == {f"{name}.{part}" for name in ("hot", "worn") for part in parts}


def test_a_class_without_alarms_is_never_alarmed():
    alarms = Alarms(asset_class())
    level, new = alarms({}, np.zeros((2, 0), np.float32), np.ones((2, 1), np.float32), {})
    assert level.tolist() == [[0], [0]]
    assert new == {}
    assert alarms.slices == []


def test_a_condition_that_cannot_turn_on_does_not_wear_out_its_timer():
    alarms = made(hot=HOT | {"on_delay": 100})
    layout = StateLayout(tuple(alarms.slices))
    state = layout.enter(np.array([[1, 0]], np.float32), np.zeros(1))  # active, and far beyond its limit for years
    for _ in range(100):
        _, state = alarms({"oil": np.float32([[99]])}, own_settings(alarms), np.float32([[1e6]]), state)
    assert state["alarm.timer"].item() == 0
    assert state["alarm.active"].item() == 1


ALL = {"hot": HOT, "worn": WORN, "burning": BURNING, "cold": {"level": 1, "signal": "water", "below": 0, "on_delay": 4}}
MACHINES = 4
NAMES = ("oil", "water", "health")


def session(alarms, size):
    arguments = {name: ndx.argument(shape=("B", 1), dtype=ndx.float32) for name in NAMES}
    arguments |= {"settings": ndx.argument(shape=("B", 17), dtype=ndx.float32)}
    arguments |= {"dt": ndx.argument(shape=("B", 1), dtype=ndx.float32)}
    state = ndx.argument(shape=("B", size), dtype=ndx.float32)
    layout = StateLayout(tuple(alarms.slices))
    slices = {"alarm.active": state[:, : size // 2], "alarm.timer": state[:, size // 2 :]}
    signals = {name: arguments[name] for name in NAMES}
    level, new = alarms(signals, arguments["settings"], arguments["dt"], slices)
    model = ndx.build(arguments | {"state": state}, {"level": level, "state_out": layout.leave(new)})
    model.ir_version = 10
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.fixture(scope="module")
def in_graph():
    return session(made(**ALL), 2 * len(ALL))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_numpy_and_graph_agree(in_graph, seed):
    rng, alarms = np.random.default_rng(seed), made(**ALL)
    layout = StateLayout(tuple(alarms.slices))
    state = np.zeros((MACHINES, layout.size), np.float32)
    chosen = rng.uniform(0, 100, (MACHINES, 17))
    own = np.where(rng.random(chosen.shape) < 0.7, np.nan, chosen).astype(np.float32)
    for _ in range(15):
        signals = {
            name: np.where(rng.random((MACHINES, 1)) < 0.2, np.nan, rng.uniform(-20, 120, (MACHINES, 1)))
            for name in NAMES
        }
        signals = {name: value.astype(np.float32) for name, value in signals.items()}
        dt = rng.choice([0, 0.5, 1, 10], (MACHINES, 1)).astype(np.float32)
        said, in_state = in_graph.run(None, {**signals, "settings": own, "dt": dt, "state": state})
        level, new = alarms(signals, own, dt, layout.enter(state, np.zeros(MACHINES)))
        state = layout.leave(new)
        np.testing.assert_array_equal(said, level)
        np.testing.assert_array_equal(in_state, state)
