"""How samples and batches lie in the journal: little-endian, a version in the first byte, no pickle.

Tables of numbers are laid out column by column, and within a column all first bytes, then all second bytes, …: so that
what changes little lies together. From 512 bytes up they are deflated, which halves what thousands of machines write.
A batch comes back bit for bit. Samples are mostly "not received": a bit map says which values follow.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.batch import Batch, Samples
from edge_runtime.errors import JournalError

VERSION = 1
_SAMPLES, _BATCH = 1, 2  # the second byte
_HEAD = struct.Struct("<BBIHHII")  # version, what, rows, columns, waveforms, bytes of the table, of these stored
_WAVEFORM = struct.Struct("<BIII")  # length of the name, K, axes, N
_DEFLATE_FROM = 512
_LARGEST = 1 << 28


class _Head(NamedTuple):
    version: int
    what: int
    rows: int
    columns: int
    waveforms: int
    size: int
    stored: int  # < size: deflated


def pack_samples(samples: Samples) -> bytes:
    """`samples` as the body of an entry; every NaN comes back as the one NaN."""
    received = ~np.isnan(samples.values)
    table = b"".join(
        (
            _planes(samples.rows, "<i4"),
            _planes(samples.time, "<i8"),
            _planes(samples.t_rx, "<i8"),
            np.packbits(received).tobytes(),
            _planes(samples.values[received], "<f4"),
        )
    )
    return _seal(_SAMPLES, samples.values, 0, table)


def unpack_samples(body: bytes) -> Samples:
    """The inverse; `JournalError` if `body` is not what `pack_samples` made."""
    head, reader = _open(body, _SAMPLES)
    rows = reader.planes(head.rows, "<i4").astype(np.int64)
    time, t_rx = reader.planes(head.rows, "<i8"), reader.planes(head.rows, "<i8")
    count = head.rows * head.columns
    bits = np.frombuffer(reader.take((count + 7) // 8), np.uint8)
    received = np.unpackbits(bits, count=count).astype(bool).reshape(head.rows, head.columns)
    values = np.full((head.rows, head.columns), np.nan, np.float32)
    values[received] = reader.planes(int(np.count_nonzero(received)), "<f4")
    reader.end()
    return Samples(rows, time, t_rx, values)


def pack_batch(batch: Batch) -> bytes:
    """`batch` without its receipts as the body of an entry."""
    table = b"".join(
        (
            _planes(batch.rows, "<i4"),
            _planes(batch.time, "<i8"),
            _planes(batch.t_rx, "<i8"),
            _planes(batch.event, "<f4"),
            _planes(batch.age, "<f4"),
            _planes(np.asarray(batch.readings).T, "<f4"),
        )
    )
    parts = [_seal(_BATCH, batch.readings, len(batch.waveforms), table)]
    for name, (samples, position) in batch.waveforms.items():
        label = name.encode()
        parts += (
            _WAVEFORM.pack(len(label), *samples.shape),
            label,
            np.asarray(position, "<i4").tobytes(),
            np.asarray(samples, "<f4").tobytes(),  # as it is: deflating noise gains a tenth and costs milliseconds
        )
    return b"".join(parts)


def unpack_batch(body: bytes) -> Batch:
    """The inverse, with no receipts; `JournalError` if `body` is not what `pack_batch` made."""
    head, reader = _open(body, _BATCH)
    rows = reader.planes(head.rows, "<i4").astype(np.int64)
    time, t_rx = reader.planes(head.rows, "<i8"), reader.planes(head.rows, "<i8")
    event, age = reader.planes(head.rows, "<f4"), reader.planes(head.rows, "<f4")
    readings = reader.planes(head.rows * head.columns, "<f4").reshape(head.columns, head.rows).T
    reader.end()
    reader = _Reader(body, _HEAD.size + head.stored)
    waveforms = dict(_waveform(reader) for _ in range(head.waveforms))
    reader.end()
    return Batch(rows, time, np.ascontiguousarray(readings), event, age, waveforms, t_rx)


def _waveform(reader: _Reader) -> tuple[str, tuple[F32, I64]]:
    length, count, axes, samples = _WAVEFORM.unpack(reader.take(_WAVEFORM.size))
    name = reader.take(length).decode("utf-8", "replace")
    position = np.frombuffer(reader.take(4 * count), "<i4").astype(np.int64)
    values = np.frombuffer(reader.take(4 * count * axes * samples), "<f4").astype(np.float32)
    return name, (values.reshape(count, axes, samples), position)


def _planes(values: Array, kind: str) -> bytes:
    """All first bytes of `values`, then all second bytes, …"""
    flat = np.ascontiguousarray(values, kind).reshape(-1)
    return flat.view(np.uint8).reshape(-1, flat.itemsize).T.tobytes()


def _seal(what: int, values: F32, waveforms: int, table: bytes) -> bytes:
    rows, columns = values.shape
    stored = zlib.compress(table, 1) if len(table) >= _DEFLATE_FROM else table
    if len(stored) >= len(table):
        stored = table
    return _HEAD.pack(VERSION, what, rows, columns, waveforms, len(table), len(stored)) + stored


def _open(body: bytes, what: int) -> tuple[_Head, _Reader]:
    """The head of `body` and a reader of its table."""
    if len(body) < _HEAD.size:
        raise JournalError(f"an entry of {len(body)} bytes is cut off: it has at least {_HEAD.size}")
    head = _Head._make(_HEAD.unpack_from(body))
    if head.version != VERSION:
        raise JournalError(f"an entry is of version {head.version}, this software reads {VERSION}: install a newer one")
    if head.what != what or head.size > _LARGEST or head.stored > head.size:
        raise JournalError(f"an entry is damaged: its head says {head}")
    table = body[_HEAD.size : _HEAD.size + head.stored]
    if head.stored < head.size:
        try:
            table = zlib.decompressobj().decompress(table, head.size)
        except zlib.error as error:
            raise JournalError(f"an entry is damaged: {error}") from error
    if len(table) != head.size:
        raise JournalError(f"an entry is cut off: {len(table)} of {head.size} bytes")
    return head, _Reader(table)


class _Reader:
    """Takes one piece after another."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self._at = data, at

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise JournalError(f"an entry is cut off: {size} bytes expected at {self._at}, {len(piece)} are there")
        self._at += size
        return piece

    def planes(self, count: int, kind: str) -> Array:
        dtype = np.dtype(kind)
        planes = np.frombuffer(self.take(count * dtype.itemsize), np.uint8).reshape(dtype.itemsize, count)
        return np.array(planes.T, order="C").reshape(-1).view(dtype).astype(dtype.newbyteorder("="), copy=False)

    def end(self) -> None:
        if self._at != len(self._data):
            raise JournalError(f"an entry is damaged: {len(self._data) - self._at} bytes too many")
