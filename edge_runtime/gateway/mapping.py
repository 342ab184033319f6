"""Which source feeds which channel of which machine, as far as the configuration tells, or a file that is played."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edge_runtime.decode import suggest
from edge_runtime.errors import DataError
from edge_runtime.gateway.config import SourceConfig
from edge_runtime.gateway.machines import Machines
from edge_runtime.manifest import Contract
from edge_runtime.table import OPTIONAL, column_names, names_in

ALSO = ("event", "age")  # what a machine may tell beside its channels


class Feed(NamedTuple):
    """`source` gives `channel` of `asset`; None: whichever its messages name."""

    source: str
    asset: str | None
    channel: str | None


class Gap(NamedTuple):
    """A channel that no source feeds, of these machines."""

    asset_class: str
    channel: str
    assets: tuple[str, ...]


def feeds(sources: Sequence[SourceConfig]) -> list[Feed]:
    """What each source was told to read, or has in its file."""
    return [Feed(source.name, *told) for source in sources for told in _told(source.type, source.settings)]


def _told(kind: str, settings: Any) -> Iterator[tuple[str | None, str | None]]:
    """Machine and channel; None: as its messages, or its file, name them."""
    if kind in ("opcua", "modbus"):
        for item in (*settings.values, *getattr(settings, "waveforms", ())):
            yield item.asset, item.channel
    elif kind == "mqtt":
        for topic in settings.topics:
            yield topic.asset, topic.channel
    elif kind == "replay":
        names = recorded(settings)
        yield from ((None, name) for name in names)
        if not names:
            yield None, None
    else:
        yield None, None


def recorded(settings: Any) -> list[str]:
    """The channels in the file of a source of type replay; none if it cannot be read, which the source itself tells."""
    try:
        names = column_names(settings.path)
    except (DataError, OSError):
        return []
    return [
        *(name for name in names if name not in ("asset", "time", *OPTIONAL)),
        *(w.channel for w in settings.waveforms),
    ]


def unused(settings: Any, contracts: Mapping[str, Contract], machines: Mapping[str, Machines]) -> Iterator[str]:
    """What of the file of a source of type replay nobody will use: columns that no class knows, machines not listed."""
    known = sorted({channel for contract in contracts.values() for channel in channels_of(contract)})
    for channel in recorded(settings):
        if channel not in known:
            yield f"column '{channel}' is no channel: {suggest(channel, known)}"
    if settings.machines is not None:  # others are left out on purpose
        return
    listed = {asset for one in machines.values() for asset in one.assets}
    try:
        strange = [asset for asset in names_in(settings.path, "asset") if asset and asset not in listed]
    except (DataError, OSError):
        return
    if strange:
        few = ", ".join(strange[:5]) + (f" and {len(strange) - 5:,} more" if len(strange) > 5 else "")
        yield f'machines.csv does not have {few}: their rows are dropped; list them, or write machines = "machines.csv"'


def gaps(contracts: Mapping[str, Contract], machines: Mapping[str, Machines], told: Sequence[Feed]) -> list[Gap]:
    """Channels and waveforms that come from nowhere: their readings will be missing."""
    named = {(feed.asset, feed.channel) for feed in told}
    found = []
    for asset_class, contract in contracts.items():
        for channel in channels_of(contract):
            if (None, channel) in named or (None, None) in named:
                continue
            assets = machines[asset_class].assets
            alone = [asset for asset in assets if not named & {(asset, channel), (asset, None)}]
            if alone:
                found.append(Gap(asset_class, channel, tuple(alone)))
    return found


def strangers(contracts: Mapping[str, Contract], machines: Mapping[str, Machines], told: Sequence[Feed]) -> list[str]:
    """Machines and channels that a source was told to read and that do not exist: a line each."""
    class_of = {asset: name for name, listed in machines.items() for asset in listed.assets}
    channels = {name: channels_of(contract) for name, contract in contracts.items()}
    every = sorted({channel for listed in channels.values() for channel in listed} | set(ALSO))
    lines = []
    for source, asset, channel in told:
        if asset is not None and asset not in class_of:
            lines.append(f"source {source} reads machine '{asset}', which machines.csv does not have")
            continue
        known = every if asset is None else [*channels[class_of[asset]], *ALSO]
        if channel is not None and channel not in known:
            whose = f" of {asset}, a {class_of[asset]}" if asset is not None else ""
            lines.append(f"source {source} reads channel '{channel}'{whose}: {suggest(channel, known)}")
    return list(dict.fromkeys(lines))


def channels_of(contract: Contract) -> list[str]:
    """Names of what a machine gives: channels, then waveforms."""
    return [channel.name for channel in contract.channels] + [waveform.name for waveform in contract.waveforms]
