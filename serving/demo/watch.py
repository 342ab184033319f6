"""What the centre has committed, read again and again."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from serving.database.engine import Database
from serving.database.queries import find_asset, list_gateways
from serving.database.tables import alarm_changes, counts, dead_letters, messages
from serving.demo.reading import Point, Reader
from serving.demo.recording import Played, Stage

FORESEEN = 2  # the lowest level of alarm that counts as a warning of failure
_WINDOW = 4.0  # seconds over which rates are taken


@dataclass(frozen=True)
class Change:
    """Something said about an alarm, and what was foretold then: `level` 0 clears it."""

    asset: str
    occurrence: str
    number: int
    t: int
    level: int
    previous: int
    rul: float
    lower: float
    upper: float
    drivers: tuple[str, ...]


@dataclass
class Machine:
    """What is known of one by now; `points` and `changes` in order of number."""

    played: Played
    asset: int
    points: list[Point] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def newest(self) -> Point | None:
        return self.points[-1] if self.points else None

    @property
    def warning(self) -> Change | None:
        """When the alarm that stands now first reached the level of a warning."""
        found: Change | None = None
        for change in self.changes:
            if change.level < FORESEEN:
                found = None
            elif found is None:
                found = change
        return found

    @property
    def taken_back(self) -> int:
        """Warnings that ended before."""
        return sum(change.previous >= FORESEEN > change.level for change in self.changes)


@dataclass(frozen=True)
class Scene:
    """All that the view shows, at one moment. `now`: the newest source time of all machines, in nanos."""

    machines: tuple[Machine, ...]
    now: int
    messages: int
    rows: int
    rate: float  # messages a second
    row_rate: float
    gateway: str
    refused: int  # messages put away, and rows refused
    done: bool


class Watch:
    """Reads what is new: prognoses by `reader`; alarms and what has been counted from the database."""

    def __init__(self, database: Database, stage: Stage, reader: Reader) -> None:
        self._database, self._stage, self._reader = database, stage, reader
        with database.read() as connection:
            self.machines = tuple(Machine(p, find_asset(connection, p.asset).id) for p in stage.machines)
        self._seen: deque[tuple[float, int, int]] = deque()

    def read(self) -> Scene:
        for machine in self.machines:
            machine.points += self._reader.points(machine.played.asset, machine.newest)
        with self._database.read() as connection:
            for machine in self.machines:
                self._read_changes(connection, machine)
            taken, rows = connection.execute(
                select(func.count(), func.sum(messages.c.rows)).select_from(messages)
            ).one()
            refused = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
            refused += self._refused_rows(connection)
            known = list_gateways(connection)
        rate, row_rate = self._rates(taken, rows or 0)
        now = max((m.newest.t for m in self.machines if m.newest), default=self._stage.begin)
        state = next((gateway.state or "unknown" for gateway in known), "unknown")
        done = all(self.over(machine) for machine in self.machines)
        return Scene(self.machines, now, taken, rows or 0, rate, row_rate, state, refused, done)

    def over(self, machine: Machine) -> bool:
        """Its record has been played. The last window may stay open, waiting for a channel that was not recorded."""
        newest = machine.newest
        return newest is not None and newest.t >= machine.played.last - 2 * self._stage.interval

    def _read_changes(self, connection: Connection, machine: Machine) -> None:
        table = alarm_changes.c
        query = select(alarm_changes, table.t.label("time")).where(table.asset == machine.asset)
        if machine.changes:
            query = query.where(table.number > machine.changes[-1].number)
        for row in connection.execute(query.order_by(table.number)):
            lives = [row.prognosis.get(name) for name in ("rul", "rul_lower", "rul_upper")]
            rul, lower, upper = (math.inf if value is None else float(value) for value in lives)
            drivers = tuple(each["channel"] for each in row.contributions[:2])
            key = machine.played.asset, row.id, row.number, row.time, row.level, row.previous
            machine.changes.append(Change(*key, rul, lower, upper, drivers))

    def _refused_rows(self, connection: Connection) -> int:
        refused = select(func.sum(counts.c.value)).where(counts.c.name.like("refused%"))
        return int(connection.execute(refused).scalar() or 0)

    def _rates(self, taken: int, rows: int) -> tuple[float, float]:
        now = time.monotonic()
        self._seen.append((now, taken, rows))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        then, before, rows_before = self._seen[0]
        passed = max(now - then, 1e-3)
        return (taken - before) / passed, (rows - rows_before) / passed
