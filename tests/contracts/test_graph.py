"""The composed graph keeps the contract: names, shapes, scopes, events, settings, fingerprints."""

from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest

from edge_runtime.contract.event import Event
from edge_runtime.step import StepFunction
from tests.contracts.twins import CAP, UNITS, in_numpy, twin
from tests.features.machines import CLASSES, snapshots, stream
from training.fingerprint import fingerprints

PER_MACHINE = ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper")
FLAGS = ("alarm", "warming_up", "unfamiliar", "with_age", "tick")


@cache
def graph(name):
    return twin(name).graph()


@cache
def run(name):
    return StepFunction(graph(name).SerializeToString())


def steps(name, observations, state=None):
    """The outputs at each of the `observations`."""
    step = run(name)
    observations = list(observations)
    state = step.start(len(observations[0]["dt"])) if state is None else state
    seen = []
    for inputs in observations:
        seen.append(step({**inputs, "state": state}))
        state = seen[-1]["state_out"]
    return seen


def healthy(cls, machines=1, dt=1.0, event=0, age=np.nan, readings=None):
    """One observation of machines that run as they should; channel by channel in the middle of its range."""
    middle = np.array([np.mean(cls.channels[name].range) for name in cls.scalars]) if readings is None else readings
    return {
        "readings": np.tile(np.float32(middle), (machines, 1)),
        "dt": np.full(machines, dt, np.float32),
        "event": np.full(machines, event, np.float32),
        "age": np.full(machines, age, np.float32),
        "settings": np.full((machines, len(cls.settings) + len(cls.alarm_settings)), np.nan, np.float32),
    }


