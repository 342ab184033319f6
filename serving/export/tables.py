"""Tables that people keep beside the centre: when machines failed, and their nameplates; read as ingest reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from data.asset_class import AssetClass, FailureLog, TableSource
from data.errors import SourceError
from data.quality import Report
from data.readers import files
from data.readers.cells import times
from data.readers.sidetables import failure_log, settings_table
from data.recording import End

_SHOWN = 20  # rows told at once


def read_log(cls: AssetClass, path: Path, *, skip: bool = False) -> tuple[dict[str, list[End]], Report]:
    """A CSV or Parquet of asset, time and (if it knows repairs) kind, failure or repair: asset → ends.

    `SourceError` if it is no such table, or names each row that cannot be used: a failure that is lost teaches nothing.
    With `skip` these are left out, and told in the notes of the report.
    """
    if not path.is_file():
        raise SourceError(f"{path} is no file: give --failures a CSV with the columns asset, time, kind")
    names = files.header(path, ",")
    if lacking := [name for name in ("asset", "time") if name not in names]:
        raise SourceError(
            f"{path}: no column '{lacking[0]}'; its columns are {', '.join(names)}: expected asset, time and, where "
            "repairs are logged too, kind, with commas between them"
        )
    kind = "kind" if "kind" in names else None
    problems = [f"{path.name}, {problem}" for problem in _unusable(cls, path, kind)]
    if problems and not skip:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        way_out = "correct them; --skip-unusable goes on without them"
        raise SourceError("\n  ".join([f"{len(problems)} rows cannot be used: {way_out}", *problems[:_SHOWN], *more]))
    log = FailureLog(file=path.name, kind=kind)
    report = Report(cls)
    source = TableSource(reader="table", files=[path.name], failures=log)
    ends = failure_log(cls, source, path.parent, report)
    report.notes = [f"left out: {problem}" for problem in problems[:_SHOWN]]
    report.counts["rejected"] = len(problems)
    return ends, report


def _unusable(cls: AssetClass, path: Path, kind: str | None) -> list[str]:
    """What is wrong with rows, with their line and value."""
    expected = "a count of cycles" if cls.time.unit == "cycle" else "a time such as 2026-01-31T08:00:00Z (UTC)"
    columns = ["asset", "time", *([kind] if kind else [])]
    found = _Rows(cls)
    for batch in files.batches(path, columns, ",", found):
        known = times(batch.rows["time"], cls.time.unit, "UTC").known
        texts = {name: batch.rows[name].cast(pa.string()).to_pylist() for name in columns}
        for row in range(batch.rows.num_rows):
            own = {name: (texts[name][row] or "").strip() for name in columns}
            line = batch.number(row)
            if not own["asset"]:
                found.rows[line] = "no asset"
            elif not known[row]:
                found.rows[line] = f"time '{own['time'][:60]}': write {expected}"
            elif kind and own[kind].casefold() not in ("failure", "repair"):
                found.rows[line] = f"kind '{own[kind][:60]}': write failure or repair"
    return [f"line {line}: {found.rows[line]}" for line in sorted(found.rows)]


class _Rows(Report):
    """Keeps the rows that are no rows of the table, by their lines."""

    def __init__(self, cls: AssetClass) -> None:
        super().__init__(cls)
        self.rows: dict[int, str] = {}

    def reject(self, file: str, row: int, reason: str, content: str) -> None:
        super().reject(file, row, reason, content)
        self.rows[row] = reason


def read_settings(cls: AssetClass, path: Path | None) -> Mapping[str, Mapping[str, float]]:
    """asset → settings, of a table with the column asset and any settings of the class; other columns are not used."""
    if path is None:
        return {}
    if not path.is_file():
        raise SourceError(f"{path} is no file: give --settings a CSV with the column asset and settings of the class")
    source = TableSource(reader="table", files=[path.name], settings=path.name)
    return settings_table(cls, source, path.parent, Report(cls))
