"""A file of observations, to be played in the order of time: a table, and side files of waveforms.

The table has columns `asset`, `time` and any channels, `event`, `age` and `life` if known: see `edge_runtime.table`. A
side file (Parquet) has `asset`, `time` and `samples`, a list of float32, axis after axis. Readings and samples wait in
temporary files, so memory stays small: less than 100 bytes a row.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.errors import DataError
from edge_runtime.table import OPTIONAL, Findings, column_names, new_lives, read_rows
from edge_runtime.timestamps import NANOS, from_datetimes, from_numbers, parse_times

_NAMES_OF_ROWS = ("asset", "time", *OPTIONAL)


class Row(NamedTuple):
    """One observation. `values`: channel → number, those that were received; `event` and `age` among them if known."""

    asset: str
    time: int
    values: dict[str, float]


class Block(NamedTuple):
    """One waveform, `samples` f32[axes, N]."""

    asset: str
    channel: str
    time: int
    samples: F32


@dataclass(frozen=True)
class Side:
    """A side file of one waveform channel."""

    channel: str
    path: Path
    axes: int = 1


@dataclass(frozen=True)
class _Column:
    name: str
    range: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True)
class _Unit:
    unit: str


@dataclass(frozen=True)
class _NoAge:
    age: str = "optional"


@dataclass(frozen=True)
class _Layout:
    """A table of whatever channels it has."""

    channels: tuple[_Column, ...]
    time: _Unit
    life: _NoAge = _NoAge()


class Recording:
    """`first` and `last` are times in nanos; `counts` says what of the files is not played.

    `channels`: the columns; `extras`: which of event and age rows may have beside them.
    """

    def __init__(
        self,
        path: Path,
        unit: str = "s",
        sides: Sequence[Side] = (),
        stop: Callable[[], bool] = lambda: False,
        only: Collection[str] | None = None,
    ) -> None:
        """Reads it all; `DataError` says why it cannot be, or that `stop` said so. `unit`: s or cycle.

        `only`: the machines that are played; None = all.
        """
        self.path = path
        self._stop = stop
        self._only = only
        self.findings = Findings()
        self.counts: Counter[str] = Counter()
        names = column_names(path)
        self.channels = tuple(name for name in names if name not in _NAMES_OF_ROWS)
        events = ("event",) if {"event", "life"} & set(names) else ()
        self.extras = (*events, *(("age",) if "age" in names else ()))
        self._read_table(unit)
        self._waveforms = [_Waveforms(side, unit, self.counts, stop, only) for side in sides]
        self.assets = tuple(dict.fromkeys(self._names[code] for code in self._code[self._order].tolist()))
        self.first, self.last = int(self._time[self._order[0]]), int(self._time[self._order[-1]])

    def __len__(self) -> int:
        """Observations that can be played."""
        return len(self._order)

    @property
    def step(self) -> int:
        """The usual time between two observations of one machine, in nanos."""
        time, code = self._time[self._order], self._code[self._order]
        by_machine = np.argsort(code, kind="stable")
        steps = np.diff(time[by_machine])[np.diff(code[by_machine]) == 0]
        steps = steps[steps > 0]
        return int(np.median(steps)) if len(steps) else NANOS

    def play(self) -> Iterator[Row | Block]:
        """All of it in the order of time; a waveform before the observation of its time."""
        times = [self._time[self._order], *(waveforms.time for waveforms in self._waveforms)]
        kind = np.repeat(np.arange(len(times)), [len(t) for t in times])
        place = np.concatenate([np.arange(len(t)) for t in times])
        for at in np.lexsort((-kind, np.concatenate(times))).tolist():
            if kind[at]:
                yield self._waveforms[kind[at] - 1].block(int(place[at]))
            else:
                yield self._row(int(self._order[place[at]]))

    def values(self, channel: str) -> F32:
        """What was received of a channel by the machines that are played, in no order."""
        column: F32 = self._readings[self._listed, self.channels.index(channel)]
        return column[~np.isnan(column)]

    def _row(self, row: int) -> Row:
        readings = self._readings[row].tolist()
        values = {name: value for name, value in zip(self.channels, readings, strict=True) if value == value}
        if self._event[row]:
            values["event"] = float(self._event[row])
        if self._age[row] == self._age[row]:
            values["age"] = float(self._age[row])
        return Row(self._names[self._code[row]], int(self._time[row]), values)

    def _read_table(self, unit: str) -> None:
        layout = _Layout(tuple(_Column(name) for name in self.channels), _Unit(unit))
        codes: dict[str, int] = {}
        parts: list[tuple[Array, ...]] = []
        seen = ""  # a time, as it stands in the first row
        with tempfile.TemporaryFile() as scratch:
            for rows in read_rows(self.path, layout, self.findings):
                seen = seen or rows.when[0]
                if self._stop():
                    raise DataError(f"{self.path}: reading was stopped")
                scratch.write(rows.readings.tobytes())
                code = np.array([codes.setdefault(asset, len(codes)) for asset in rows.asset], np.int32)
                life = np.full(len(code), np.nan, np.float32) if rows.life is None else rows.life
                parts.append((code, rows.time, rows.usable, rows.event.astype(np.int8), rows.age, life))
            scratch.flush()
            code, self._time, usable, event, self._age, life = (np.concatenate(p) for p in zip(*parts, strict=True))
            self._readings = _map(scratch, (len(code), len(self.channels)))
        self._code, self._names = code, list(codes)
        usable &= np.array([bool(name) for name in codes])[code]
        self._event = event if self.findings.has_event else new_lives(code.astype(np.int64), self._time, life, usable)
        if not usable.any():
            raise DataError(f"{self.path}: {_nothing_usable(unit, list(codes), seen)}")
        _count(self.counts, "unusable_rows", ~usable)
        self._listed = ours = _ours(codes, self._only)[code]
        _count(self.counts, "not_listed", usable & ~ours)
        if not (usable & ours).any():
            raise DataError(f"{self.path}: none of its machines is listed in `machines`; it has {_few(list(codes))}")
        self._order = _in_order(self._time, usable & ours)


class _Waveforms:
    """The snapshots of one side file: `time` int64[K], ascending."""

    def __init__(
        self, side: Side, unit: str, counts: Counter[str], stop: Callable[[], bool], only: Collection[str] | None
    ) -> None:
        self.side = side
        names: list[str] = []
        times: list[I64] = []
        usable: list[Bool] = []
        width = 0
        with tempfile.TemporaryFile() as scratch:
            for asset, time, good, samples in _read_side(side.path, unit):
                if stop():
                    raise DataError(f"{side.path}: reading was stopped")
                width = width or samples.shape[1]
                if samples.shape[1] != width or width % side.axes:
                    raise DataError(f"{side.path}: blocks of {samples.shape[1]} samples are not {side.axes} equal axes")
                scratch.write(samples.tobytes())
                names += asset
                times.append(time)
                usable.append(good)
            scratch.flush()
            if not names:
                raise DataError(f"{side.path} holds no waveform")
            self._samples = _map(scratch, (len(names), width)).reshape(len(names), side.axes, -1)
        time, good = np.concatenate(times), np.concatenate(usable)
        ours = _ours(names, only)
        self._order = _in_order(time, good & ours)
        self._names = names
        self.time = time[self._order]
        _count(counts, "unusable_waveforms", ~good)
        _count(counts, "waveforms_not_listed", good & ~ours)

    def block(self, place: int) -> Block:
        row = self._order[place]
        return Block(self._names[row], self.side.channel, int(self.time[place]), np.array(self._samples[row]))


def _read_side(path: Path, unit: str) -> Iterable[tuple[list[str], I64, Bool, F32]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{path} is Parquet: install the extra, pip install 'overhaul[parquet]'") from error
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["asset", "time", "samples"]):
            asset = ["" if name is None else str(name) for name in batch.column(0).to_pylist()]
            time, usable = _side_times(batch.column(1).to_numpy(zero_copy_only=False), unit)
            blocks = [np.asarray(block, np.float32) for block in batch.column(2).to_numpy(zero_copy_only=False)]
            yield asset, time, usable & np.array([bool(name) for name in asset]), np.stack(blocks)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no side file of waveforms (asset, time, samples): {error}") from error


def _side_times(column: Any, unit: str) -> tuple[I64, Bool]:
    if column.dtype.kind == "M":
        return from_datetimes(column)
    if unit == "s":
        raise DataError("the column time is no timestamp")
    return from_numbers(column.astype(np.float64))


def _ours(names: Iterable[str], only: Collection[str] | None) -> Bool:
    return np.array([only is None or name in only for name in names], np.bool_)


def _count(counts: Counter[str], what: str, which: Bool) -> None:
    if which.any():
        counts[what] += int(np.count_nonzero(which))


def _nothing_usable(unit: str, assets: Sequence[str], seen: str) -> str:
    """Why no row can be played: what the first one has, and how it has to be written."""
    if not any(assets):
        return "no row names its machine: the column 'asset' is empty"
    if unit != "s":
        return f"no row has a time that can be read: {seen!r} is no number of cycles; or is the unit 's'?"
    cycles = parse_times([seen], "cycle")[1].all()
    way_out = (
        "for numbers of cycles say unit = 'cycle' (simulate: --unit cycle)"
        if cycles
        else "write it as ISO 8601, like 2026-01-03T10:00:00Z"
    )
    return f"no row has a time that can be read: {seen!r} is no date and time; {way_out}"


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} others" if len(names) > most else "")


def _in_order(time: I64, usable: Bool) -> I64:
    rows = np.flatnonzero(usable)
    return rows[np.argsort(time[rows], kind="stable")]


def _map(scratch: Any, shape: tuple[int, int]) -> Array:
    """The numbers of a temporary file, which lives for as long as they do."""
    return np.memmap(scratch, np.float32, "r", shape=shape) if shape[0] * shape[1] else np.zeros(shape, np.float32)
