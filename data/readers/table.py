"""Any table: CSV or Parquet with columns for asset, time and channels, and if wanted age, life and event; beside it a
table of settings a machine and a failure log. What stands in which column, `source` of the class file says.

Files may be larger than memory and ordered in any way; the rows of one machine must fit. With a failure log, a machine
whose last life has no entry still runs: that life is censored. So it is where the rows are what twins were fed
(`observed`); their first row finds each machine in mid-life, unless its event says that a life begins. A waveform is a
Parquet column of lists, null where there is no snapshot; a table without that column has none.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.asset_class import AssetClass, SourceFile, TableSource
from data.errors import SourceError
from data.quality import EXAMPLES, REFUSED_SHARE, Report
from data.readers import files
from data.readers.cells import numbers, times
from data.readers.columns import asset_ids, require, written
from data.readers.partition import Partition
from data.readers.sidetables import failure_log, note_strangers, settings_table
from data.recording import Recording
from edge_runtime.contract.event import Event


def source_files(source: TableSource) -> list[SourceFile]:
    listed: list[SourceFile | str] = list(source.files)
    if source.settings:
        listed.append(source.settings)
    if source.failures:
        listed.append(source.failures.file)
    return [SourceFile(name=file) if isinstance(file, str) else file for file in listed]


def read(cls: AssetClass, folder: Path, report: Report) -> Iterator[Recording]:
    source = cls.source
    assert isinstance(source, TableSource)
    _check_timezone(cls, source)
    ends = failure_log(cls, source, folder, report) if source.failures else {}
    settings = settings_table(cls, source, folder, report) if source.settings else {}
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        partition = Partition(Path(scratch) / "rows.arrow")
        lives: dict[Any, int] = {}
        for file in source.files:
            _scan(cls, source, folder / (file if isinstance(file, str) else file.name), partition, lives, report)
        partition.close()
        note_strangers(cls, ends, set(partition.assets), report)
        for asset in partition.assets:
            yield Recording(
                asset=asset,
                **_fields(cls, source, partition.rows(asset)),
                ends=tuple(ends.get(asset, ())),
                begins_new=False if source.observed else None,
                censored=True if source.failures or source.observed else None,
                settings=settings.get(asset, {}),
            )


def _scan(
    cls: AssetClass, source: TableSource, path: Path, partition: Partition, lives: dict[Any, int], report: Report
) -> None:
    """One pass over a file: its columns, understood, go to `partition`. `lives` numbers values of the life column."""
    where = _find_columns(cls, source, path, report)
    rows, timeless, example = 0, 0, None
    for batch in files.batches(path, list(dict.fromkeys(where.values())), source.separator, report):
        ids, present = asset_ids(batch.rows[where["asset"]], path.name)
        when = times(batch.rows[where["time"]], cls.time.unit, source.timezone)
        for row in np.flatnonzero(~(present & when.known)):
            reason = "no usable time" if present[row] else "no asset"
            report.reject(path.name, batch.number(int(row)), reason, files.content(batch, int(row)))
            if not when.known[row]:
                timeless += 1
                example = batch.rows[where["time"]][int(row)].as_py() if example is None else example
        columns = {"time": pa.array(when.values)}
        for role, column in where.items():
            if role not in ("asset", "time"):
                try:
                    columns[role] = _understand(cls, role, batch.rows[column], lives, report)
                except TypeError as error:
                    raise SourceError(f"{path.name}, column '{column}': {error}") from error
        for channel in cls.waveforms:  # all batches have one schema
            columns.setdefault(channel, pa.nulls(len(ids), pa.list_(pa.float32())))
        usable = pa.array(present & when.known)
        partition.add(ids.filter(usable), pa.RecordBatch.from_pydict(columns).filter(usable))
        rows += batch.rows.num_rows
    report.file(path.name, rows)
    if timeless > REFUSED_SHARE * rows:
        raise SourceError(
            f"{path.name}, column '{where['time']}': {timeless / rows:.0%} of its times cannot be used, "
            f"e.g. {example!r}; expected are {written(cls)}: check source.time in data/asset_classes/{cls.name}.yaml"
        )


def _find_columns(cls: AssetClass, source: TableSource, path: Path, report: Report) -> dict[str, str]:
    """Role (asset, time, age, life, event or a channel) → its column in a file."""
    names = files.header(path, source.separator)
    where = {"asset": source.asset, "time": source.time}
    where |= {role: column for role in ("age", "life", "event") if (column := getattr(source, role))}
    for role, column in where.items():
        require(cls, path.name, names, column, f"the {role}", f"source.{role}")
    for channel in cls.scalars:
        where[channel] = source.columns.get(channel, channel)
        require(cls, path.name, names, where[channel], f"channel '{channel}'", "source.columns")
    waveforms = {channel: source.columns.get(channel, channel) for channel in cls.waveforms}
    where |= {channel: column for channel, column in waveforms.items() if column in names}
    if extra := [name for name in names if name not in where.values()]:
        report.note(f"{path.name}: columns not used: {', '.join(extra)}")
    return where


def _understand(cls: AssetClass, role: str, column: pa.Array, lives: dict[Any, int], report: Report) -> pa.Array:
    """A column as it is kept: age f64, life int64, event int8, a channel f32, a waveform list of f32."""
    if role == "life":
        encoded = column.dictionary_encode()
        codes = [lives.setdefault(value, len(lives)) for value in encoded.dictionary.to_pylist()]
        return pa.array(np.array([*codes, -1])[encoded.indices.fill_null(len(codes)).to_numpy()])
    if role in cls.waveforms:
        return _snapshots(cls, role, column)
    cells = numbers(column)
    if role == "age":
        negative = cells.values < 0
        report.counts["unusable_ages"] += int((cells.bad | negative).sum())
        return pa.array(np.where(negative, np.nan, cells.values))
    if role == "event":
        usable = np.isin(cells.values, list(Event))
        report.counts["unusable_events"] += int((cells.bad | cells.known & ~usable).sum())
        return pa.array(np.where(usable, cells.values, Event.NONE).astype(np.int8))
    if cells.bad.any():
        report.unparsable(role, int(cells.bad.sum()), column.filter(pa.array(cells.bad))[:EXAMPLES].to_pylist())
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is out of range
        return pa.array(cells.values.astype(np.float32))


def _snapshots(cls: AssetClass, channel: str, column: pa.Array) -> pa.Array:
    waveform = cls.channels[channel].waveform
    assert waveform is not None
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or _fixed(column.type)):
        raise TypeError(f"holds {column.type}, where lists of samples are expected")
    size = len(waveform.axes) * waveform.samples
    lengths = pc.list_value_length(column).drop_null()
    if not pc.all(pc.equal(lengths, size)).as_py() and len(lengths):
        raise TypeError(
            f"a snapshot of {pc.min(lengths)} to {pc.max(lengths)} samples, where {len(waveform.axes)} axes of "
            f"{waveform.samples} are declared"
        )
    return column.cast(pa.list_(pa.float32()))


def _fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _fields(cls: AssetClass, source: TableSource, rows: pa.Table) -> Mapping[str, Any]:
    """The fields of a recording that are columns."""
    waveforms = {}
    for channel in cls.waveforms:
        column = rows[channel].combine_chunks()
        row = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        if row.size:
            waveforms[channel] = (row, column.drop_null().flatten().to_numpy().reshape(row.size, -1))
    optional = {role: rows[role].to_numpy() for role in ("age", "life", "event") if getattr(source, role)}
    return {
        "time": rows["time"].to_numpy(),
        "channels": {name: rows[name].to_numpy() for name in cls.scalars},
        "waveforms": waveforms,
        **optional,
    }


def _check_timezone(cls: AssetClass, source: TableSource) -> None:
    try:
        ZoneInfo(source.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(
            f"source.timezone: '{source.timezone}' is not known: use a name like UTC or Europe/Berlin in "
            f"data/asset_classes/{cls.name}.yaml"
        ) from error
