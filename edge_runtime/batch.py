"""What the intake hands on: closed observations for the fleet, and what arrived meanwhile for the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.arrays import F32, I64
from edge_runtime.sources.source import Source


@dataclass(frozen=True, eq=False)
class Batch:
    """Closed observations of B distinct machines of one class, as `Fleet.advance` takes them.

    `rows` int64[B] index into the fleet, `time` int64[B], `readings` f32[B,C], `event` f32[B], `age` f32[B] (NaN =
    unknown), `waveforms` name → (f32[K,axes,N], int64[K] position in the batch), `t_rx` int64[B] UTC nanos at which the
    newest sample of each came. `receipts` are acknowledged when the batch is committed; they are not journalled.
    """

    rows: I64
    time: I64
    readings: F32
    event: F32
    age: F32
    waveforms: Mapping[str, tuple[F32, I64]]
    t_rx: I64
    receipts: tuple[tuple[Source, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Samples:
    """n samples as they arrived, of a class that assembles: so that they survive before their observation closes.

    Of other classes, events that came late and go with the next observation.

    `rows`, `time`, `t_rx` int64[n]; `values` f32[n, C+2]: the channels, event, age; NaN = not received.
    """

    rows: I64
    time: I64
    t_rx: I64
    values: F32
