"""Observations in a table, CSV or Parquet, read in blocks as they stand: nothing is sorted, dropped or assembled here.

Columns `asset`, `time` and one a scalar channel, in any order; `event`, `age` and `life` if known. What cannot be read
becomes NaN and is counted in `Findings`; a table that cannot be what the contract says is a `DataError`.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtime.arrays import F32, F64, I64, Array, Bool
from edge_runtime.contract.event import Event
from edge_runtime.errors import DataError
from edge_runtime.timestamps import format_times, from_datetimes, from_numbers, parse_times

BLOCK = 4096  # rows
SEPARATORS = ",;\t"  # of the columns of a CSV table
OPTIONAL = ("event", "age", "life")
_NOTHING = {"", "nan", "na", "n/a", "null", "none", "-"}  # spellings of "not received"


class _Channel(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def range(self) -> tuple[float, float]: ...


class _Time(Protocol):
    @property
    def unit(self) -> str: ...


class _Life(Protocol):
    @property
    def age(self) -> str: ...


class Layout(Protocol):
    """What a table must have; a bundle's contract is one."""

    @property
    def channels(self) -> Sequence[_Channel]: ...
    @property
    def time(self) -> _Time: ...
    @property
    def life(self) -> _Life: ...


@dataclass(frozen=True)
class Rows:
    """A block of n rows. `time` is 0 where not `usable`; `life` is None where the table has no such column."""

    asset: Sequence[str]
    when: Sequence[str]  # time as it was written
    time: I64
    usable: Bool
    readings: F32  # [n, C]
    event: F32
    age: F32
    life: F32 | None  # numbers of what stands there, NaN where nothing does; None where events tell, or nothing


@dataclass
class Findings:
    """What was odd about a table. `not_numbers`: column → cells, `examples`: column → one of them."""

    rows: int = 0
    ragged: int = 0
    extra: list[str] = field(default_factory=list)
    not_numbers: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)  # of the declared range
    has_event: bool = False
    lives: dict[Any, int] = field(default_factory=dict)  # what the column life says → its number


def read_rows(path: Path, contract: Layout, findings: Findings) -> Iterator[Rows]:
    """The rows of the table at `path`, block by block; `findings` grows along."""
    wanted = ["asset", "time", *OPTIONAL, *(channel.name for channel in contract.channels)]
    batches = _parquet(path, wanted) if _is_parquet(path) else _csv(path, findings)
    names = next(batches)
    _check_columns(path, list(names), contract, findings)
    findings.has_event = "event" in names
    for columns in batches:
        block = _rows(columns, contract, findings)
        findings.rows += len(block.time)
        yield block
    if not findings.rows:
        raise DataError(f"{path} has a header but no rows: there is nothing to score")


def column_names(path: Path) -> list[str]:
    """The names of the columns, as they stand; `DataError` if the file is no table."""
    return list(next(_parquet(path) if _is_parquet(path) else _csv(path, Findings())))


def names_in(path: Path, column: str) -> dict[str, None]:
    """The distinct texts of one column, in their order; `DataError` if the file is no table that has it."""
    batches = _parquet(path, [column]) if _is_parquet(path) else _csv(path, Findings())
    if column not in next(batches):
        raise DataError(f"{path} has no column '{column}'")
    found: dict[str, None] = {}
    for columns in batches:
        found.update(dict.fromkeys("" if cell is None else str(cell).strip() for cell in columns[column]))
    return found


def new_lives(code: I64, time: I64, life: F32, usable: Bool) -> F32:
    """Events for a table that has a column `life` only: a change of it, in the order of time, begins a new life.

    `code` tells the machines apart; all have one entry a row. Rows that do not say their life go on with the last one.
    """
    order = np.lexsort((time, code))
    order = order[usable[order] & ~np.isnan(life[order])]
    before, after = order[:-1], order[1:]
    changed = (code[before] == code[after]) & (life[before] != life[after])
    event = np.zeros(len(code), np.float32)
    event[after[changed]] = Event.NEW_LIFE
    return event


