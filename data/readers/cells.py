"""Cells of a table as people and loggers write them → numbers and times. None is guessed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI]nf(inity)?)$"
MISSING = pa.array(["", "-", "--", "?", "na", "n/a", "nan", "nat", "null", "none", "#n/a"])
ZONED = r"[T ]\d.*([Zz]|[+-]\d\d(:?\d\d)?)$"  # an ISO 8601 time that names its offset
NANOS_PER = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True)
class Cells:
    """A column understood: `values` where `known`; `bad` cells are there but cannot be read."""

    values: np.ndarray
    known: np.ndarray  # bool
    bad: np.ndarray  # bool


def numbers(column: pa.Array) -> Cells:
    """Values f64, NaN where not known.

    >>> numbers(pa.array(["1.5", " -2e3 ", "", "n/a", "3,14"])).values
    array([ 1.5e+00, -2.0e+03,      nan,      nan,      nan])
    """
    if not _is_text(column.type):
        values = _cast(column)
        return Cells(values, ~np.isnan(values), np.zeros(values.size, dtype=bool))
    text = pc.utf8_trim_whitespace(_text(column))
    good = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    values = pc.if_else(good, text, None).cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = _flags(good)
    return Cells(values, known, ~known & ~_absent(text))


def times(column: pa.Array, unit: str, timezone: str) -> Cells:
    """Values int64 nanos. Numbers count the class's `unit` (read to the microsecond); texts in ISO 8601 and timestamps
    without a zone are in `timezone`, of an hour that the clock shows twice the first.

    >>> times(pa.array(["2026-01-03T10:00:00Z", "1767434400", "tomorrow"]), "s", "UTC").values
    array([1767434400000000000, 1767434400000000000,                   0])
    """
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        return _of_timestamps(column, timezone) if unit == "s" else _none_known(column)
    given = numbers(column)
    counted = _of_numbers(given.values)
    if not _is_text(column.type) or unit != "s":
        return Cells(counted.values, counted.known, given.bad | given.known & ~counted.known)
    written = _of_iso(column, timezone)
    known = counted.known | written.known
    values = np.where(counted.known, counted.values, written.values)
    return Cells(values, known, (given.known | given.bad) & ~known)


def _of_numbers(values: np.ndarray) -> Cells:
    """Numbers of a unit → nanos; to the microsecond, for float64 tells no more apart in today's epoch seconds."""
    known = np.abs(values) < 9.2e9  # int64 nanos end in the year 2262; NaN is not below
    micros = np.rint(np.where(known, values, 0) * 1e6).astype(np.int64)
    return Cells(micros * 1000, known, ~known & ~np.isnan(values))


def _of_timestamps(column: pa.Array, timezone: str) -> Cells:
    present = _flags(column.is_valid())
    if column.type.tz is None:
        column = _in_zone(column, timezone)
    factor = NANOS_PER[column.type.unit]
    counts = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    known = present & (np.abs(counts) <= (2**63 - 1) // factor)
    return Cells(np.where(known, counts, 0) * factor, known, present & ~known)


def _of_iso(column: pa.Array, timezone: str) -> Cells:
    text = pc.utf8_trim_whitespace(_text(column))
    parsed = pd.to_datetime(pd.Series(text.to_pandas(), dtype="object"), format="ISO8601", errors="coerce", utc=True)
    column = pa.Array.from_pandas(parsed)
    cells = _of_timestamps(column, "UTC")
    values, known = cells.values, cells.known
    if timezone != "UTC":
        zoned = _flags(pc.fill_null(pc.match_substring_regex(text, ZONED), False))
        local = _of_timestamps(pc.local_timestamp(column), timezone)
        values, known = np.where(zoned, values, local.values), np.where(zoned, known, local.known)
    return Cells(values, known, ~known & ~_absent(text))


def _in_zone(column: pa.Array, timezone: str) -> pa.Array:
    return pc.assume_timezone(column, timezone, ambiguous="earliest", nonexistent="latest")


def _none_known(column: pa.Array) -> Cells:
    none = np.zeros(len(column), dtype=bool)
    return Cells(np.zeros(len(column), dtype=np.int64), none, _flags(column.is_valid()))


def _cast(column: pa.Array) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise TypeError(f"holds {column.type}, where numbers are expected") from error


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _text(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


def _absent(text: pa.Array) -> np.ndarray:
    return _flags(pc.fill_null(pc.is_in(pc.utf8_lower(text), value_set=MISSING), True))


def _flags(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False).astype(bool)
