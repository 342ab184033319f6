"""Events and ages on their way into observations.

An event goes with the first observation still open at its time or later: it may come late, but is never lost, for it
says what the twin has to forget. Of several the new life counts: it forgets more. An event makes no observation by
itself. The age in an observation is the newest one told, moved on to the observation's time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.contract.event import Event

_REMEMBERED = 16  # events of a machine, so that one that is sent again counts once
_MOST = 64  # events of a kind, and ages, of a machine that wait


class Notes:
    """Of all machines of a class. `age_rate`: how much the age grows a nano."""

    def __init__(self, age_rate: float) -> None:
        self.age_rate = age_rate
        self.events: dict[int, list[tuple[int, int]]] = {}  # machine → (time, event) that wait
        self.known: dict[int, list[tuple[int, int]]] = {}  # machine → (time, event) seen last, in order
        self.ages: dict[int, list[tuple[int, float]]] = {}  # machine → (time, age) that wait
        self.held: dict[int, tuple[int, float]] = {}  # machine → the newest that went into an observation

    def know(self, row: int, time: int, event: int) -> bool:
        """Remember an event; False if it is an old one."""
        known = self.known.setdefault(row, [])
        if (time, event) in known or (len(known) >= _REMEMBERED and (time, event) < known[0]):
            return False
        known.append((time, event))
        known.sort()
        del known[:-_REMEMBERED]
        return True

    def event(self, row: int, time: int, event: int) -> bool:
        """An event to go with an observation; False if it is an old one, or many wait."""
        waiting = self.events.get(row, [])
        if sum(other == event for _, other in waiting) >= _MOST or not self.know(row, time, event):
            return False
        waiting.append((time, event))
        self.events[row] = waiting
        return True

    def age(self, row: int, time: int, age: float) -> None:
        if any(
            event == Event.NEW_LIFE and told > time and (told, event) not in self.events.get(row, ())
            for told, event in self.known.get(row, ())
        ):
            return  # of the life before one that has begun: the twin has forgotten that
        waiting = self.ages.setdefault(row, [])
        waiting.append((time, age))
        del waiting[:-_MOST]

    def take(self, rows: I64, time: I64) -> tuple[F32, F32]:
        """Event and age f32[B] of observations of distinct machines."""
        event, age = np.zeros(len(rows), np.float32), np.full(len(rows), np.nan, np.float32)
        if self.events or self.ages or self.held:
            for i, (row, end) in enumerate(zip(rows.tolist(), time.tolist(), strict=True)):
                if row in self.events:
                    event[i] = self._take_event(row, end)
                if row in self.ages or row in self.held:
                    age[i] = self._age(row, end)
        return event, age

    def _take_event(self, row: int, end: int) -> int:
        taken, self.events[row] = _split(self.events[row], end)
        if not self.events[row]:
            del self.events[row]
        born = max((time for time, event in taken if event == Event.NEW_LIFE), default=None)
        if born is not None:  # what was told before is the age of the life before
            self.ages[row] = [told for told in self.ages.get(row, ()) if told[0] >= born]
            if row in self.held and self.held[row][0] < born:
                del self.held[row]
        return min((event for _, event in taken), default=0)

    def _age(self, row: int, end: int) -> float:
        taken, rest = _split(self.ages.get(row, ()), end)
        if taken:
            newest = max(taken, key=lambda told: told[0])
            if row not in self.held or newest[0] >= self.held[row][0]:
                self.held[row] = newest
        if rest:
            self.ages[row] = rest
        else:
            self.ages.pop(row, None)
        if row not in self.held:
            return np.nan
        time, age = self.held[row]
        return age + (end - time) * self.age_rate


def _split(waiting: Iterable[Any], end: int) -> tuple[list[Any], list[Any]]:
    waiting = list(waiting)
    return [item for item in waiting if item[0] <= end], [item for item in waiting if item[0] > end]
