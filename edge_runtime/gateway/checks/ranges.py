"""Whether what a source reads now is of a channel, and lies in its range: the source may be set wrongly if not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from edge_runtime.decode import suggest
from edge_runtime.gateway.machines import Machines
from edge_runtime.gateway.mapping import ALSO
from edge_runtime.manifest import Channel, Contract
from edge_runtime.sources.source import Finding, Reading

FEW = 5  # readings told

Ranges = dict[tuple[str, str], Channel]  # machine, name of a channel → what its class says of it


def ranges_of(contracts: Mapping[str, Contract], machines: Mapping[str, Machines]) -> Ranges:
    return {
        (asset, channel.name): channel
        for name, contract in contracts.items()
        for asset in machines[name].assets
        for channel in contract.channels
    }


def judged(found: Finding, ranges: Ranges) -> Finding:
    """`found`, and whether its readings can be: those that cannot are told with the settings that would mend them."""
    problems = [told for reading in found.readings if (told := _problem(reading, ranges))]
    if not problems or not ranges:  # without a bundle nobody knows
        return found
    detail = found.detail
    for reading in found.readings:
        detail = detail.removesuffix(reading.hint)
    more = f"; and {len(problems) - FEW} more" if len(problems) > FEW else ""
    return replace(found, detail=f"{detail}: {'; '.join(problems[:FEW])}{more}", warn=True)


def _problem(reading: Reading, ranges: Ranges) -> str | None:
    channel = ranges.get((reading.asset, reading.channel))
    if channel is None:  # what a setting names, the mapping is checked for
        return _unknown(reading, ranges) if reading.named else None
    low, high = channel.range
    if low <= reading.value <= high:
        return None
    whose = f"{reading.channel} {reading.value:.7g} of {reading.asset} is " if reading.named else ""
    wrong = "outside" if math.isfinite(reading.value) else "no finite number in"
    fitting = [f"{what} would give {value:.7g}" for what, value in reading.others.items() if low <= value <= high]
    hint = f"are {reading.doubts} right? {'; '.join(fitting)}".strip()
    return f"{whose}{wrong} the channel's range, {low:g} … {high:g} {channel.unit}: {hint}"


def _unknown(reading: Reading, ranges: Ranges) -> str | None:
    own = sorted(channel for asset, channel in ranges if asset == reading.asset)
    if not own:
        return f"machines.csv does not have '{reading.asset}'"
    return (
        None
        if reading.channel in ALSO
        else f"'{reading.channel}' is no channel of {reading.asset}: " + suggest(reading.channel, own)
    )
