"""What holds of the step function whatever it is given."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_runtime.contract.event import Event
from edge_runtime.contract.quality import Quality
from features.step import FeatureStep, sensor_names
from tests.features.machines import (
    CLASSES,
    FORMULAS,
    NOMINAL,
    SENSOR,
    advance,
    asset_class,
    parameters,
    step_of,
    stream,
)

SEEDS = st.integers(0, 2**32 - 1)
ANYTHING = st.floats(width=32)  # NaN and the infinities too
NAMES = st.sampled_from(sorted(CLASSES))
# Lives and machines are told apart by everything but what is known of the sensors themselves.
FORGETFUL = [name for name in CLASSES if name not in {"set points held", "polynomial, stuck, derived"}]


def run(step, observations, state=None):
    """Features of each of the `observations` (inputs of one step each), and the last state."""
    some = next(iter(observations))
    state = np.zeros((len(some["dt"]), step.layout.size), np.float32) if state is None else state
    seen = []
    for inputs in observations:
        features, state = advance(step, inputs, state)
        seen.append(features)
    return seen, state


@given(NAMES, SEEDS, st.data())
@settings(max_examples=80, deadline=None)
def test_nothing_a_machine_may_send_makes_anything_but_finite_numbers(name, seed, data):
    step = step_of(name)
    observations = list(stream(step.asset_class, 3, 6, seed))
    spoiled = data.draw(st.integers(0, 5), label="step")
    for key in ("readings", "age", "settings"):
        observations[spoiled][key] = data.draw(arrays(np.float32, observations[spoiled][key].shape, elements=ANYTHING))
    observations[spoiled]["dt"] = data.draw(arrays(np.float32, 3, elements=st.floats(0, 2**40, width=32)))
    seen, state = run(step, observations)
    for features in seen:
        for value in (features.vector, features.health, features.contribution, features.novelty, features.clock.age):
            assert np.isfinite(value).all()
        for share in (features.health, features.clock.warming_up):
            assert (share >= 0).all()
            assert (share <= 1).all()
        assert np.isin(features.quality, [0, 1, 2, 4, 8, 1 + 16, 2 + 16, 4 + 16]).all()
    assert np.isfinite(state).all()


@given(NAMES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_a_machine_gets_does_not_depend_on_who_else_is_in_the_batch(name, seed):
    step, machines = step_of(name), 5
    rng = np.random.default_rng(seed)
    *before, last = stream(step.asset_class, machines, 4, seed)
    _, state = run(step, before)
    together, after = advance(step, last, state)
    chosen = rng.permutation(machines)[: rng.integers(1, machines + 1)]
    part = {key: value[chosen] for key, value in last.items() if len(value) == machines and "shake" not in key}
    for waveform in step.asset_class.waveforms:
        rows = last[f"{waveform}.row"]
        place = {machine: i for i, machine in enumerate(chosen)}
        kept = [i for i, row in enumerate(rows) if row in place]
        part[waveform] = last[waveform][kept]
        part[f"{waveform}.row"] = np.array([place[row] for row in rows[kept]], np.int64)
    alone, own = advance(step, part, state[chosen])
    np.testing.assert_allclose(alone.vector, together.vector[chosen], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(own, after[chosen], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(alone.quality, together.quality[chosen])


@given(st.sampled_from(FORGETFUL), SEEDS)
@settings(max_examples=40, deadline=None)
def test_two_lives_joined_by_an_event_are_two_machines(name, seed):
    step = step_of(name)
    first = list(stream(step.asset_class, 3, 12, seed))
    second = list(stream(step.asset_class, 3, 12, seed + 1))
    second[0]["event"] = np.full(3, Event.NEW_LIFE, np.float32)
    joined = [*first, {**second[0], "dt": np.array([1, 5, 500], np.float32)}, *second[1:]]
    in_one, _ = run(step, joined)
    apart, _ = run(step, second)
    for a, b in zip(in_one[len(first) :], apart, strict=True):
        np.testing.assert_array_equal(a.vector, b.vector)
        np.testing.assert_array_equal(a.health, b.health)
        np.testing.assert_array_equal(a.clock.ticks, b.clock.ticks)
        np.testing.assert_array_equal(a.clock.warming_up, b.clock.warming_up)
        np.testing.assert_array_equal(a.clock.since_new, b.clock.since_new)


def constant_machine(cls, value=20.0, machines=1, dt=1.0, event=0.0):
    """One observation of machines that show `value` everywhere."""
    return {
        "readings": np.full((machines, len(cls.scalars)), value, np.float32),
        "dt": np.full(machines, dt, np.float32),
        "event": np.full(machines, event, np.float32),
        "age": np.full(machines, np.nan, np.float32),
        "settings": np.full((machines, len(cls.settings) + len(cls.alarm_settings)), np.nan, np.float32),
    }


def test_a_replaced_sensor_keeps_what_was_learned_of_the_life():
    step = step_of("polynomial, stuck, derived")
    _, state = run(step, stream(step.asset_class, 4, 30))
    silence = constant_machine(step.asset_class, np.nan, 4, dt=0)
    before, _ = advance(step, silence, state)
    after, new = advance(step, silence | {"event": np.full(4, Event.SENSOR_REPLACED, np.float32)}, state)
    np.testing.assert_array_equal(after.vector, before.vector)
    kept = step.layout.enter(new, np.zeros(4, np.float32))
    for each in step.layout.slices:
        if each.scope == "sensor":
            assert not kept[each.name].any(), each.name
    assert kept["cleaning.last_good"].any()
    assert kept["filters.average"].any()


def test_an_observation_at_the_same_time_moves_no_average():
    step = step_of("age required, since new")
    _, state = run(step, [constant_machine(step.asset_class, value) for value in (20, 25, 22)])
    features, new = advance(step, constant_machine(step.asset_class, 24, dt=0), state)
    before, after = (step.layout.enter(each, np.zeros(1, np.float32)) for each in (state, new))
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == {"filters.last"}
    assert not features.clock.ticks.item()


def test_a_late_first_reading_is_a_first_reading():
    step = step_of("plain")
    silent = [constant_machine(step.asset_class, np.nan, dt=k > 0) for k in range(9)]
    talking = [constant_machine(step.asset_class, value) for value in (20, 30, 10, 25)]
    late, _ = run(step, silent + talking)
    prompt, _ = run(step, [talking[0] | {"dt": np.zeros(1, np.float32)}, *talking[1:]])
    for a, b in zip(late[9:], prompt, strict=True):
        np.testing.assert_array_equal(a.vector[:, : step.free_of_age], b.vector[:, : step.free_of_age])
    assert all(features.clock.warming_up == 1 for features in late[:9])


def test_one_lone_jump_is_set_aside_and_a_second_believed():
    cls = asset_class(derived={"share": FORMULAS["share"]}, settings=NOMINAL)
    made = parameters(cls)
    made.spread[:] = 1  # of 15, the default limit: 20 degrees are a jump
    step = FeatureStep(cls, made)
    values = [20, 20, 60, 20, 60, 60, 60]
    seen, _ = run(step, [constant_machine(cls, value) for value in values])
    # `share` is computed from `oil` alone and jumps with it: the channel is still flagged once
    assert [features.quality[0, 0] for features in seen] == [0, 0, Quality.SPIKE, 0, Quality.SPIKE, 0, 0]
    oil = [features.vector[0, step.names.index("oil.last")] for features in seen]
    assert oil[2] == oil[1]
    assert oil[5] == pytest.approx(60 - made.expected[0, 0])


def test_after_a_pause_a_jump_is_believed():
    cls = asset_class()
    made = parameters(cls)
    made.spread[:] = 1
    step = FeatureStep(cls, made)
    seen, _ = run(step, [constant_machine(cls, value) for value in (20, 20, np.nan, 60, 60)])
    assert [features.quality[0, 0] for features in seen] == [0, 0, Quality.MISSING, 0, 0]


def test_the_time_before_a_life_ends_what_was_held_of_the_last_one():
    step = step_of("set points held")
    known = constant_machine(step.asset_class, 50)
    lost = constant_machine(step.asset_class, 50, dt=100, event=Event.NEW_LIFE)
    lost["readings"][0, 0] = np.nan  # speed, held for 2 cycles
    (_, features), _ = run(step, [known, lost])
    assert features.quality[0, 0] == Quality.MISSING
    assert np.isnan(features.conditions[0, 0])


def test_contributions_add_up_to_the_health_lost():
    step = step_of("seconds, compensated")
    made = step.parameters
    seen, _ = run(step, stream(step.asset_class, 5, 25))
    unlost = -made.failed / (made.healthy - made.failed)  # of a machine that shows the expected values
    for features in seen:
        inside = (features.health > 0) & (features.health < 1)
        lost = features.contribution.sum(axis=1, keepdims=True)
        np.testing.assert_allclose((unlost - features.health)[inside], lost[inside], atol=1e-5)
    assert any((features.health > 0).any() and (features.health < 1).any() for features in seen)


def test_settings_of_a_machine_reach_its_formulas_alone():
    step = step_of("polynomial, stuck, derived")
    inputs = constant_machine(step.asset_class, 40, 2)
    inputs["settings"][1, 0] = 50  # nominal; the default is 80
    features, _ = advance(step, inputs, np.zeros((2, step.layout.size), np.float32))
    share = step.parameters.sensors.index("share")
    assert features.values[:, share].tolist() == pytest.approx([0.5, 0.8])


def test_without_projections_health_says_nothing():
    cls = asset_class()
    fitted = parameters(cls)
    none = replace(fitted, projections=(), weights=np.zeros((len(fitted.sensors), 0), np.float32))
    step = FeatureStep(cls, none)
    features, _ = advance(step, constant_machine(cls), np.zeros((1, step.layout.size), np.float32))
    assert features.health.tolist() == [[0]]
    assert not features.contribution.any()
    assert features.vector.shape == (1, len(step.names))


@pytest.mark.parametrize("name", CLASSES)
def test_features_name_themselves(name):
    step = step_of(name)
    features, _ = advance(step, next(stream(step.asset_class, 2, 1)), np.zeros((2, step.layout.size), np.float32))
    assert features.vector.shape == (2, len(step.names))
    assert len(set(step.names)) == len(step.names)
    sensors = [*step.parameters.sensors, *(f"health_index.{p}" for p in step.parameters.projections), "clock"]
    assert all(feature.rpartition(".")[0] in sensors for feature in step.names)


@pytest.mark.parametrize("name", CLASSES)
def test_features_free_of_age_do_not_tell_the_age(name):
    step = step_of(name)
    free = step.names[: step.free_of_age]
    assert free[-1] == "clock.log_step"
    assert not any(word in feature for feature in free for word in ("age", "first", "since_new"))
    aged = step.names[step.free_of_age :]
    assert ("clock.age" in aged) == (step.asset_class.life.age != "none")


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_age_changes_none_of_the_features_free_of_it(seed):
    step = step_of("age required, since new")
    observations = list(stream(step.asset_class, 3, 8, seed))
    older = [inputs | {"age": np.full(3, 500, np.float32)} for inputs in observations]
    for a, b in zip(*(run(step, each)[0] for each in (observations, older)), strict=True):
        np.testing.assert_array_equal(a.vector[:, : step.free_of_age], b.vector[:, : step.free_of_age])
        assert (b.vector[:, -1] == 500).all()


def test_what_can_be_a_sensor():
    cls = asset_class(
        channels={"oil": SENSOR, "shake": CLASSES["waveform"].channels["shake"].model_dump(), "water": SENSOR},
        derived={"share": FORMULAS["share"]},
        settings=NOMINAL,
    )
    assert sensor_names(cls)[:4] == ("oil", "water", "share", "shake.rms.x")
