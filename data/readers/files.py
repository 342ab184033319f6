"""CSV and Parquet files as record batches, with the number of each row in its file for messages."""

import csv
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from data.errors import SourceError
from data.quality import Report

BLOCK = 8 << 20  # bytes of CSV at once
BATCH = 65_536  # rows of Parquet at once


@dataclass(frozen=True)
class Batch:
    """Some rows of a file, `before` of which came earlier, and the numbers of those set aside, ascending."""

    before: int
    rows: pa.RecordBatch
    set_aside: list[int]
    header: int  # rows it takes

    def number(self, row: int) -> int:
        """Which row of the file it is, counted from 1; of CSV that is the line, unless lines are blank."""
        n = self.before + row + self.header + 1
        return n + bisect_right(range(len(self.set_aside)), n, key=lambda i: self.set_aside[i] - i)


def header(path: Path, separator: str) -> list[str]:
    """Names of the columns. Raises `SourceError` for what is no table."""
    if not path.exists():
        raise SourceError(f"{path} is missing: run the fetch stage first")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path).schema_arrow.names
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=separator), [])
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: not UTF-8 text ({error}): save it as CSV in UTF-8, or as Parquet") from error
    if not any(name.strip() for name in names):
        raise SourceError(f"{path.name}: the file is empty: it needs a header with the names of its columns, then rows")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{path.name}: column '{twice[0]}' is there twice: rename or remove one")
    return names


def batches(path: Path, columns: list[str], separator: str, report: Report) -> Iterator[Batch]:
    """The `columns` of a file: of Parquet as typed there, of CSV as text.

    Rows of CSV with too few or too many cells are set aside in `report`.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        before = 0
        for batch in _parquet(path).iter_batches(batch_size=BATCH, columns=columns):
            yield Batch(before, _plain(batch), [], header=0)
            before += batch.num_rows
        return
    yield from _csv(path, columns, separator, report)


def content(batch: Batch, row: int) -> str:
    """A row as JSON, for the file of rejected rows."""
    return json.dumps(batch.rows.slice(row, 1).to_pylist()[0], default=str, ensure_ascii=False)


def _csv(path: Path, columns: list[str], separator: str, report: Report) -> Iterator[Batch]:
    cut: list[int] = []

    def set_aside(row: pa.csv.InvalidRow) -> str:
        cut.append(row.number)
        reason = f"{row.actual_columns} cells, the header has {row.expected_columns}"
        report.reject(path.name, row.number, reason, row.text)
        return "skip"

    try:
        with pa.csv.open_csv(
            path,
            # Rows have numbers only without threads.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=set_aside),
            convert_options=pa.csv.ConvertOptions(
                include_columns=columns, column_types={name: pa.string() for name in columns}
            ),
        ) as reader:
            before = 0
            for rows in reader:
                yield Batch(before, rows, cut, header=1)
                before += rows.num_rows
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path.name}: not CSV in UTF-8: {error}") from error


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path.name}: not a Parquet file, or cut short: {error}") from error


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionary columns (categories) as what they stand for."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
