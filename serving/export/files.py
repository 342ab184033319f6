"""The files of an exported fleet: observations as Parquet, settings and ends of lives as CSV, a manifest, a class file.

The same content gives the same bytes: no time of writing, no names of computers, machines in the order of their names.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from data.asset_class import AssetClass
from data.recording import End
from serving.export.machine import Page, page_rows

OBSERVATIONS, SETTINGS, FAILURES, MANIFEST = "observations.parquet", "settings.csv", "failures.csv", "manifest.json"
MARK = "# Written by python -m serving.export"


class Observations:
    """Writes pages; a row group each. To be closed by `with`."""

    def __init__(self, path: Path, cls: AssetClass) -> None:
        self._cls = cls
        time = pa.timestamp("ns", "UTC") if cls.time.unit == "s" else pa.float64()
        columns = [("asset", pa.string()), ("time", time), ("event", pa.int8()), ("age", pa.float64())]
        columns += [(name, pa.float32()) for name in cls.scalars]
        columns += [(name, pa.list_(pa.float32())) for name in cls.waveforms]
        self._schema = pa.schema(columns)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Observations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, asset: str, page: Page) -> None:
        rows = len(page.time)
        time = pa.array(page.time).cast(self._schema.field("time").type) if self._nanos else pa.array(page.time / 1e9)
        columns = [pa.repeat(pa.scalar(asset), rows), time, pa.array(page.event), pa.array(page.age)]
        columns += [pa.array(page.readings[:, column]) for column in range(len(self._cls.scalars))]
        columns += [_lists(page.waveforms.get(name), rows) for name in self._cls.waveforms]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._file.write_table(table, row_group_size=page_rows(self._cls))

    @property
    def _nanos(self) -> bool:
        return self._cls.time.unit == "s"


def _lists(snapshots: tuple[Any, Any] | None, rows: int) -> pa.Array:
    """A list a row, null where there is no snapshot."""
    if snapshots is None:
        return pa.nulls(rows, pa.list_(pa.float32()))
    row, samples = snapshots
    present = np.zeros(rows, bool)
    present[row] = True
    offsets = np.append(0, np.cumsum(present * samples.shape[1])).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(samples.reshape(-1)), mask=pa.array(~present))


def write_settings(path: Path, cls: AssetClass, settings: Mapping[str, Mapping[str, float]]) -> None:
    """asset and settings; an empty cell means the default of the class."""
    rows = [
        [asset, *(repr(own[name]) if name in own else "" for name in cls.settings)] for asset, own in settings.items()
    ]
    _write_csv(path, ["asset", *cls.settings], rows)


def write_ends(path: Path, cls: AssetClass, ends: Mapping[str, Sequence[End]]) -> None:
    rows = [[asset, moment(cls, end.time), end.kind] for asset, own in ends.items() for end in own]
    _write_csv(path, ["asset", "time", "kind"], rows)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def class_file(cls: AssetClass, fleet: str, folder: Path) -> str:
    """The text of data/asset_classes/<fleet>.yaml; `folder` holds the other files."""
    names = {name: {"name": f"{fleet}/{name}", "sha256": sha256(folder / name)} for name in (OBSERVATIONS, SETTINGS)}
    source: dict[str, Any] = {
        "reader": "table",
        "files": [names[OBSERVATIONS]],
        "event": "event",
        "failures": {"file": f"{fleet}/{FAILURES}", "kind": "kind"},
        "observed": True,
    }
    if cls.life.age != "none":
        source["age"] = "age"
    if cls.settings:
        source["settings"] = names[SETTINGS]
    text = yaml.safe_dump({"subset_of": cls.name, "source": source}, sort_keys=False, allow_unicode=True, width=120)
    return f"{MARK}; overwritten by the next one. All else of this class stands in {cls.name}.yaml.\n{text}"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def moment(cls: AssetClass, nanos: int) -> str:
    """A time, exactly: ISO 8601 in UTC to the nanosecond, or a count of cycles."""
    seconds, rest = divmod(nanos, 1_000_000_000)
    if cls.time.unit == "cycle":
        return repr(nanos / 1e9)
    at = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