def declared(values):
    """Element type and shape by name of the graph's inputs or outputs."""
    kinds = {onnx.TensorProto.FLOAT: "f32", onnx.TensorProto.INT64: "i64"}
    return {
        v.name: (
            kinds[v.type.tensor_type.elem_type],
            *(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
        )
        for v in values
    }


@pytest.mark.parametrize("name", CLASSES)
def test_inputs_are_those_of_the_contract(name):
    cls, whole = CLASSES[name], twin(name)
    expected = {
        "readings": ("f32", "B", len(cls.scalars)),
        "dt": ("f32", "B"),
        "event": ("f32", "B"),
        "age": ("f32", "B"),
        "settings": ("f32", "B", len(cls.settings) + len(cls.alarm_settings)),
        "state": ("f32", "B", whole.layout.size),
    }
    for waveform in cls.waveforms:
        spec = cls.channels[waveform].waveform
        expected[waveform] = ("f32", f"K_{waveform}", len(spec.axes), spec.samples)
        expected[f"{waveform}.row"] = ("i64", f"K_{waveform}")
    assert declared(graph(name).graph.input) == expected


@pytest.mark.parametrize("machines", [1, 7])
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_are_those_of_the_contract(name, machines):
    cls, whole = CLASSES[name], twin(name)
    (said,) = steps(name, [healthy(cls, machines)])
    shapes = dict.fromkeys((*PER_MACHINE, *FLAGS), (machines,))
    shapes |= {output: (machines, len(cls.scalars)) for output in ("quality", "contribution")}
    shapes |= {"rul_model": (machines, 2), "state_out": (machines, whole.layout.size)}
    shapes |= {f"{waveform}.features": (0, 8) for waveform in cls.waveforms}
    assert {output: value.shape for output, value in said.items()} == shapes
    assert {value.dtype for value in said.values()} == {np.dtype(np.float32)}
    assert {kind for kind, *_ in declared(graph(name).graph.output).values()} == {"f32"}


@pytest.mark.parametrize("name", CLASSES)
def test_the_graph_says_what_its_parts_say(name):
    """Features, LSTM, trees, blend and alarms one after another in NumPy, over a stream in which everything happens."""
    whole, step, machines = twin(name), run(name), 5
    state = in_graph = step.start(machines)
    for k, inputs in enumerate(stream(whole.asset_class, machines, 40, seed=3)):
        expected, features = in_numpy(whole, inputs, state)
        said = step({**inputs, "state": in_graph})
        state, in_graph = expected["state_out"], said["state_out"]
        assert (whole.trees.margin(features.vector) > 1e-6).all(), "choose another seed: a row lies on a split"
        assert expected.keys() == said.keys()
        for output, value in expected.items():
            np.testing.assert_allclose(said[output], value, rtol=1e-4, atol=1e-4, err_msg=f"{output}, step {k}")
        for output in PER_MACHINE:
            assert not np.isnan(said[output]).any()
        assert (said["rul_lower"] <= said["rul"] + 1e-4).all()
        assert (said["rul"] <= said["rul_upper"] + 1e-4).all()
        assert np.isin(said["alarm"], [0, 1, 2, 3]).all()


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_row_gets_does_not_depend_on_the_batch(name):
    if CLASSES[name].waveforms:
        pytest.skip("snapshots have a test of their own")
    *before, last = stream(CLASSES[name], 7, 6)
    state = steps(name, before)[-1]["state_out"]
    together = run(name)({**last, "state": state})
    order = np.array([4, 0, 6, 2])
    shuffled = run(name)({key: value[order] for key, value in {**last, "state": state}.items()})
    alone = [run(name)({key: value[i : i + 1] for key, value in {**last, "state": state}.items()}) for i in order]
    for output, value in together.items():
        np.testing.assert_allclose(shuffled[output], value[order], rtol=1e-5, atol=1e-5, err_msg=output)
        one_by_one = np.concatenate([each[output] for each in alone])
        np.testing.assert_allclose(one_by_one, value[order], rtol=1e-5, atol=1e-5, err_msg=output)


def test_only_machines_with_a_snapshot_are_moved_by_it():
    cls, machines = CLASSES["waveform"], 4
    state = steps("waveform", [healthy(cls, machines)])[-1]["state_out"]
    inputs = healthy(cls, machines)
    rng = np.random.default_rng(1)
    without = steps("waveform", [inputs], state)[0]
    shaken = snapshots(cls, "shake", [2, 0], rng)
    shaken["shake"] = np.nan_to_num(shaken["shake"])
    with_two = steps("waveform", [inputs | shaken], state)[0]
    moved = (with_two["state_out"] != without["state_out"]).any(axis=1)
    assert moved.tolist() == [True, False, True, False]
    assert without["shake.features"].shape == (0, 8)
    assert with_two["shake.features"].shape == (2, 8)
    everybody = snapshots(cls, "shake", range(machines), rng)
    everybody["shake"][[2, 0]] = shaken["shake"]
    with_all = steps("waveform", [inputs | everybody], state)[0]
    np.testing.assert_allclose(with_all["state_out"][[0, 2]], with_two["state_out"][[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(with_all["shake.features"][[2, 0]], with_two["shake.features"], rtol=1e-5)


def test_a_setting_changes_the_alarm_of_its_machine_alone():
    name = "polynomial, stuck, derived"
    cls = CLASSES[name]
    settings = [*cls.settings, *cls.alarm_settings]
    observations = []
    for k in range(5):
        inputs = healthy(cls, 2, readings=[70 + k, 50, 40 + k])  # oil above the class's limit of 60
        inputs["settings"][1, settings.index("hot.limit")] = 100
        inputs["settings"][:, settings.index("worn.limit")] = -1  # never
        observations.append(inputs)
    said = steps(name, observations)
    assert [each["alarm"].tolist() for each in said] == [[0, 0], [0, 0], [2, 0], [2, 0], [2, 0]]
    for output in PER_MACHINE:
        np.testing.assert_array_equal(said[-1][output][0], said[-1][output][1])


def test_a_new_life_is_a_new_machine():
    name = "age required, since new"
    cls, machines = CLASSES[name], 3
    old, new = list(stream(cls, machines, 20, seed=1)), list(stream(cls, machines, 20, seed=2))
    new[0]["event"][:] = Event.NEW_LIFE
    joined = steps(name, [*old, {**new[0], "dt": new[1]["dt"]}, *new[1:]])[len(old) :]
    for a, b in zip(joined, steps(name, new), strict=True):
        for output in (*PER_MACHINE, *FLAGS, "rul_model", "contribution"):
            np.testing.assert_array_equal(a[output], b[output], err_msg=output)


def test_models_hold_between_ticks_and_alarms_do_not_wait():
    name = "seconds, compensated"
    cls = CLASSES[name]
    said = steps(name, [healthy(cls, dt=600, readings=[40 + 7 * k % 30, 30]) for k in range(20)])
    ticks = [k for k, each in enumerate(said) if each["tick"].item()]
    assert ticks == [0, 6, 12, 18]
    for k, each in enumerate(said):
        since = max(t for t in ticks if t <= k)
        np.testing.assert_array_equal(each["rul_model"], said[since]["rul_model"])
    assert not np.array_equal(said[0]["state_out"], said[1]["state_out"])
    hidden = [s.name for s in twin(name).layout.slices].index("lstm.hidden")
    start = sum(s.size for s in twin(name).layout.slices[:hidden])
    cells = [each["state_out"][0, start : start + 2 * UNITS] for each in said]
    np.testing.assert_array_equal(cells[5], cells[0])
    assert not np.array_equal(cells[6], cells[5])


def test_connected_at_sixty_percent_of_life_a_twin_says_less():
    """The same machine, watched since new and connected late without its age."""
    name = "seconds, compensated"
    cls, rng = CLASSES[name], np.random.default_rng(4)
    life = [
        healthy(cls, dt=3600, readings=np.float32([20 + 0.2 * k, 15]) + rng.normal(0, 0.1, 2).astype(np.float32))
        for k in range(100)
    ]
    born = {**life[0], "event": np.float32([Event.NEW_LIFE]), "dt": np.zeros(1, np.float32)}
    since_new = steps(name, [born, *life[1:]])[60:]
    late = steps(name, [{**life[60], "dt": np.zeros(1, np.float32)}, *life[61:]])
    assert late[0]["warming_up"] > 0.8
    assert late[0]["rul_upper"] - late[0]["rul_lower"] > 0.85 * CAP
    warm = [(a, b) for a, b in zip(since_new, late, strict=True) if b["warming_up"] == 0]
    assert len(warm) > 20
    for known, unknown in warm:
        width, wider = (each["rul_upper"] - each["rul_lower"] for each in (known, unknown))
        assert wider > 1.5 * width
    layout = twin(name).layout
    slices = layout.enter(late[-1]["state_out"], np.zeros(1, np.float32))
    assert slices["clock.since_new"].item() == 0
    assert slices["clock.age"].item() == 0
    # once its age is said, the age counts, but what it did not see since new stays unknown
    told = steps(name, [{**life[0], "age": np.float32([160])}], late[-1]["state_out"])[0]
    slices = layout.enter(told["state_out"], np.zeros(1, np.float32))
    assert slices["clock.age"].item() == 160 * 3600
    assert slices["clock.since_new"].item() == 0
    np.testing.assert_allclose(told["rul_model"][:, 1], slices["models.said"][:, 2] * CAP, rtol=1e-6)


def prints(whole):
    alarms = {name: alarm.model_dump() for name, alarm in whole.asset_class.alarms.items()}
    meant = {"alarm.active": alarms, "alarm.timer": alarms}
    return fingerprints(whole.graph(), whole.layout, whole.asset_class, meant if alarms else {})


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def unmoved(*beginnings):
    """Slices of these beginnings; how long a twin has watched depends on which readings it can use."""
    return {name for name in original() if name.startswith(beginnings)} - {"clock.watched"}


NAME = "polynomial, stuck, derived"
MODELS = {"lstm.hidden", "lstm.cell", "models.said"}


@cache
def original():
    return prints(twin(NAME))


def test_every_slice_has_a_fingerprint_and_the_same_twin_the_same():
    assert list(original()) == [s.name for s in twin(NAME).layout.slices]
    assert prints(twin(NAME)) == original()


def test_another_lstm_changes_what_the_lstm_remembers():
    whole = twin(NAME)
    lstm = replace(whole.lstm, bias=whole.lstm.bias + np.float32(0.1))
    assert changed(original(), prints(replace(whole, lstm=lstm))) == MODELS
    head = replace(whole.lstm, head_bias=np.float32(0.6))
    assert changed(original(), prints(replace(whole, lstm=head))) == {"models.said"}


def test_other_trees_change_what_was_said_alone():
    whole = twin(NAME)
    trees = replace(whole.trees, value=whole.trees.value * np.float32(1.5))
    assert changed(original(), prints(replace(whole, trees=trees))) == {"models.said"}


def test_another_calibration_changes_no_memory():
    whole = twin(NAME)
    calibration = replace(whole.calibration, prior=0.3, anomaly_path=[0.5, 1.0, 1.5])
    assert changed(original(), prints(replace(whole, calibration=calibration))) == set()


def test_another_normalisation_changes_what_is_made_of_it():
    whole = twin(NAME)
    parameters = replace(whole.parameters, spread=whole.parameters.spread * np.float32(1.1))
    different = changed(original(), prints(replace(whole, parameters=parameters)))
    assert {"filters.average", "filters.twice", "filters.last", *MODELS} <= different
    assert different.isdisjoint(unmoved("cleaning.", "alarm.", "clock."))


def test_another_limit_changes_the_cleaning_and_another_alarm_its_timers():
    whole = twin(NAME)
    cls = whole.asset_class
    oil = cls.channels["oil"].model_copy(update={"stuck_after": 4.0})
    stricter = cls.model_copy(update={"channels": cls.channels | {"oil": oil}})
    different = changed(original(), prints(replace(whole, asset_class=stricter)))
    assert {"cleaning.same_for", "filters.average"} <= different
    assert different.isdisjoint(unmoved("alarm.", "clock."))
    hot = cls.alarms["hot"].model_copy(update={"on_delay": 7.0})
    louder = cls.model_copy(update={"alarms": cls.alarms | {"hot": hot}})
    assert changed(original(), prints(replace(whole, asset_class=louder))) == {"alarm.active", "alarm.timer"}
