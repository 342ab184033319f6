"""Observations on disk: one Parquet file a fleet, one or more row groups a machine, and a side file a waveform channel.

Columns: asset, time (UTC nanoseconds, or cycles as float64), life, event, age, then a float32 a scalar channel in the
order of the class, NaN = not received. Values are as measured, out of range or not: the graph flags them. Sorted by
asset in the order of the source, then time; no (asset, time) twice. Side files: asset, time, samples (a fixed-size
list, axis after axis), where each time is that of an observation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import paths
from data.asset_class import AssetClass
from edge_runtime.replay import Series

ROW_GROUP = 65_536  # rows
WAVEFORM_GROUP = 256  # snapshots


@dataclass(frozen=True)
class Timeline:
    """All that is known of the observations of one machine but the readings; T of them."""

    time: np.ndarray  # int64[T] nanos
    life: np.ndarray  # int32[T]
    event: np.ndarray  # int8[T]
    age: np.ndarray  # f64[T], unit of life, NaN = unknown


class Observations:
    """Reads observations a machine at a time; `assets` in the order of the file."""

    def __init__(self, path: Path, cls: AssetClass) -> None:
        self._cls = cls
        self._file = pq.ParquetFile(path)
        self._groups = _groups(self._file)
        self._waveforms = {
            name: (file := pq.ParquetFile(side), _groups(file))
            for name in cls.waveforms
            if (side := paths.waveform(path, name)).exists()
        }
        self.assets = list(self._groups)
        self.total_rows: int = self._file.metadata.num_rows

    def rows(self, asset: str) -> int:
        return sum(self._file.metadata.row_group(group).num_rows for group in self._groups[asset])

    def timeline(self, asset: str) -> Timeline:
        table = self._file.read_row_groups(self._groups[asset], columns=["time", "life", "event", "age"])
        life, event, age = (table[name].to_numpy() for name in ("life", "event", "age"))
        return Timeline(self._nanos(table["time"]), life, event, age)

    def series(self, asset: str) -> Iterator[Series]:
        """The observations of one machine, a row group at a time."""
        for group in self._groups[asset]:
            table = self._file.read_row_group(group, columns=["time", "event", "age", *self._cls.scalars])
            time = self._nanos(table["time"])
            readings = np.empty((time.size, len(self._cls.scalars)), dtype=np.float32)
            for i, name in enumerate(self._cls.scalars):
                readings[:, i] = table[name].to_numpy()
            event = table["event"].to_numpy().astype(np.float32)
            age = table["age"].to_numpy().astype(np.float32)
            waveforms = {name: self._snapshots(name, asset, time) for name in self._waveforms}
            yield Series(time, readings, event, age, waveforms)

    def _nanos(self, column: pa.ChunkedArray) -> np.ndarray:
        if pa.types.is_timestamp(column.type):
            return column.cast(pa.int64()).to_numpy()
        return np.rint(column.to_numpy() * 1e9).astype(np.int64)

    def _snapshots(self, name: str, asset: str, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows int64[K] of `time` that have a snapshot, and these, f32[K,axes,N]."""
        file, groups = self._waveforms[name]
        rows, blocks = [np.empty(0, dtype=np.int64)], []
        waveform = self._cls.channels[name].waveform
        assert waveform is not None
        shape = (len(waveform.axes), waveform.samples)
        for group in groups.get(asset, []):
            when = self._nanos(file.read_row_group(group, columns=["time"])["time"])
            wanted = np.flatnonzero((when >= time[0]) & (when <= time[-1]))
            if wanted.size:
                samples = file.read_row_group(group, columns=["samples"])["samples"].combine_chunks()
                blocks.append(samples.values.to_numpy().reshape(-1, *shape)[wanted])
                rows.append(np.searchsorted(time, when[wanted]))
        return np.concatenate(rows), np.concatenate(blocks) if blocks else np.empty((0, *shape), dtype=np.float32)


class Writer:
    """Writes observations a machine at a time; the files appear, complete, when the `with` block ends well."""

    def __init__(self, path: Path, cls: AssetClass) -> None:
        self._cls = cls
        self._path = path
        time = pa.timestamp("ns", "UTC") if cls.time.unit == "s" else pa.float64()
        keys = [("asset", pa.string()), ("time", time)]
        columns = [*keys, ("life", pa.int32()), ("event", pa.int8()), ("age", pa.float64())]
        columns += [(name, pa.float32()) for name in cls.scalars]
        about = {"fleet": cls.fleet, "simulated": str(cls.simulated).lower()}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keys = keys
        self._files = {path: self._open(path, pa.schema(columns, about))}

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for path, file in self._files.items():
            file.close()
            if kind is None:
                _part(path).replace(path)
            else:
                _part(path).unlink()
        if kind is None:  # no snapshots of an earlier run may stay beside these observations
            for side in (paths.waveform(self._path, channel) for channel in self._cls.waveforms):
                if side not in self._files:
                    side.unlink(missing_ok=True)

    def write(self, asset: str, timeline: Timeline, channels: Mapping[str, np.ndarray]) -> None:
        """One machine's observations, once a machine; `channels`: scalar channel → f32[T]."""
        file = self._files[self._path]
        columns = [self._assets(asset, timeline.time.size), self._time(timeline.time)]
        columns += [pa.array(timeline.life), pa.array(timeline.event), pa.array(timeline.age)]
        columns += [pa.array(channels[name]) for name in self._cls.scalars]
        file.write_table(pa.Table.from_arrays(columns, schema=file.schema), row_group_size=ROW_GROUP)

    def write_waveform(self, asset: str, channel: str, time: np.ndarray, samples: np.ndarray) -> None:
        """Snapshots of one machine: observation times int64[K], ascending, and samples f32[K, axes*N]."""
        path = paths.waveform(self._path, channel)
        if path not in self._files:
            schema = pa.schema([*self._keys, ("samples", pa.list_(pa.float32(), samples.shape[1]))])
            self._files[path] = self._open(path, schema)
        file = self._files[path]
        block = pa.FixedSizeListArray.from_arrays(pa.array(samples.reshape(-1)), samples.shape[1])
        columns = [self._assets(asset, time.size), self._time(time), block]
        file.write_table(pa.Table.from_arrays(columns, schema=file.schema), row_group_size=WAVEFORM_GROUP)

    def _open(self, path: Path, schema: pa.Schema) -> pq.ParquetWriter:
        return pq.ParquetWriter(_part(path), schema, compression="zstd")

    def _assets(self, asset: str, rows: int) -> pa.Array:
        return pa.repeat(pa.scalar(asset, pa.string()), rows)

    def _time(self, nanos: np.ndarray) -> pa.Array:
        if self._cls.time.unit == "s":
            return pa.array(nanos).cast(pa.timestamp("ns", "UTC"))
        return pa.array(nanos / 1e9)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _groups(file: pq.ParquetFile) -> dict[str, list[int]]:
    """Asset → its row groups. Each row group holds one asset, so its statistics name it."""
    groups: dict[str, list[int]] = {}
    for group in range(file.metadata.num_row_groups):
        asset = file.metadata.row_group(group).column(0).statistics.min
        groups.setdefault(asset, []).append(group)
    return groups
