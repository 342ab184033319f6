"""Times as text and as nanos: int64, 1e-9 of the class's time unit (UTC nanoseconds, or cycle × 1e9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arrays import F64, I64, Bool

NANOS = 1_000_000_000
# Without a time of day there is no offset: "2026-01-03-0500" stays unreadable.
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?", re.ASCII
)
_LIMIT = 9.2e9  # seconds or cycles that fit into int64 nanos: years 1679 to 2261


def parse_times(texts: Sequence[str], unit: str) -> tuple[I64, Bool]:
    """Nanos and whether each text is usable (0 where it is not).

    Unit s: ISO 8601, where a time that names no zone is UTC. Unit cycle: a number.

    >>> parse_times(["2026-01-03T10:00:00Z", "2026-01-03 12:00+02:00", "soon"], "s")
    (array([1767434400000000000, 1767434400000000000,                   0]), array([ True,  True, False]))
    """
    if unit != "s":
        return from_numbers(np.array([_number(text) for text in texts], np.float64))
    nanos, usable = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)
    matches = [_ISO.fullmatch(text.strip()) for text in texts]
    places = [i for i, match in enumerate(matches) if match and "1679" <= match[0][:4] <= "2260"]
    plain = [f"{match[1]}T{match[2] or '00:00'}" for i in places if (match := matches[i])]
    try:
        nanos[places] = np.array(plain, "datetime64[ns]").view(np.int64)
        usable[places] = True
    except ValueError:  # one of them is no date: 2026-02-30
        for i, text in zip(places, plain, strict=True):
            try:
                nanos[i] = np.datetime64(text, "ns").view(np.int64)
                usable[i] = True
            except ValueError:
                continue
    for i in places:
        match = matches[i]
        if usable[i] and match and match[3] not in (None, "Z"):
            nanos[i] -= _offset(match[3])
    return nanos, usable


def from_numbers(values: F64) -> tuple[I64, Bool]:
    """Nanos of numbers in the time unit, and whether each is usable (0 where it is not)."""
    usable = np.abs(values) < _LIMIT  # False for NaN
    return np.rint(np.where(usable, values, 0.0) * NANOS).astype(np.int64), usable


def from_datetimes(values: NDArray[np.datetime64]) -> tuple[I64, Bool]:
    """Nanos of datetimes of any unit, and whether each is usable: NumPy lets those beyond int64 nanos wrap around.

    >>> from_datetimes(np.array(["2026-01-03T10:00", "9999-12-31T00:00", "NaT"], "datetime64[us]"))
    (array([1767434400000000000,                   0,                   0]), array([ True, False, False]))
    """
    usable: Bool = ~np.isnat(values) & (np.abs(values.astype("datetime64[s]").view(np.int64)) < _LIMIT)
    return np.where(usable, values, np.datetime64(0, "s")).astype("datetime64[ns]").view(np.int64), usable


def format_times(nanos: I64, unit: str) -> list[str]:
    """Text that `parse_times` reads back.

    >>> format_times(np.array([1767434400250000000]), "s"), format_times(np.array([12_500_000_000]), "cycle")
    (['2026-01-03T10:00:00.250000000Z'], ['12.5'])
    """
    if unit != "s":
        return [f"{value:.15g}" for value in (nanos / NANOS).tolist()]
    precision: Literal["ns", "s"] = "ns" if np.any(nanos % NANOS) else "s"
    stamps: NDArray[np.datetime64] = nanos.view("datetime64[ns]")
    return [str(text) for text in np.datetime_as_string(stamps, unit=precision, timezone="UTC")]


def _offset(zone: str) -> int:
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 60 * NANOS


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
