"""What a bundle is, as text for people and as a plain object for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.bundle import Bundle


def describe(bundle: Bundle) -> dict[str, Any]:
    """The manifest as plain values, for JSON."""
    return {**dataclasses.asdict(bundle.manifest), "folder": str(bundle.folder), "self_test": "passed"}


def describe_text(bundle: Bundle) -> str:
    """The same, the important things first, one fact a line."""
    return "\n".join(_lines(bundle))


def _lines(bundle: Bundle) -> Iterator[str]:
    manifest, contract = bundle.manifest, bundle.contract
    unit, time = contract.life.unit, contract.time
    yield contract.title
    yield f"  model       {manifest.model_id}"
    yield f"  fleet       {contract.fleet} (class {contract.asset_class})" + (
        ", SIMULATED data" if contract.simulated else ""
    )
    yield f"  self-test   passed on {bundle.step.provider}, protocol {contract.protocol}, format {manifest.format}"
    yield f"  observes    every {time.interval:g} {time.unit}, advances its heads every {time.tick:g} {time.unit}"
    yield f"  warms up    after a silence of more than {time.max_gap:g} {time.unit}"
    yield f"  predicts    life left up to {contract.labels.cap:g}, failure within {contract.labels.horizon:g} {unit}"
    yield f"  age         {contract.life.age}, in {unit}"
    yield f"  health      {contract.health}"
    yield "models"
    for family, facts in manifest.models.items():
        weight = facts.get("weight")
        blend = f"weight {weight:.3f} in remaining life" if isinstance(weight, int | float) else "not in remaining life"
        rest = ", ".join(f"{key} {_short(value)}" for key, value in facts.items() if key != "weight")
        yield f"  {family:<18}{blend}" + (f"; {rest}" if rest else "")
    yield f"channels ({len(contract.channels)})"
    for channel in contract.channels:
        low, high = channel.range
        yield f"  {channel.name:<18}{channel.quantity}, {low:g} … {high:g} {channel.unit}, {channel.role}"
    for derived in contract.derived:
        yield f"  {derived.name:<18}{derived.quantity}, {derived.unit} = {derived.formula}"
    for waveform in contract.waveforms:
        block = f"{len(waveform.axes)} × {waveform.samples} samples at {waveform.rate:g} Hz"
        yield f"  {waveform.name:<18}{block}, {waveform.unit}"
    yield f"settings ({len(contract.settings)})"
    for setting in contract.settings:
        yield f"  {setting.name:<18}{setting.default:g} {setting.unit}"
    yield f"alarms ({len(contract.alarms)})"
    for alarm in contract.alarms:
        limit = f"above {alarm.above:g}" if alarm.above is not None else f"below {alarm.below or 0:g}"
        yield f"  {alarm.name:<18}level {alarm.level}: {alarm.signal} {limit}"
    yield f"state ({contract.state.size} numbers, {4 * contract.state.size} bytes a machine)"
    for piece in contract.state.slices:
        yield f"  {piece.name:<18}{piece.size}, kept per {piece.scope}, {piece.fingerprint[:12]}"
    yield "quality on held-out machines"
    for name, value in _flat(manifest.quality):
        yield f"  {name:<34}{_short(value)}"
    yield "provenance"
    for name, value in dataclasses.asdict(manifest.provenance).items():
        yield f"  {name:<18}{value or 'unknown'}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
