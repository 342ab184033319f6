"""One definition of a feature: what NumPy computes, the traced graph computes, for every kind of class."""

from functools import cache

import numpy as np
import pytest

from edge_runtime.step import StepFunction
from features import trace
from features.trace import feature_graph
from tests.features.machines import CLASSES, advance, step_of, stream

MACHINES, STEPS = 6, 60


@cache
def graph(name):
    return feature_graph(step_of(name))


@cache
def traced(name):
    return StepFunction(graph(name).SerializeToString())


def by_name(features, state):
    """What NumPy computed, by the graph's output names."""
    outputs = {
        "features": features.vector,
        "values": features.values,
        "tick": features.clock.ticks[:, 0].astype(np.float32),
        "since_new": features.clock.since_new[:, 0],
        "warming_up": features.clock.warming_up[:, 0],
        "novelty": features.novelty[:, 0],
        "health": features.health[:, 0],
        "quality": features.quality,
        "contribution": features.contribution,
        "state_out": state,
        **{f"{name}.features": value for name, value in features.waveforms.items()},
    }
    return outputs if features.conditions is None else outputs | {"conditions": features.conditions}


@pytest.mark.parametrize("name", CLASSES)
def test_numpy_and_onnxruntime_agree_step_by_step(name):
    step, run = step_of(name), traced(name)
    state = in_graph = np.zeros((MACHINES, step.layout.size), np.float32)
    for k, inputs in enumerate(stream(step.asset_class, MACHINES, STEPS)):
        features, state = advance(step, inputs, state)
        said = run({**inputs, "state": in_graph})
        in_graph = said["state_out"]
        expected = by_name(features, state)
        assert expected.keys() == said.keys()
        for output, value in expected.items():
            assert value.dtype == np.float32, output
            assert value.shape == said[output].shape, output
            np.testing.assert_allclose(said[output], value, rtol=1e-5, atol=1e-5, err_msg=f"{output}, step {k}")


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_snapshots_of_none_some_or_all_machines(share):
    step, run = step_of("waveform"), traced("waveform")
    *_, inputs = stream(step.asset_class, MACHINES, 3)
    rng, count = np.random.default_rng(1), round(share * MACHINES)
    inputs["shake"] = rng.normal(size=(count, 2, 64)).astype(np.float32)
    inputs["shake.row"] = rng.permutation(MACHINES)[:count].astype(np.int64)
    state = np.zeros((MACHINES, step.layout.size), np.float32)
    features, new = advance(step, inputs, state)
    said = run({**inputs, "state": state})
    assert said["shake.features"].shape == (count, 8)
    np.testing.assert_allclose(said["shake.features"], features.waveforms["shake"], rtol=1e-5)
    np.testing.assert_allclose(said["state_out"], new, rtol=1e-5, atol=1e-6)
    known = ~np.isnan(said["values"][:, 1])  # the first statistic
    assert sorted(inputs["shake.row"]) == np.flatnonzero(known).tolist()


def test_a_batch_of_none_is_a_batch():
    run = traced("plain")
    nothing = next(stream(CLASSES["plain"], 0, 1))
    said = run({**nothing, "state": np.zeros((0, run.state_size), np.float32)})
    assert said["features"].shape == (0, len(step_of("plain").names))


@pytest.mark.parametrize("name", CLASSES)
def test_gateways_that_lag_behind_can_load_the_graph(name):
    model = graph(name)
    assert model.ir_version == trace.IR_VERSION == 10
    assert {(o.domain, o.version) for o in model.opset_import if not o.domain} == {("", 21)}
    # subgraphs are what onnxruntime 1.20 refuses: "If" comes from guards of array libraries
    assert {node.op_type for node in model.graph.node}.isdisjoint({"If", "Loop", "Scan"})


def test_the_same_parameters_make_the_same_bytes():
    step = step_of("polynomial, stuck, derived")
    first, second = (feature_graph(step).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
