"""Where the view has its prognoses from: the service, as an app would ask it; without a service, the database."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import numpy as np

from edge_runtime.timestamps import format_times, from_numbers, parse_times
from serving.database.engine import Database
from serving.database.queries import find_asset, read_prognoses


class Point(NamedTuple):
    """One prognosis; `t` in nanos."""

    t: int
    number: int
    health: float
    failure: float
    rul: float
    lower: float
    upper: float
    alarm: int
    warming_up: float


_COLUMNS = ("number", "health", "failure_probability", "rul", "rul_lower", "rul_upper", "alarm", "warming_up")


class Reader(Protocol):
    def points(self, asset: str, last: Point | None) -> list[Point]:
        """What is newer than `last`, in order of time."""


class FromDatabase:
    def __init__(self, database: Database) -> None:
        self._database = database

    def points(self, asset: str, last: Point | None) -> list[Point]:
        found: list[Point] = []
        with self._database.read() as connection:
            start = None if last is None else last.t + 1
            for span in read_prognoses(connection, find_asset(connection, asset).id, start):
                told = span.outputs | {"number": span.keys.number, "alarm": span.outputs["alarm"].astype(int)}
                columns = [span.keys.t, *(told[name] for name in _COLUMNS)]
                found += [Point(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        return found


class FromService:
    """`ask`: what the service answers to a path. `unit`: of the class's time."""

    def __init__(self, ask: Callable[[str], Any], unit: str) -> None:
        self._ask, self._unit = ask, unit

    def points(self, asset: str, last: Point | None) -> list[Point]:
        [start] = format_times(np.array([0 if last is None else last.t]), self._unit)
        path = f"/assets/{quote(asset)}/history?kind=prognoses&limit=10000&start={quote(start)}"
        rows = self._ask(path)["prognoses"]
        for name in ("rul", "rul_lower", "rul_upper"):  # what is open reaches beyond the cap, and has no number
            opened = zip(rows[name], rows["open"][name], strict=True)
            rows[name] = [math.inf if is_open else value for value, is_open in opened]
        columns = [[math.nan if value is None else value for value in rows[name]] for name in _COLUMNS]
        found = [Point(*row) for row in zip(self._nanos(rows["time"]), *columns, strict=True)]
        return [point for point in found if last is None or point.t > last.t]

    def _nanos(self, texts: list[str]) -> list[int]:
        if self._unit == "s":
            time, _ = parse_times(texts, self._unit)
        else:
            time, _ = from_numbers(np.array([float(text) for text in texts], np.float64))
        return [int(each) for each in time.tolist()]
