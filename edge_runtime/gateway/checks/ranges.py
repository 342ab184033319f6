"""Whether what a source reads now lies in the range of its channel: the source may be set wrongly if it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from edge_runtime.gateway.machines import Machines
from edge_runtime.manifest import Channel, Contract
from edge_runtime.sources.source import Finding

Ranges = dict[tuple[str, str], Channel]  # machine, name of a channel → what its class says of it


def ranges_of(contracts: Mapping[str, Contract], machines: Mapping[str, Machines]) -> Ranges:
    return {
        (asset, channel.name): channel
        for name, contract in contracts.items()
        for asset in machines[name].assets
        for channel in contract.channels
    }


def judged(found: Finding, ranges: Ranges) -> Finding:
    """`found`, and whether its reading can be: one that cannot is told with the settings that would mend it."""
    reading = found.reading
    channel = ranges.get((reading.asset, reading.channel)) if reading is not None else None
    if reading is None or channel is None:
        return found
    low, high = channel.range
    if low <= reading.value <= high:
        return found
    wrong = "outside" if math.isfinite(reading.value) else "no finite number in"
    told = f"{found.detail.removesuffix(reading.hint)}: {wrong} the channel's range, {low:g} … {high:g} {channel.unit}"
    fitting = [f"{what} would give {value:.7g}" for what, value in reading.others.items() if low <= value <= high]
    hint = f"are {reading.doubts} right? {'; '.join(fitting)}".strip()
    return replace(found, detail=f"{told}: {hint}", warn=True)
