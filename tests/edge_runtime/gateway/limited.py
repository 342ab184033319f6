"""A tiny twin whose alarm hangs on a setting: level 1 while health is above `offset` (by default above 100)."""

from edge_runtime.step import StepFunction
from tests.edge_runtime import tiny


def limited_bundle(folder, **changes):
    """Write its bundle into `folder`; returns the folder."""
    text = tiny._GRAPH.replace(
        "  alarm = Clip (whole, zero, two)\n",
        """  limit0 = Squeeze (settings, axis)
  unset = IsNaN (limit0)
  limit = Where (unset, hundred, limit0)
  over = Greater (health, limit)
  alarm = Cast <to = 1> (over)
""",
    )
    assert text != tiny._GRAPH
    model = tiny.onnx.parser.parse_model(text)
    tiny.onnx.checker.check_model(model, full_check=True)
    twin = model.SerializeToString()
    inputs = {name[3:]: value for name, value in tiny.tiny_golden().items() if name.startswith("in.")}
    golden = {f"in.{name}": value for name, value in inputs.items()}
    golden |= {f"out.{name}": value for name, value in StepFunction(twin)(inputs).items()}
    return tiny.tiny_bundle(folder, twin=twin, golden=golden, **changes)
