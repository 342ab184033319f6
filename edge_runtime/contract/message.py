"""Messages from the gateway to the centre: their kinds, lanes, and how one waits in the spool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

KINDS = ("observation", "prognosis", "alarm", "summary", "waveform", "state", "event", "ack")


class Lane(IntEnum):
    """Messages leave in this order, within a lane by `seq`. When the spool is full, the last lane goes first."""

    ALARM = 0
    LIVE = 1
    BACKFILL = 2
    RAW = 3


JSON = "application/json"
BLOCK = "application/vnd.overhaul.block"


@dataclass(frozen=True)
class Outgoing:
    """A message as the gateway makes it; the spool adds epoch and seq when it is committed.

    `asset` None: about the gateway, or about many machines (a block). `t` int64 nanos, the newest source time in it.
    `body` is JSON text (UTF-8) or a compressed block, see `content`; `size` is a block's length before compression.
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
    """A committed message: transport key (gateway, epoch, lane, seq)."""

    epoch: int
    seq: int
    message: Outgoing
