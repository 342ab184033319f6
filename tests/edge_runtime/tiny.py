"""A tiny twin with the whole contract of inputs and outputs, and the same step in NumPy."""

import numpy as np
import onnx.parser

from edge_runtime.bundle import write_bundle
from edge_runtime.step import STATE_OUT, StepFunction

# State: time since the life began, observations in it, largest sample ever seen.
_GRAPH = """
<ir_version: 10, opset_import: ["" : 21]>
tiny (float[B,2] readings, float[B] dt, float[B] event, float[B] age, float[B,1] settings,
      float[K,1,4] shake, int64[K] "shake.row", float[B,3] state)
  => (float[B] health, float[B] anomaly_score, float[B] failure_probability, float[B] rul, float[B] rul_lower,
      float[B] rul_upper, float[B] alarm, float[B] warming_up, float[B] unfamiliar, float[B,2] quality,
      float[B,2] contribution, float[B,2] rul_model, float[B] tick, float[K,1] "shake.features", float[B,3] state_out)
{
  axis = Constant <value_ints = [1]> ()
  axis2 = Constant <value_ints = [2]> ()
  zero = Constant <value_float = 0.0> ()
  one = Constant <value_float = 1.0> ()
  two = Constant <value_float = 2.0> ()
  hundred = Constant <value_float = 100.0> ()
  lost = IsNaN (readings)
  quality = Cast <to = 1> (lost)
  used = Where (lost, zero, readings)
  health = ReduceMean <keepdims = 0> (used, axis)
  contribution = Sub (used, settings)
  anomaly_score = Sigmoid (health)
  s0, s1, s2 = Split <axis = 1, num_outputs = 3> (state)
  flat0 = Squeeze (s0, axis)
  flat1 = Squeeze (s1, axis)
  flat2 = Squeeze (s2, axis)
  is_new = Equal (event, one)
  old0 = Add (flat0, dt)
  elapsed = Where (is_new, zero, old0)
  old1 = Where (is_new, zero, flat1)
  count = Add (old1, one)
  "shake.features" = ReduceMax <keepdims = 0> (shake, axis2)
  peaks = Squeeze ("shake.features", axis)
  places = Unsqueeze ("shake.row", axis)
  peak = ScatterND <reduction = "max"> (flat2, places, peaks)
  rul = Sub (hundred, count)
  rul_lower = Sub (rul, peak)
  rul_upper = Div (rul, elapsed)
  failure_probability = Div (count, hundred)
  half = Div (count, two)
  whole = Floor (half)
  alarm = Clip (whole, zero, two)
  no_age = IsNaN (age)
  warming_up = Cast <to = 1> (no_age)
  unfamiliar = Mul (zero, dt)
  odd = Sub (half, whole)
  tick = Mul (odd, two)
  col0 = Unsqueeze (elapsed, axis)
  col1 = Unsqueeze (count, axis)
  col2 = Unsqueeze (peak, axis)
  col_rul = Unsqueeze (rul, axis)
  rul_model = Concat <axis = 1> (col_rul, col_rul)
  state_out = Concat <axis = 1> (col0, col1, col2)
}
"""


def tiny_twin() -> bytes:
    model = onnx.parser.parse_model(_GRAPH)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def step_by_hand(readings, dt, event, state):
    """health, rul and the next state of one machine that receives no waveform."""
    elapsed, count, peak = state
    elapsed, count = (0.0, 1.0) if event == 1 else (np.float32(elapsed + dt), count + 1)
    return np.nan_to_num(readings).mean(dtype=np.float32), 100 - count, (elapsed, count, peak)


def tiny_contract(**changes):
    """What the tiny twin says about itself; its time runs in seconds."""
    step = StepFunction(tiny_twin())
    return {
        "protocol": "1.0",
        "fleet": "tiny",
        "asset_class": "tiny",
        "title": "Tiny machine (simulated)",
        "simulated": True,
        "time": {"unit": "s", "interval": 60, "tick": 600, "max_gap": 86400},
        "life": {"unit": "h", "time_units": 3600, "age": "optional"},
        "labels": {"cap": 480, "horizon": 168},
        "channels": [
            {"name": "flow", "quantity": "flow", "unit": "L/min", "range": [0, 400], "aggregate": "mean"},
            {"name": "speed", "quantity": "speed", "unit": "rpm", "range": [0, 3000], "role": "condition"},
        ],
        "derived": [],
        "waveforms": [{"name": "shake", "unit": "m/s2", "axes": ["x"], "samples": 4, "rate": 100}],
        "settings": [{"name": "offset", "unit": "1", "range": [-10, 10], "default": 0}],
        "state": {
            "size": 3,
            "slices": [
                {"name": "elapsed", "scope": "life", "start": 0, "size": 2, "fingerprint": "e1"},
                {"name": "peak", "scope": "asset", "start": 2, "size": 1, "fingerprint": "p1"},
            ],
        },
        "outputs": list(step.outputs),
        "rul_models": ["lstm", "xgboost"],
        "alarms": [{"name": "worn", "level": 2, "signal": "health", "below": 0.5}],
        "health": "mean of the readings",
        "tolerance": {"CPUExecutionProvider": dict.fromkeys([*step.outputs, STATE_OUT], 1e-5)},
    } | changes


def tiny_golden(machines=5):
    random = np.random.default_rng(1)
    step = StepFunction(tiny_twin())
    inputs = {
        "readings": random.normal(size=(machines, 2)).astype(np.float32),
        "dt": np.arange(machines, dtype=np.float32),
        "event": np.eye(machines, dtype=np.float32)[1],
        "age": np.full(machines, np.nan, np.float32),
        "settings": np.full((machines, 1), np.nan, np.float32),
        "shake": random.normal(size=(2, 1, 4)).astype(np.float32),
        "shake.row": np.array([3, 0]),
        "state": random.random((machines, 3)).astype(np.float32),
    }
    inputs["readings"][2] = np.nan
    outputs = step(inputs)
    return {f"in.{k}": v for k, v in inputs.items()} | {f"out.{k}": v for k, v in outputs.items()}


def tiny_bundle(folder, *, twin=None, golden=None, **changes):
    """Write the tiny twin's bundle into `folder`; returns the folder."""
    write_bundle(
        folder,
        twin or tiny_twin(),
        golden or tiny_golden(),
        tiny_contract(**changes),
        models={
            "lstm": {"weight": 0.25, "units": 64},
            "xgboost": {"weight": {"age": 0.75, "no_age": 0.5}, "trees": 400},
            "isolation_forest": {"trees": 100, "gives": "anomaly_score"},
        },
        quality={"rul": {"rmse": 10.5, "rows": 100}, "failure": None},
        provenance={"run_id": "r1", "commit": "abc-dirty", "data_hash": "d1", "created": "2026-01-02T03:04:05Z"},
    )
    return folder
