"""How much a reader takes in: checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bytes, unless said otherwise. A writer that stays below these is always read."""

    payload: int = 16 << 20  # one message, as received
    json: int = 256 << 10  # one JSON message
    header: int = 16 << 10  # the envelope of a binary message
    block: int = 64 << 20  # a table, unpacked
    columns: int = 512  # of a table, a count
    waveform: int = 64 << 20  # a whole waveform, unpacked


DEFAULT = Limits()
