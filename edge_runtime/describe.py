"""What a bundle is, as text for people and as a plain object for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.bundle import Bundle
from edge_runtime.manifest import Contract


def describe(bundle: Bundle) -> dict[str, Any]:
    """The manifest as plain values, for JSON."""
    return {**dataclasses.asdict(bundle.manifest), "folder": str(bundle.folder), "self_test": "passed"}


def describe_text(bundle: Bundle) -> str:
    """The same, the important things first, one fact a line."""
    return "\n".join(_lines(bundle))


def _lines(bundle: Bundle) -> Iterator[str]:
    yield bundle.contract.title
    yield from _summary(bundle)
    yield "models"
    for family, facts in bundle.manifest.models.items():
        told = [_weight(facts["weight"])] if "weight" in facts else []
        told += [f"{key} {_short(value)}" for key, value in facts.items() if key != "weight"]
        yield _line(family, "; ".join(told))
    yield from _interface(bundle.contract)
    yield "quality on held-out machines"
    for name, value in _flat(bundle.manifest.quality):
        yield _line(name, _short(value))
    yield "provenance"
    for name, value in dataclasses.asdict(bundle.manifest.provenance).items():
        yield _line(name, value or "unknown")


def _summary(bundle: Bundle) -> Iterator[str]:
    manifest, contract = bundle.manifest, bundle.contract
    unit, time = contract.life.unit, contract.time
    yield _line("model", manifest.model_id)
    yield _line("fleet", f"{contract.fleet}, class {contract.asset_class}" + (", SIMULATED" * contract.simulated))
    yield _line(
        "self-test", f"passed on {bundle.step.provider}, protocol {contract.protocol}, format {manifest.format}"
    )
    yield _line("observes", f"every {time.interval:g} {time.unit}, heads advance every {time.tick:g} {time.unit}")
    yield _line("warms up", f"anew after a silence of more than {time.max_gap:g} {time.unit}")
    yield _line("predicts", f"remaining life up to {contract.labels.cap:g} {unit}")
    yield _line("", f"failure within {contract.labels.horizon:g} {unit}")
    yield _line("age", f"{contract.life.age}, in {unit}")
    yield _line("health", contract.health)


def _interface(contract: Contract) -> Iterator[str]:
    yield f"channels ({len(contract.channels)})"
    for channel in contract.channels:
        low, high = channel.range
        yield _line(channel.name, f"{channel.quantity}, {low:g} … {high:g} {channel.unit}, {channel.role}")
    for derived in contract.derived:
        yield _line(derived.name, f"{derived.quantity}, {derived.unit} = {derived.formula}")
    for waveform in contract.waveforms:
        block = f"{len(waveform.axes)} × {waveform.samples} samples at {waveform.rate:g} Hz"
        yield _line(waveform.name, f"{block}, {waveform.unit}")
    yield f"settings ({len(contract.settings)})"
    for setting in contract.settings:
        yield _line(setting.name, f"{setting.default:g} {setting.unit}")
    yield f"alarms ({len(contract.alarms)})"
    for alarm in contract.alarms:
        limit = f"above {alarm.above:g}" if alarm.above is not None else f"below {alarm.below or 0:g}"
        yield _line(alarm.name, f"level {alarm.level}: {alarm.signal} {limit}")
    yield f"state ({contract.state.size} numbers, {4 * contract.state.size} bytes a machine)"
    for piece in contract.state.slices:
        yield _line(piece.name, f"{piece.size}, kept per {piece.scope}, {piece.fingerprint[:12]}")


def _line(name: str, fact: str) -> str:
    return f"  {name:<28}  {fact}"


def _weight(weight: Any) -> str:
    """Share of a family in the remaining life: one number, or one a head."""
    if isinstance(weight, Mapping):
        weight = ", ".join(f"{_short(share)} {head}" for head, share in weight.items())
    return f"weight {_short(weight)}" if weight is not None else "not in the remaining life"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
