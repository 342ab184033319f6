"""Messages from the gateway to the centre: their kinds, lanes, and how one waits in the spool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

KINDS = ("observation", "prognosis", "alarm", "summary", "waveform", "state", "event", "ack")

JSON = "application/json"
BLOCK = "application/vnd.overhaul.block"
WAVEFORM = "application/vnd.overhaul.waveform"

CONTENT = {  # of each kind
    "observation": BLOCK,
    "prognosis": BLOCK,
    "summary": BLOCK,
    "state": BLOCK,
    "waveform": WAVEFORM,
    "alarm": JSON,
    "event": JSON,
    "ack": JSON,
}


class Lane(IntEnum):
    """Messages leave in this order, within a lane by `seq`. When the spool is full, the last lane goes first.

    >>> Lane.BACKFILL.label, Lane["BACKFILL"] is Lane.BACKFILL
    ('backfill', True)
    """

    ALARM = 0
    LIVE = 1
    BACKFILL = 2
    RAW = 3

    @property
    def label(self) -> str:
        """Its name on the wire."""
        return self.name.lower()


LANES = {lane.label: lane for lane in Lane}


@dataclass(frozen=True)
class Outgoing:
    """A message as the gateway makes it; the spool adds epoch and seq when it is committed.

    `asset` None: about the gateway, or about many machines (a block). `t` int64 nanos, the newest source time in it.
    `body` by `content`: JSON text in UTF-8 (`bodies`), a packed table (`rows`) or a framed part of a waveform
    (`waveform`); the spool need not look into it. `size` is a block's length before packing.
    """

    kind: str
    lane: Lane
    asset: str | None
    t: int
    t_rx: int  # UTC nanos
    body: bytes
    content: str = JSON
    size: int = 0
    model_id: str | None = None
    clock_synced: bool = True


@dataclass(frozen=True)
class Spooled:
    """A committed message: transport key (gateway, epoch, lane, seq). `epoch` in UTC seconds; `seq` counts from 1."""

    epoch: int
    seq: int
    message: Outgoing
