"""Tables that people keep beside the centre: when machines failed, and their nameplates; read as ingest reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data.asset_class import AssetClass, FailureLog, TableSource
from data.errors import SourceError
from data.quality import Report
from data.readers import files
from data.readers.sidetables import failure_log, settings_table
from data.recording import End


def read_log(cls: AssetClass, path: Path) -> tuple[dict[str, list[End]], Report]:
    """A CSV or Parquet of asset, time and (if it knows repairs) kind, failure or repair: asset → ends.

    Rows that cannot be used are counted in the report. `SourceError` if it is no such table.
    """
    if not path.is_file():
        raise SourceError(f"{path} is no file: give --failures a CSV with the columns asset, time, kind")
    kind = "kind" if "kind" in files.header(path, ",") else None
    log = FailureLog(file=path.name, kind=kind)
    report = Report(cls)
    source = TableSource(reader="table", files=[path.name], failures=log)
    return failure_log(cls, source, path.parent, report), report


def read_settings(cls: AssetClass, path: Path | None) -> Mapping[str, Mapping[str, float]]:
    """asset → settings, of a table with the column asset and any settings of the class; other columns are not used."""
    if path is None:
        return {}
    if not path.is_file():
        raise SourceError(f"{path} is no file: give --settings a CSV with the column asset and settings of the class")
    source = TableSource(reader="table", files=[path.name], settings=path.name)
    return settings_table(cls, source, path.parent, Report(cls))
