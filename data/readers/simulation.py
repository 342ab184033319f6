"""Simulated fleets: a simulator of `twins` is run in place of a download, and its records read back.

Raw files: records.parquet (asset, record, time, age, channels, and the true damage as damage.<mode>) and records.json,
a list with what holds for a record as a whole: asset, how it began and ended, nameplate, and the fault that ended it.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from data.asset_class import AssetClass, SimulationSource
from data.errors import SourceError
from data.quality import Report
from data.recording import End, Recording
from twins import SIMULATORS, Record

ROWS, ABOUT = "records.parquet", "records.json"
HOUR = 3600.0  # simulators count age in hours, classes with a clock count time in seconds


def make(cls: AssetClass, folder: Path) -> None:
    """Run the simulator of the class and write its records to `folder`."""
    source = cls.source
    assert isinstance(source, SimulationSource)
    if source.simulator not in SIMULATORS:
        raise SourceError(
            f"source.simulator: '{source.simulator}' is not in twins: use one of {', '.join(SIMULATORS)} "
            f"in data/asset_classes/{cls.name}.yaml"
        )
    folder.mkdir(parents=True, exist_ok=True)
    part, about, file = folder / (ROWS + ".part"), [], None
    simulated = SIMULATORS[source.simulator](source.machines, source.seed)
    records = tqdm(simulated, f"simulate {cls.fleet}", unit=" records", disable=None)
    for number, record in enumerate(records):
        table = _table(cls, record, number)
        file = file or pq.ParquetWriter(part, table.schema, compression="zstd")
        file.write_table(table)  # one row group a record
        about.append(_about(record))
    if file is None:
        raise SourceError(f"{cls.fleet}: simulator '{source.simulator}' made no record")
    file.close()
    part.replace(folder / ROWS)
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def read(cls: AssetClass, folder: Path, report: Report) -> Iterator[Recording]:
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    file = pq.ParquetFile(folder / ROWS)
    report.file(ROWS, file.metadata.num_rows)
    for asset, numbers in groupby(range(len(about)), key=lambda number: about[number]["asset"]):
        yield _recording(cls, asset, [(about[number], file.read_row_group(number)) for number in numbers])


def _table(cls: AssetClass, record: Record, number: int) -> pa.Table:
    missing = sorted(set(cls.scalars) - set(record.channels))
    if missing:
        raise SourceError(
            f"{cls.fleet}: its simulator makes no channel {', '.join(missing)}; it makes {', '.join(record.channels)}"
        )
    columns = {
        "asset": pa.repeat(pa.scalar(record.asset), record.time.size),
        "record": pa.repeat(pa.scalar(number, pa.int32()), record.time.size),
        "time": pa.array(record.time).cast(pa.timestamp("ns", "UTC")),
        "age": pa.array(record.age),
    }
    columns |= {name: pa.array(record.channels[name]) for name in cls.scalars}
    columns |= {f"damage.{mode}": pa.array(values) for mode, values in record.damage.items()}
    return pa.table(columns)


def _about(record: Record) -> dict[str, Any]:
    settings = {name: float(value) for name, value in record.settings.items()}
    ending = {"new": record.new, "kind": record.kind, "end": int(record.end), "fault": record.fault}
    return {"asset": record.asset, **ending, "settings": settings}


def _recording(cls: AssetClass, asset: str, records: list[tuple[dict[str, Any], pa.Table]]) -> Recording:
    """The lives of one machine, which follow each other, as one recording."""
    about = [each for each, _ in records]
    table = pa.concat_tables(rows for _, rows in records)
    return Recording(
        asset=asset,
        time=table["time"].cast(pa.int64()).to_numpy(),
        channels={name: table[name].to_numpy() for name in cls.scalars},
        age=table["age"].to_numpy() * HOUR / cls.time_units_per_life_unit,
        life=table["record"].to_numpy().astype(np.int64),
        begins_new=about[0]["new"],
        ends=tuple(End(each["end"], each["kind"]) for each in about if each["kind"] != "censored"),
        censored=about[-1]["kind"] == "censored",
        settings={name: value for name, value in about[-1]["settings"].items() if name in cls.settings},
    )
