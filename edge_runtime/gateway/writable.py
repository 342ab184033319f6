"""Whether what `[commands] allow` lists can be written at all: machine, channel, and a source that says how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_runtime.decode import suggest
from edge_runtime.gateway.config import AllowedCommand, SourceConfig
from edge_runtime.manifest import Contract


def unwritable(
    allow: Sequence[AllowedCommand],
    sources: Sequence[SourceConfig],
    contracts: Mapping[str, Contract],
    class_of: Mapping[str, str],
    table: Path,
) -> list[str]:
    """What is wrong, a line each. `class_of`: machine → class, of those in the file `table`."""
    lines = []
    for one in allow:
        problem = _machine(one, contracts, class_of, table) or _source(one, sources)
        if problem is not None:
            lines.append(problem)
    return lines


def _machine(
    one: AllowedCommand, contracts: Mapping[str, Contract], class_of: Mapping[str, str], table: Path
) -> str | None:
    if one.asset not in class_of:
        return f"machine '{one.asset}' is not in {table}"
    name = class_of[one.asset]
    channels = [channel.name for channel in contracts[name].channels]
    if one.channel not in channels:
        return f"channel '{one.channel}' of {one.asset}, a {name}, does not exist: {suggest(one.channel, channels)}"
    return None


def _source(one: AllowedCommand, sources: Sequence[SourceConfig]) -> str | None:
    """Why the source that is to write it cannot."""
    what, names = f"{one.asset} {one.channel}", ", ".join(source.name for source in sources) or "none"
    found = [source for source in sources if one.source in (None, source.name)]
    if len(found) != 1:
        return f"{what}: name the source that writes it, source = …; there are {names}"
    source, settings = found[0], found[0].settings
    where = f"{what}: source '{source.name}'"
    if source.type == "mqtt" and settings.command is None:
        example = 'command = { topic = "plant/{asset}/set/{channel}" }'
        return f"{where} does not say how it is written: give it {example}"
    if source.type in ("opcua", "modbus") and not any(
        value.writable and (value.asset, value.channel) == (one.asset, one.channel) for value in settings.values
    ):
        return f"{where} has no value of that machine and channel with writable = true"
    if source.type == "replay":
        return f"{where} is a recording, which cannot be written"
    return None
