"""Blocks in smaller pieces, for a broker that takes only small packets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from edge_runtime.contract.message import BLOCK, Lane, Outgoing
from edge_runtime.contract.rows import Keys, Rows, Snapshots
from edge_runtime.contract.tables import outgoing, unpack
from edge_runtime.errors import WireError

R = TypeVar("R", bound=Rows)


def part(rows: R, start: int, stop: int) -> R:
    """Rows start … stop − 1 of a block, in the same order; only the machines in them are named."""
    length = len(rows.keys)

    def cut(value: Any) -> Any:
        if isinstance(value, np.ndarray) and len(value) == length:
            return value[start:stop]
        if isinstance(value, Keys):
            cuts = (column[start:stop].astype(np.int64) for column in (value.asset, value.term, value.number, value.t))
            return Keys.of(value.assets, *cuts)
        if isinstance(value, Snapshots):
            inside = (value.row >= start) & (value.row < stop)
            return Snapshots(value.row[inside] - np.int32(start), value.features[inside])
        return {name: cut(item) for name, item in value.items()} if isinstance(value, Mapping) else value

    fields = {field.name: cut(getattr(rows, field.name)) for field in dataclasses.fields(rows)}
    return dataclasses.replace(rows, **fields)


def messages(
    rows: Rows,
    lane: Lane,
    t_rx: int,
    model_id: str | None,
    *,
    most: int,
    largest: int,
    clock_synced: bool = True,
) -> Iterator[Outgoing]:
    """`rows` as messages of at most `most` rows and `largest` bytes packed; a single row may be larger."""
    length = len(rows.keys)
    if length > most:
        pieces = -(-length // most)
        for i in range(pieces):
            piece = part(rows, length * i // pieces, length * (i + 1) // pieces)
            yield from messages(piece, lane, t_rx, model_id, most=most, largest=largest, clock_synced=clock_synced)
        return
    message = outgoing(rows, lane, t_rx, model_id, clock_synced=clock_synced)
    if len(message.body) <= largest or length <= 1:
        yield message
    else:
        half = (length + 1) // 2
        yield from messages(rows, lane, t_rx, model_id, most=half, largest=largest, clock_synced=clock_synced)


def smaller(message: Outgoing, largest: int) -> list[Outgoing]:
    """A block again in pieces of at most `largest` bytes; empty when that cannot be done."""
    if message.content != BLOCK:
        return []
    try:
        rows = unpack(message.kind, message.body, message.size)
    except WireError:
        return []
    pieces = list(
        messages(
            rows,
            message.lane,
            message.t_rx,
            message.model_id,
            most=max(1, len(rows.keys) // 2),
            largest=largest,
            clock_synced=message.clock_synced,
        )
    )
    return pieces if all(len(piece.body) <= largest for piece in pieces) else []
