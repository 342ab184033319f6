"""Rows into the bytes of a block and back. In the table 2-D values lie channel by channel, as `packing` likes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.contract import packing
from edge_runtime.contract.block import read_table, write_table
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.message import BLOCK, Lane, Outgoing
from edge_runtime.contract.names import is_identifier
from edge_runtime.contract.rows import FLAGS, Keys, Observations, Prognoses, Rows, Snapshots, States, Summaries
from edge_runtime.contract.text import load, short
from edge_runtime.errors import WireError

_OUTPUT = "output."
_WAVEFORM = "waveform."


def pack(rows: Rows) -> tuple[bytes, int]:
    """The body of a block, and its size unpacked. `ValueError` when its columns do not fit each other."""
    table = _write(rows)
    return packing.pack(table), len(table)


def outgoing(rows: Rows, lane: Lane, t_rx: int, model_id: str | None = None, *, clock_synced: bool = True) -> Outgoing:
    """A block as a message; its `t` is the newest of its rows."""
    body, size = pack(rows)
    t = int(rows.keys.t.max()) if len(rows.keys) else 0
    return Outgoing(rows.kind, lane, None, t, t_rx, body, BLOCK, size, model_id, clock_synced)


def unpack(kind: str, body: bytes, size: int, encoding: str = packing.SHUFFLED, limits: Limits = DEFAULT) -> Rows:
    """The rows of a block that says it has `size` bytes unpacked; nothing but `WireError` is raised."""
    if not 0 <= size <= limits.block:
        raise WireError("size", f"a block of {size} bytes unpacked: at most {limits.block} are read")
    columns, notes = read_table(packing.unpack(body, encoding, size), limits)
    table = _Table(columns, load(notes.get("rows", "").encode(errors="surrogatepass"), "the notes of a block"))
    name = table.text("class")
    if kind == "observation":
        return _observations(name, table)
    if kind == "prognosis":
        return Prognoses(name, table.keys, table.outputs())
    if kind == "summary":
        return _summaries(name, table)
    if kind == "state":
        return States(name, table.keys, table.floats("state", 2))
    raise WireError("kind", f"{short(repr(kind))} is no kind of block")


def _write(rows: Rows) -> bytes:
    keys = rows.keys
    columns: dict[str, Array] = {"asset": keys.asset, "term": keys.term, "number": keys.number, "t": keys.t}
    notes: dict[str, Any] = {"class": rows.asset_class, "assets": keys.assets}
    if isinstance(rows, Observations):
        notes["channels"] = rows.channels
        columns |= {"t_rx": rows.t_rx, "readings": rows.readings, "event": rows.event, "age": rows.age}
    elif isinstance(rows, Summaries):
        notes["channels"] = rows.channels
        columns |= {"start": rows.start, "end": rows.end, "count": rows.count, "received": rows.received}
        columns |= {"minimum": rows.minimum, "mean": rows.mean, "maximum": rows.maximum, "alarm": rows.alarm}
        columns["flags"] = rows.flags
    elif isinstance(rows, States):
        columns["state"] = rows.state
    if isinstance(rows, Prognoses | Summaries):
        columns |= {f"{_OUTPUT}{name}": _flags(name, np.asarray(value)) for name, value in rows.outputs.items()}
    for name, column in columns.items():
        if len(column) != len(keys):
            raise ValueError(f"column '{name}' has {len(column)} rows, its block {len(keys)}")
    if isinstance(rows, Observations):
        for name, snapshots in rows.waveforms.items():
            if len(snapshots.row) != len(snapshots.features):
                raise ValueError(f"waveform '{name}': {len(snapshots.row)} rows, {len(snapshots.features)} of features")
            columns[f"{_WAVEFORM}{name}.row"] = snapshots.row
            columns[f"{_WAVEFORM}{name}.features"] = snapshots.features
    text = json.dumps(notes, separators=(",", ":"))
    return write_table({name: column.T for name, column in columns.items()}, {"rows": text})


def _flags(name: str, value: Array) -> Array:
    """Quality flags in a byte each, unless that would change them."""
    if name != "quality":
        return value
    with np.errstate(invalid="ignore"):
        small = value.astype(np.uint8)
    return small if np.array_equal(small.astype(np.float32).view(np.uint32), value.view(np.uint32)) else value


def _observations(name: str, table: _Table) -> Observations:
    channels = table.names("channels")
    return Observations(
        name,
        table.keys,
        channels,
        table.whole("t_rx"),
        table.floats("readings", 2, len(channels)),
        table.floats("event"),
        table.floats("age"),
        table.waveforms(),
    )


def _summaries(name: str, table: _Table) -> Summaries:
    channels = table.names("channels")
    width = len(channels)
    return Summaries(
        name,
        table.keys,
        channels,
        table.whole("start"),
        table.whole("end"),
        table.whole("count"),
        table.whole("received", 2, width),
        table.floats("minimum", 2, width),
        table.floats("mean", 2, width),
        table.floats("maximum", 2, width),
        table.whole("alarm"),
        table.whole("flags", 2, FLAGS),
        table.outputs(),
    )


class _Table:
    """A table that came: what is taken out of it has the type, rows and width that its kind asks for."""

    def __init__(self, columns: Mapping[str, Array], notes: Mapping[str, Any]) -> None:
        self.columns = columns
        self.notes = notes
        self.length: int | None = None
        asset = self._column("asset", np.int32, 1)
        self.length = len(asset)
        assets = self.names("assets")
        if self.length and not (asset.min() >= 0 and asset.max() < len(assets)):
            raise _wrong(f"column 'asset' points outside its {len(assets)} assets")
        term, number = self.whole("term"), self.whole("number")
        if self.length and (term.min() < 0 or number.min() < 0):
            raise _wrong("term or number below 0")
        self.keys = Keys(assets, asset, term, number, self.whole("t"))

    def whole(self, name: str, ndim: int = 1, width: int | None = None) -> I64:
        column: I64 = self._column(name, np.int64, ndim, width)
        return column

    def floats(self, name: str, ndim: int = 1, width: int | None = None) -> F32:
        column: F32 = self._column(name, np.float32, ndim, width)
        return column

    def outputs(self) -> dict[str, F32]:
        """All columns of outputs: f32[B] or f32[B,k]."""
        outputs = {}
        for name in self.columns:
            if name.startswith(_OUTPUT):
                kind = np.uint8 if self.columns[name].dtype == np.uint8 else np.float32
                value = self._column(name, kind, max(1, min(2, self.columns[name].ndim)))
                outputs[name[len(_OUTPUT) :]] = value.astype(np.float32, copy=False)
        return outputs

    def waveforms(self) -> dict[str, Snapshots]:
        waveforms = {}
        for name in self.columns:
            if name.startswith(_WAVEFORM) and name.endswith(".row"):
                channel = name[len(_WAVEFORM) : -len(".row")]
                if not is_identifier(channel):
                    raise _wrong(f"waveform {short(repr(channel))} is no identifier")
                waveforms[channel] = self._snapshots(channel)
        return waveforms

    def _snapshots(self, channel: str) -> Snapshots:
        length, self.length = self.length or 0, None
        row = self._column(f"{_WAVEFORM}{channel}.row", np.int32, 1)
        features = self.floats(f"{_WAVEFORM}{channel}.features", 2)
        self.length = length
        if len(row) != len(features) or (len(row) and not (row.min() >= 0 and row.max() < length)):
            raise _wrong(f"waveform '{channel}' points outside its {length} rows")
        return Snapshots(row, features)

    def text(self, name: str) -> str:
        value = self.notes.get(name)
        if not isinstance(value, str) or not is_identifier(value):
            raise _wrong(f"its {name} {short(repr(value))} is no identifier")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        values = self.notes.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) and is_identifier(value) for value in values):
            raise _wrong(f"its {name} are no list of identifiers")
        if len(set(values)) != len(values):
            raise _wrong(f"its {name} are not distinct")
        return tuple(values)

    def _column(self, name: str, kind: type[np.generic], ndim: int, width: int | None = None) -> Any:
        """[B] or, turned back, [B, width]."""
        column = self.columns.get(name)
        if column is None:
            raise _wrong(f"column '{short(name)}' is missing")
        column = column.T
        if column.dtype != kind or column.ndim != ndim or (width is not None and column.shape[1] != width):
            raise _wrong(f"column '{short(name)}' is {column.dtype}{list(column.shape)}")
        if self.length is not None and len(column) != self.length:
            raise _wrong(f"column '{short(name)}' has {len(column)} rows, its block {self.length}")
        return np.ascontiguousarray(column)


def _wrong(detail: str) -> WireError:
    return WireError("rows", f"this block cannot be used: {detail}")
