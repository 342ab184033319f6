"""Waveforms in parts small enough for any broker, and put together again on the other side.

raw around an anomaly ─▶ split ─▶ Outgoing parts ─▶ … ─▶ wire.decode ─▶ Assembler.add ─▶ Whole
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.contract.envelope import Envelope, frame
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.message import WAVEFORM, Lane, Outgoing
from edge_runtime.contract.packing import smallest, unpack
from edge_runtime.contract.part import MOST_PARTS, Part
from edge_runtime.errors import WireError

LARGEST_PART = 64 << 10
HEADROOM = 2048  # bytes of a packet around the data of a part: topic, properties, envelope; there is a test
_OVERHEAD = 128  # bytes of memory that a piece costs besides its data


def waveform_id(asset: str, channel: str, term: int, number: int) -> str:
    """Of the snapshot of a channel that went into an observation; the same whenever it is made again."""
    return f"{asset}.{channel}.{term}.{number}"


def split(
    samples: F32,
    *,
    asset: str,
    channel: str,
    term: int,
    number: int,
    t: int,
    t_rx: int,
    largest: int = LARGEST_PART,
    lane: Lane = Lane.RAW,
    model_id: str | None = None,
    clock_synced: bool = True,
) -> list[Outgoing]:
    """`samples` f32[axes, N] as messages, each of whose packets has at most `largest` bytes.

    Float32 comes back bit by bit. `ValueError` for samples of another shape, or so many that there are too many parts.
    """
    if samples.ndim != 2 or samples.size == 0:
        raise ValueError(f"waveform '{channel}' has shape {samples.shape}: expected [axes, samples]")
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    encoding, packed = smallest(data)
    room = min(largest, LARGEST_PART) - HEADROOM
    parts = -(-len(packed) // room) if room > 0 else MOST_PARTS + 1
    if parts > MOST_PARTS:
        raise ValueError(
            f"waveform '{channel}' of {len(packed)} bytes packed would be {parts} parts of {largest} bytes: at most "
            f"{MOST_PARTS} are sent; let the broker take larger packets"
        )
    axes, length = samples.shape
    first = Part(
        id=waveform_id(asset, channel, term, number),
        part=0,
        parts=parts,
        size=len(packed),
        sha256=hashlib.sha256(data).hexdigest(),
        shape=(axes, length),
        channel=channel,
        term=term,
        number=number,
        encoding=encoding,
    )
    return [
        Outgoing(
            kind="waveform",
            lane=lane,
            asset=asset,
            t=t,
            t_rx=t_rx,
            body=frame(replace(first, part=i).to_json(), packed[i * room : (i + 1) * room]),
            content=WAVEFORM,
            model_id=model_id,
            clock_synced=clock_synced,
        )
        for i in range(parts)
    ]


class Whole(NamedTuple):
    """A waveform put together: `samples` f32[axes, N], whose last one was taken at `envelope.t`."""

    envelope: Envelope  # of the part that completed it
    samples: F32


@dataclass
class _Open:
    """A waveform of which parts are missing; `size` bytes have come."""

    part: Part
    since: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0


class Assembler:
    """Puts parts together, in any order, from many gateways, in bounded memory.

    `counts`: parts `taken`, `duplicate`, `mismatch` (with an earlier part) or `refused`; waveforms `complete`, or given
    up: `timeout` after `patience` nanos, `evicted` (the oldest goes first) when more than `memory` bytes or `most`
    waveforms wait for parts, `packing`, `checksum`. A waveform that is sent again begins anew.
    """

    def __init__(
        self, *, memory: int = 64 << 20, most: int = 256, patience: int = 600_000_000_000, limits: Limits = DEFAULT
    ) -> None:
        self.memory = 0  # bytes held
        self.counts: Counter[str] = Counter()
        self._most_memory, self._most, self._patience, self._limits = memory, most, patience, limits
        self._open: dict[tuple[str, str], _Open] = {}  # by gateway and id; the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def add(self, envelope: Envelope, data: bytes, now: int) -> Whole | None:
        """One part, at `now` (monotonic nanos): the whole if it was the last one missing. Never raises."""
        self.expire(now)
        part = envelope.part
        if part is None or part.bytes > self._limits.waveform or not 0 < len(data) <= part.size:
            self.counts["refused"] += 1
            return None
        key = envelope.gateway, part.id
        waiting = self._open.get(key) or _Open(part, now)
        if part.part in waiting.pieces:
            self.counts["duplicate"] += 1
            return None
        if waiting.part != replace(part, part=waiting.part.part) or waiting.size + len(data) > part.size:
            self.counts["mismatch"] += 1
            return None
        self._open[key] = waiting
        waiting.pieces[part.part] = data
        waiting.size += len(data)
        self.memory += len(data) + _OVERHEAD
        self.counts["taken"] += 1
        if len(waiting.pieces) < part.parts:
            self._evict()
            return None
        self._drop(key)
        return self._whole(envelope, part, waiting)

    def expire(self, now: int) -> None:
        """Give up what has waited for too long."""
        late = [key for key, waiting in self._open.items() if waiting.since <= now - self._patience]
        for key in late:
            self._drop(key)
            self.counts["timeout"] += 1

    def _whole(self, envelope: Envelope, part: Part, waiting: _Open) -> Whole | None:
        try:
            data = unpack(b"".join(waiting.pieces[i] for i in range(part.parts)), part.encoding, part.bytes)
        except WireError as error:
            self.counts[error.reason] += 1
            return None
        if hashlib.sha256(data).hexdigest() != part.sha256:
            self.counts["checksum"] += 1
            return None
        self.counts["complete"] += 1
        return Whole(envelope, np.frombuffer(data, "<f4").reshape(part.shape))

    def _evict(self) -> None:
        while self.memory > self._most_memory or len(self._open) > self._most:
            self._drop(next(iter(self._open)))
            self.counts["evicted"] += 1

    def _drop(self, key: tuple[str, str]) -> None:
        gone = self._open.pop(key)
        self.memory -= gone.size + _OVERHEAD * len(gone.pieces)