def _check_columns(path: Path, names: list[str], contract: Layout, findings: Findings) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{path}: column '{twice[0]}' stands there twice: remove or rename one")
    needed = ["asset", "time", *(c.name for c in contract.channels)]
    if contract.life.age == "required":
        needed.append("age")
    findings.extra = [name for name in names if name not in {*needed, *OPTIONAL}]
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(f"{path}: {_told_missing(missing, needed, names, findings.extra)}")


def _told_missing(missing: Sequence[str], needed: Sequence[str], names: Sequence[str], extra: Sequence[str]) -> str:
    """What is missing, the point first, and how to mend it."""
    has = _few(list(names), 40)
    if len(names) == 1:
        return (
            f"its header is one column, {names[0][:60]!r}: separate columns by comma, semicolon or tab, the same in "
            "header and rows"
        )
    lower = {name.lower(): name for name in extra}
    close = [(name, difflib.get_close_matches(name.lower(), lower, 1, 0.5)) for name in missing]
    close.sort(key=lambda pair: not pair[1])  # those first that somebody can mend at once
    told = [f"'{name}'" + (f" (is '{lower[near[0]]}' meant?)" if near else "") for name, near in close]
    some = f"column {told[0]} is missing" if len(told) == 1 else f"{len(told)} of {len(needed)} columns are missing"
    named = f": {_few(told, 5)}" if len(told) > 1 else ""
    joined = [name for name in names if any(separator in name for separator in SEPARATORS)]
    if joined:
        return f"{some}{named}; one column is called {joined[0][:60]!r}: is the separator another one there?"
    return f"{some}{named}; it has {has}: rename the columns, and leave cells of a channel that is not measured empty"


def _few(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} others" if len(names) > most else "")


def _rows(columns: Mapping[str, Any], contract: Layout, findings: Findings) -> Rows:
    when, time, usable = _times(columns["time"], contract.time.unit)
    readings = np.empty((len(when), len(contract.channels)), np.float32)
    for i, channel in enumerate(contract.channels):
        column = readings[:, i]
        column[:] = _numbers(channel.name, columns[channel.name], findings)
        low, high = channel.range
        findings.received[channel.name] += int(np.count_nonzero(~np.isnan(column)))
        findings.outside[channel.name] += int(np.count_nonzero((column < low) | (column > high)))
    nothing = np.full(len(when), np.nan, np.float32)
    extras = {name: _numbers(name, columns[name], findings) for name in ("event", "age") if name in columns}
    tells_lives = "life" in columns and not findings.has_event  # else events tell where one begins
    life = _lives(columns["life"], findings.lives) if tells_lives else None
    event = np.nan_to_num(extras.get("event", nothing))
    known = np.isin(event, (0, 1, 2))
    _note("event", [str(value) for value in event[~known]], findings)
    asset = ["" if name is None else str(name).strip() for name in columns["asset"]]
    return Rows(asset, when, time, usable, readings, np.where(known, event, 0), extras.get("age", nothing), life)


def _times(column: Any, unit: str) -> tuple[Sequence[str], I64, Bool]:
    if isinstance(column, np.ndarray) and column.dtype.kind == "M":
        nanos, usable = from_datetimes(column)
        written = format_times(nanos, "s")
        for i in np.flatnonzero(~usable).tolist():
            written[i] = str(column[i])
        return written, nanos, usable
    if isinstance(column, np.ndarray) and unit != "s":
        values: F64 = column.astype(np.float64)
        return [f"{value:.15g}" for value in values.tolist()], *from_numbers(values)
    texts = ["" if text is None else str(text) for text in column]
    return texts, *parse_times(texts, unit)


