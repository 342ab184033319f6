"""Trying an OPC UA source once: each node by itself, with what the server says of its unit, range and rights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edge_runtime.sources.opcua.library import load_ua, node_ids
from edge_runtime.sources.opcua.settings import OpcuaSettings, OpcuaValue, OpcuaWaveform
from edge_runtime.sources.opcua.subscription import read_nodes
from edge_runtime.sources.opcua.values import Mapped, status_name, to_nanos, to_samples
from edge_runtime.sources.source import Finding, Reading

_WAITS = "BadWaitingForInitialData"
_LONG = 86_400  # seconds
_CURRENT_WRITE = 2  # bit of an access level


async def check(client: Any, settings: OpcuaSettings, now: int) -> list[Finding]:
    """A finding a mapping, and one for each secret that others may read. `now`: UTC nanos."""
    mapped: list[Mapped] = [*settings.values, *settings.waveforms]
    found = await read_nodes(client, [item.node for item in mapped])
    findings = _secrets(settings)
    for item, data in zip(mapped, found, strict=True):
        what = f"{settings.name}: {item.asset} {item.channel} ({item.node})"
        try:
            ok, told = await _judge(client, item, data, now)
            warn = ok and (_waits(data) or _age(data, now)[1])
            findings.append(Finding(what, ok, told, warn, _readings(item, data) if ok else ()))
        except Exception as error:  # what a server may answer has no end
            findings.append(Finding(what, False, f"{type(error).__name__}: {error}"))
    return findings


async def _judge(client: Any, item: Mapped, data: Any, now: int) -> tuple[bool, str]:
    code = _code(data)
    if _waits(data):
        return True, f"{_WAITS}: the server has got no value yet"
    if code >> 30 >= 2:
        return False, status_name(code) + _HINTS.get(status_name(code), "")
    value = data.Value.Value if data.Value is not None else None
    if isinstance(item, OpcuaWaveform):
        samples = to_samples(value, item)
        if samples is None:
            return False, f"holds {_shape(value)}: expected an array of numbers, of {item.axes} axes, {item.layout}"
        return True, f"{samples.shape[0]} axes × {samples.shape[1]} samples{_age(data, now)[0]}"
    if not isinstance(value, int | float):
        return False, f"holds {_shape(value)}: expected a number; an array is for `waveforms`"
    told = f"{value:.7g}" + (" (uncertain)" if code >> 30 == 1 else "")
    in_range, about = await _about(client, item, float(value))
    if item.writable and not await _may_write(client, item):
        return False, f"{told}{about}: the server lets this user not write it; leave writable out, or give the right"
    return in_range, f"{told}{about}{_age(data, now)[0]}"


async def _about(client: Any, item: OpcuaValue, value: float) -> tuple[bool, str]:
    """Whether the value lies in the node's EURange, and its unit and range in words, as far as the server has them."""
    properties = {}
    (known,) = await node_ids(client, [item.node])
    for node in await client.get_node(known).get_properties():
        properties[(await node.read_browse_name()).Name] = node
    about, in_range = "", True
    if "EngineeringUnits" in properties:
        unit = await properties["EngineeringUnits"].read_value()
        about += f" {unit.DisplayName.Text}" if unit is not None and unit.DisplayName.Text else ""
    if "EURange" in properties:
        extent = await properties["EURange"].read_value()
        in_range = not (extent.High > extent.Low) or extent.Low <= value <= extent.High
        about += f" ({extent.Low:g} … {extent.High:g} by the server)"
        about += "" if in_range else ": outside of its range; is it the right node, and does the sensor work?"
    return in_range, about


async def _may_write(client: Any, item: OpcuaValue) -> bool:
    ua = load_ua()
    (known,) = await node_ids(client, [item.node])
    level = await client.get_node(known).read_attribute(ua.AttributeIds.UserAccessLevel)
    return bool(int(level.Value.Value) & _CURRENT_WRITE)


def _age(data: Any, now: int) -> tuple[str, bool]:
    """How old a value is, in words, and whether somebody should look: what does not change is sent but once."""
    source = to_nanos(data.SourceTimestamp)
    if source is None:
        return "; without a time of its source", False
    age = (now - source) / 1e9
    if age < -1:
        return f"; its time is {_seconds(-age)} ahead of this computer's clock", True
    if age > _LONG:
        return f"; unchanged for {_seconds(age)}: does the machine run, and is the time of its source right?", True
    return (f"; unchanged for {_seconds(age)}" if age > 60 else ""), False


def _seconds(count: float) -> str:
    return f"{count / 86_400:.0f} days" if count > 2 * 86_400 else f"{count:.0f} s"


def _code(data: Any) -> int:
    return int(data.StatusCode.value) if data.StatusCode is not None else 0


def _readings(item: Mapped, data: Any) -> tuple[Reading, ...]:
    """The number in `data`, of one that is sound."""
    value = data.Value.Value if data.Value is not None else None
    if isinstance(item, OpcuaWaveform) or not isinstance(value, int | float):
        return ()
    return (Reading(item.asset, item.channel, float(value), "node and unit"),)


def _waits(data: Any) -> bool:
    """Whether the server knows the node, and nothing has told it a value since it started."""
    return status_name(_code(data)) == _WAITS


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _secrets(settings: OpcuaSettings) -> list[Finding]:
    """Key and password must be the service's alone."""
    secrets: Counter[Path] = Counter(path for path in (settings.key, settings.password_file) if path is not None)
    return [
        Finding(f"{settings.name}: {path}", False, f"others may read it: chmod 600 {path}")
        for path in secrets
        if path.exists() and path.stat().st_mode & 0o007
    ]


_HINTS = {
    "BadNodeIdUnknown": ": the server has no such node; look it up in a browser like UaExpert",
    "BadUserAccessDenied": ": this user may not read it",
    "BadNotReadable": ": this node cannot be read",
    "BadAttributeIdInvalid": ": this node is no variable and holds no value",
}
