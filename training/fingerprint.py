"""Fingerprints of state slices: equal exactly where every constant and operation that feeds the slice is equal.

A newer bundle may take over the slices whose fingerprint did not change; the others have to be warmed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import onnx

from data.asset_class import AssetClass
from edge_runtime.manifest import canonical_json
from features.state import StateLayout


def fingerprints(
    model: onnx.ModelProto, layout: StateLayout, asset_class: AssetClass, declared: Mapping[str, object]
) -> dict[str, str]:
    """Hex digest by slice name, from the nodes between the graph's inputs and `state_out`.

    An input counts with what its columns mean: two channels that change places change every slice they feed.

    A slice read on the way counts by its name: it has a fingerprint of its own. `declared` gives slices that keep their
    meaning whatever feeds them (alarm states survive a new model) the object that says what they mean.
    """
    producer = {name: (node, i) for node in model.graph.node for i, name in enumerate(node.output)}
    constants = {c.name: c.SerializeToString(deterministic=True) for c in model.graph.initializer}
    entry = {name: f"slice {s.name}" for name, s in zip(_split_outputs(model, layout), layout.slices, strict=True)}
    meaning = _meaning(asset_class)
    known: dict[str, str] = {}

    def digest(name: str) -> str:
        if name not in known:
            known[name] = _hash(*content(name))
        return known[name]

    def content(name: str) -> list[bytes]:
        if name in entry:
            return [entry[name].encode()]
        if name in constants:
            return [b"constant", constants[name]]
        if name not in producer:
            return [b"input", name.encode(), canonical_json(meaning.get(name))]
        node, output = producer[name]
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        inputs = [digest(i).encode() if i else b"" for i in node.input]
        return [node.domain.encode(), node.op_type.encode(), str(output).encode(), *attributes, *inputs]

    ends = producer[_through(producer, "state_out")][0].input
    made = {s.name: digest(end)[:16] for s, end in zip(layout.slices, ends, strict=True)}
    stated = {name: _hash(canonical_json(value))[:16] for name, value in declared.items()}
    return made | {name: value for name, value in stated.items() if name in made}


def _meaning(asset_class: AssetClass) -> dict[str, object]:
    """What the columns of each input mean, by the name of the input."""
    channels = asset_class.channels
    return {
        "readings": [[name, channels[name].quantity, channels[name].unit] for name in asset_class.scalars],
        "settings": [*asset_class.settings, *asset_class.alarm_settings],
        "dt": asset_class.time.unit,
        "age": asset_class.life.unit,
    } | {name: channels[name].model_dump(mode="json") for name in asset_class.waveforms}


def _through(producer: Mapping[str, tuple[onnx.NodeProto, int]], name: str) -> str:
    """The tensor behind Identity nodes."""
    while producer[name][0].op_type == "Identity":
        name = producer[name][0].input[0]
    return name


def _split_outputs(model: onnx.ModelProto, layout: StateLayout) -> list[str]:
    """The tensors in which the incoming state is cut into slices."""
    for node in model.graph.node:
        if node.op_type == "Split" and len(node.output) == len(layout.slices):
            return list(node.output)
    raise ValueError("the graph does not cut its state into the slices of the layout")


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
