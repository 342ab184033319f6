"""Tracing: the step function recorded as an ONNX graph by ndonnx.

Opset 21 and IR version 10, which onnxruntime 1.20 loads.
"""

from __future__ import annotations

from collections.abc import Mapping

import ndonnx as ndx
import onnx

from data.asset_class import AssetClass
from features.array import Array, squeeze
from features.step import FeatureStep, Observation

IR_VERSION = 10


def inputs(asset_class: AssetClass, state_size: int) -> dict[str, Array]:
    """The graph's inputs by name, as in the contract."""

    def f32(*shape: str | int) -> Array:
        return ndx.argument(shape=shape, dtype=ndx.float32)

    arguments = {
        "readings": f32("B", len(asset_class.scalars)),
        "dt": f32("B"),
        "event": f32("B"),
        "age": f32("B"),
        "settings": f32("B", len(asset_class.settings) + len(asset_class.alarm_settings)),
    }
    for name in asset_class.waveforms:
        spec = asset_class.channels[name].waveform
        assert spec is not None
        arguments[name] = f32(f"K_{name}", len(spec.axes), spec.samples)
        arguments[f"{name}.row"] = ndx.argument(shape=(f"K_{name}",), dtype=ndx.int64)
    return arguments | {"state": f32("B", state_size)}


def observation(asset_class: AssetClass, arguments: Mapping[str, Array]) -> Observation:
    """The observation that the inputs make up."""
    return Observation(
        **{name: arguments[name] for name in ("readings", "dt", "event", "age", "settings")},
        waveforms={name: (arguments[name], arguments[f"{name}.row"]) for name in asset_class.waveforms},
    )


def build(arguments: dict[str, Array], outputs: dict[str, Array]) -> onnx.ModelProto:
    """The checked ONNX model; the state's output is called `state_out`, since a graph's names are unique."""
    model: onnx.ModelProto = ndx.build(arguments, outputs)
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def feature_graph(step: FeatureStep) -> onnx.ModelProto:
    """The feature part alone: outputs `features`, `values`, `conditions`, `tick`, `quality`, `health`, …,
    `state_out`.
    """
    arguments = inputs(step.asset_class, step.layout.size)
    state = step.layout.enter(arguments["state"], arguments["event"])
    features, new = step(observation(step.asset_class, arguments), state)
    outputs = {
        "features": features.vector,
        "values": features.values,
        "tick": squeeze(features.clock.ticked),
        "since_new": squeeze(features.clock.since_new),
        "warming_up": squeeze(features.clock.warming_up),
        "novelty": squeeze(features.novelty),
        "health": squeeze(features.health),
        "quality": features.quality,
        "contribution": features.contribution,
        "state_out": step.layout.leave(new),
    }
    if features.conditions is not None:
        outputs["conditions"] = features.conditions
    for name, snapshot in features.waveforms.items():
        outputs[f"{name}.features"] = snapshot
    return build(arguments, outputs)
