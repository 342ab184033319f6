"""What a source gives the gateway, and what the gateway asks of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from edge_runtime.arrays import F32


class Arrival(NamedTuple):
    """Values of one machine at one time.

    `values` has the class's channel names, and may have `event` and `age`; what does not belong there is for the intake
    to refuse, value by value. `time` is the source's, in int64 nanos (UTC, or cycles for classes that count them).
    `receipt` is handed back to `source.acknowledge` once the arrival is committed; None where nobody waits for it.
    """

    asset: str
    time: int
    values: Mapping[str, Any]
    source: Source
    receipt: Any = None


class WaveformArrival(NamedTuple):
    """One block of a waveform channel, `samples` f32[axes, N], taken at `time` (its last sample)."""

    asset: str
    channel: str
    time: int
    samples: F32
    source: Source
    receipt: Any = None


class Inbox(Protocol):
    """The door of the gateway; any thread may come in. Nothing put in makes it raise."""

    def put(self, arrival: Arrival | WaveformArrival) -> bool:
        """False: the inbox is full; the source counts `overflow`, and does not acknowledge, so that it comes again."""
        ...


@dataclass(frozen=True)
class SourceStatus:
    """`counts`: received, and refusals by reason. `insecure`: why, if what it hears may be read or forged by others.

    `refused`: the last few refusals: why, where, the beginning of what came.
    """

    name: str
    kind: str
    connected: bool
    detail: str
    counts: Counter[str] = field(default_factory=Counter)
    last_arrival: int | None = None  # UTC nanos
    insecure: str | None = None
    refused: tuple[str, ...] = ()


class Reading(NamedTuple):
    """What a check read of one channel. A range that does not hold it makes one doubt the settings of the source.

    `doubts`: which settings. `others`: what other settings, as they are written, would make of the same. `hint`: what a
    finding's detail ends with, said without knowing the range. `named`: by a message, not by a setting.
    """

    asset: str
    channel: str
    value: float
    doubts: str
    others: Mapping[str, float] = MappingProxyType({})
    hint: str = ""
    named: bool = False


@dataclass(frozen=True)
class Finding:
    """One line of `overhaul-edge check`: what was tried, and what is wrong with it and how to mend it, if anything.

    `warn`: it works, and somebody should look at it. `readings`: for whoever knows the ranges of their channels.
    """

    what: str
    ok: bool
    detail: str
    warn: bool = False
    readings: tuple[Reading, ...] = ()


class Source(Protocol):
    """One connection. Made from its settings without doing anything; `start` returns at once, whatever is reachable."""

    @property
    def name(self) -> str: ...

    def start(self, inbox: Inbox) -> None: ...

    def stop(self) -> None:
        """Disconnect; nothing is put into the inbox any more when this returns."""
        ...

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        """These are committed. Called from the journal's thread; never raises, whatever became of the connection."""
        ...

    def status(self) -> SourceStatus: ...

    def check(self) -> list[Finding]:
        """Try the connection and each mapping once, without `start`; takes seconds, never raises."""
        ...

    def write(self, asset: str, channel: str, value: float) -> float:
        """Write a set-point and return what is read back; `CommandError` if it cannot. Blocks at most its timeout."""
        ...


class Readable(Protocol):
    """A source that can also tell how a set-point stands without writing it.

    Commands ask for it after a crash: what was begun then is read back, and never written again.
    """

    def read(self, asset: str, channel: str) -> float:
        """`CommandError` if it cannot be read, or is no set-point. Blocks at most the source's timeout."""
        ...


class Rounding(Protocol):
    """A source whose devices take values in steps.

    Commands ask for it before they write: what is allowed is what the machine gets, not what was asked for.
    """

    def nearest(self, asset: str, channel: str, value: float) -> float:
        """What `write` would write for `value`; `CommandError` if it would not. Blocks at most the source's timeout."""
        ...
