"""Rows of a class that does not assemble: each is an observation, as it stands."""

from __future__ import annotations

from array import array

import numpy as np

from edge_runtime.arrays import I64, Array
from edge_runtime.intake.records import LONG_AGO, Records


class Passage:
    """Lets through what is later than the machine's last row. `given` int64[N]: time of the last given out."""

    def __init__(self, machines: int, records: Records) -> None:
        self.given: I64 = np.full(machines, LONG_AGO, np.int64)
        self.taken = array("q", self.given.tobytes())  # time of the last row; read and written one by one
        self._records = records
        self._rows: list[bytes] = []

    def add(self, row: int, time: int, packed: bytes, heard: int) -> bool:  # noqa: ARG002  as the assembler's
        """A row of machine `row`; False if it has come or is late."""
        if time <= self.taken[row]:
            return False
        self.taken[row] = time
        self._rows.append(packed)
        return True

    def ready(self) -> list[Array]:
        """Records of distinct machines, then the second ones of those that have two, …"""
        if not self._rows:
            return []
        records, self._rows = self._records.array(self._rows), []
        parts = _turns(records)
        for part in parts:
            self.given[part["row"]] = part["time"]
        return parts

    def set(self, rows: I64, time: I64) -> None:
        """Observations up to `time` have been given out before a restart."""
        self.given[rows] = np.maximum(self.given[rows], time)
        for row in rows.tolist():
            self.taken[row] = int(self.given[row])


def _turns(records: Array) -> list[Array]:
    rows = records["row"]
    order = np.argsort(rows, kind="stable")
    first = np.diff(rows[order], prepend=-1) != 0
    if first.all():
        return [records]
    place = np.arange(len(rows))
    turn = np.empty(len(rows), np.int64)
    turn[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return [records[turn == k] for k in range(int(turn.max()) + 1)]