def _numbers(name: str, column: Any, findings: Findings) -> F32:
    """Cells as float32: NaN where nothing was received, and, counted, where there is no number."""
    with np.errstate(over="ignore"):  # 1e300 becomes infinity, which the graph flags
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            return column.astype(np.float32)
        try:
            return np.array(column, np.float64).astype(np.float32)  # all cells filled with numbers: the fast way
        except (TypeError, ValueError):
            pass
        values, strange = np.full(len(column), np.nan), []
        for i, cell in enumerate(column):
            try:
                values[i] = float(cell)
            except (TypeError, ValueError):
                if cell is not None and str(cell).strip().lower() not in _NOTHING:
                    strange.append(str(cell))
        _note(name, strange, findings)
        return values.astype(np.float32)


def _lives(column: Any, numbered: dict[Any, int]) -> F32:
    """What the cells say, numbered: a life may be called anything, or by a number too long for float32.

    >>> _lives(["B", "7", "", "7.0", 20240101, 20240102], {})
    array([ 0.,  1., nan,  1.,  2.,  3.], dtype=float32)
    """
    numbers = np.full(len(column), np.nan, np.float32)
    for i, cell in enumerate(column.tolist() if isinstance(column, np.ndarray) else column):
        said = "" if cell is None else str(cell).strip()
        if said.lower() not in _NOTHING:
            try:
                key: Any = float(said)
            except ValueError:
                key = said
            if key == key:  # "-nan"
                numbers[i] = numbered.setdefault(key, len(numbered))
    return numbers


def _note(name: str, strange: list[str], findings: Findings) -> None:
    if strange:
        findings.not_numbers[name] += len(strange)
        findings.examples.setdefault(name, strange[0])


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}: name a table, CSV or Parquet") from error


def _csv(path: Path, findings: Findings) -> Iterator[Any]:
    """First the names of the columns, then blocks as name → cells."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
        file.seek(0)
        lines = csv.reader(file, delimiter=_separator(first))
        try:
            names = [name.strip() for name in next(lines, [])]
            if not names:
                raise DataError(f"{path} is empty: expected a header with asset, time and channels")
            yield names
            block: list[list[str]] = []
            for line in lines:
                if not line:
                    continue
                if len(line) != len(names):
                    findings.ragged += 1
                    line = [*line, *[""] * len(names)][: len(names)]
                block.append(line)
                if len(block) == BLOCK:
                    yield dict(zip(names, zip(*block, strict=True), strict=True))
                    block = []
            if block:
                yield dict(zip(names, zip(*block, strict=True), strict=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {lines.line_num}: not CSV: {error}") from error


def _separator(header: str) -> str:
    """That by which the header has an asset and a time; else the one that is there most often."""

    def fits(separator: str) -> tuple[bool, int]:
        try:
            names = {name.strip() for name in next(csv.reader([header], delimiter=separator), [])}
        except csv.Error:
            names = set()
        return {"asset", "time"} <= names, header.count(separator)

    return max(SEPARATORS, key=fits)


def _parquet(path: Path, wanted: Sequence[str] = ()) -> Iterator[Any]:
    """First the names of the columns, then blocks as name → array or cells, of the columns that are wanted.

    Others are not read: a column of waveforms would not fit the memory as lists.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{path} is Parquet: install the extra, pip install 'overhaul[parquet]', or use CSV") from error
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        yield names
        for batch in file.iter_batches(batch_size=BLOCK, columns=[name for name in names if name in wanted]):
            columns = zip(batch.schema.names, batch.columns, strict=True)
            yield {name: column.to_pylist() if name == "asset" else _plain(column) for name, column in columns}
    except pa.ArrowException as error:
        raise DataError(f"{path} is truncated or altered: {error}") from error


def _plain(column: Any) -> Array | list[Any]:
    """Numbers and times as arrays (null → NaN, NaT), all else as a list."""
    array: Array = column.to_numpy(zero_copy_only=False)
    return array if array.dtype.kind in "fiuM" else list(column.to_pylist())
