import numpy as np
import onnx.helper
import onnxruntime
import pytest

from edge_runtime.errors import ModelError
from edge_runtime.step import StepFunction
from tests.edge_runtime.tiny import tiny_twin


def _inputs(step, machines):
    return {
        "readings": np.ones((machines, step.channels), np.float32),
        "dt": np.ones(machines, np.float32),
        "event": np.zeros(machines, np.float32),
        "age": np.zeros(machines, np.float32),
        "settings": np.zeros((machines, step.settings), np.float32),
        "state": step.start(machines),
    }


def test_sizes_come_from_the_graph():
    step = StepFunction(tiny_twin())
    assert (step.channels, step.settings, step.state_size) == (2, 1, 3)
    assert step.waveforms == {"shake": (1, 4)}
    assert step.outputs[:2] == ("health", "anomaly_score")
    assert "state_out" not in step.outputs
    assert step.widths["quality"] == (2,)
    assert step.widths["health"] == ()


def test_only_what_is_wanted_is_returned():
    step = StepFunction(tiny_twin())
    assert list(step(_inputs(step, 3), ("rul", "health"))) == ["rul", "health", "state_out"]
    assert set(step(_inputs(step, 3))) == {*step.outputs, "state_out"}


@pytest.mark.parametrize("snapshots", [0, 3])
def test_waveforms_may_be_left_out_or_come_from_all_machines(snapshots):
    step = StepFunction(tiny_twin())
    inputs = _inputs(step, 3)
    if snapshots:
        inputs |= {
            "shake": np.arange(12, dtype=np.float32).reshape(3, 1, 4),
            "shake.row": np.array([2, 0, 1]),
        }
    out = step(inputs)
    assert out["shake.features"].ravel().tolist() == ([3, 7, 11] if snapshots else [])
    assert out["state_out"][:, 2].tolist() == ([7, 11, 3] if snapshots else [0, 0, 0])


def test_loads_from_a_file(tmp_path):
    (tmp_path / "twin.onnx").write_bytes(tiny_twin())
    assert StepFunction(tmp_path / "twin.onnx").state_size == 3


def test_a_graph_that_is_no_step_function_is_refused():
    x = onnx.helper.make_tensor_value_info("readings", 1, ["B", 2])
    y = onnx.helper.make_tensor_value_info("health", 1, ["B", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["readings"], ["health"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 21)])
    with pytest.raises(ModelError, match=r"input 'dt'.*output 'state_out' missing"):
        StepFunction(model.SerializeToString())


def test_garbage_and_unknown_providers_are_refused():
    with pytest.raises(ModelError, match="cannot load the graph"):
        StepFunction(b"no model")
    with pytest.raises(ModelError, match=r"provider 'Quantum'.*CPUExecutionProvider"):
        StepFunction(tiny_twin(), provider="Quantum")


def test_a_failing_call_names_the_reason():
    step = StepFunction(tiny_twin())
    inputs = _inputs(step, 2) | {"readings": np.ones((2, 5), np.float32)}
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="readings"):
        step(inputs)
