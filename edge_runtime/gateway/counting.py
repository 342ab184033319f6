"""Sources that tell UTC to machines that count cycles, or cycles to machines that go by UTC.

Nothing else would say so: of UTC a second counts as a cycle, and once it is taken, all cycles are late ever after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edge_runtime.gateway.config import SourceConfig
from edge_runtime.gateway.machines import Machines
from edge_runtime.manifest import Contract


class _Told(NamedTuple):
    """Times of `asset` (None: of any machine) at `where`: cycles or UTC, and what to write to have the other."""

    where: str
    asset: str | None
    cycles: bool
    way_out: str


def miscounted(
    contracts: Mapping[str, Contract], machines: Mapping[str, Machines], sources: Sequence[SourceConfig]
) -> Iterator[str]:
    """A line for each place whose times fit none of the classes that it may be of."""
    class_of = {asset: name for name, listed in machines.items() for asset in listed.assets}
    for source in sources:
        for told in _told(source.type, source.settings):
            classes = [class_of[told.asset]] if told.asset in class_of else list(contracts)
            if all((contracts[name].time.unit == "cycle") != told.cycles for name in classes):
                has, counts = ("cycles", "goes by UTC") if told.cycles else ("UTC", "counts cycles")
                yield (
                    f"source {source.name}{told.where}: its times are {has}, class {' or '.join(classes)} {counts}: "
                    f"{told.way_out}"
                )


def _told(kind: str, settings: Any) -> Iterator[_Told]:
    if kind == "replay":
        cycles = settings.unit == "cycle"
        yield _Told("", None, cycles, "leave unit out" if cycles else 'write unit = "cycle"')
    elif kind == "mqtt":
        for topic in settings.topics:
            cycles = topic.time_unit == "cycle" and topic.format != "value"
            way_out = "leave time_unit out" if cycles else 'write time_unit = "cycle"'
            if topic.format == "value":  # a bare number has no time
                way_out = "send JSON with the cycle as its time"
            yield _Told(f", topic {topic.topic}", topic.asset, cycles, way_out)
    else:
        assets = {item.asset for item in getattr(settings, "values", ())} or {None}
        for asset in sorted(assets, key=str):
            yield _Told("", asset, False, "only sources of type mqtt and replay can tell cycles")
