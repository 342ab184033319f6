"""A tiny twin with the whole contract of inputs and outputs, and the same step in NumPy."""

import numpy as np
import onnx.parser

CHANNELS, SETTINGS, STATE = 2, 1, 3

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
