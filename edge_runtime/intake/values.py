"""The values of a message → one number a channel. What comes from outside can be anything; each value is judged alone.

Messages of one kind name the same channels again and again, so where each value goes is found once a kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

NAN = math.nan
NUMBERS = frozenset((float, int))  # bool is neither
EVENTS = (0.0, 1.0, 2.0)
_MOST_PLANS = 1024
_LARGEST = float(np.finfo(np.float32).max)


class Plan(NamedTuple):
    """For messages with the same names in the same order: `pick((*values, NaN))` is all channels, event and age.

    `channels`: bits of those named. Not `simple`: event, age, or what is not of this class, is among the names.
    """

    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    channels: int
    simple: bool


class Values:
    """Reads messages of a class with these `channels`; what it refuses is counted in `counts`."""

    def __init__(self, channels: Sequence[str], counts: Counter[str]) -> None:
        self.counts = counts
        self.plans: dict[tuple[str, ...], Plan] = {}
        self._place = {name: i for i, name in enumerate((*channels, "event", "age"))}
        self._channels = len(channels)

    def plan(self, names: tuple[Any, ...]) -> Plan:
        """The plan for messages with these `names`; kept, but not ever more of them."""
        plan = self.plans.get(names)
        if plan is not None:
            return plan
        source = {self._place[name]: i for i, name in enumerate(names) if name in self._place}
        nothing = len(names)
        pick = itemgetter(*(source.get(place, nothing) for place in range(len(self._place))))
        channels = sum(1 << place for place in source)
        plan = Plan(pick, channels, 0 < len(names) == len(source) and channels < 1 << self._channels)
        if plan.simple:
            if len(self.plans) >= _MOST_PLANS:
                self.plans.clear()
            self.plans[names] = plan
        return plan

    def read(self, values: Mapping[str, Any]) -> tuple[list[float], int, bool]:
        """All channels, event and age, value by value; bits of the channels received; whether any name is known."""
        row, received, known = [NAN] * len(self._place), 0, False
        for name, value in values.items():
            place = self._place.get(name)
            if place is None:
                self.counts["unknown_channel"] += 1
                continue
            known = True
            number = number_of(value)
            if number is None:
                self.counts["not_a_number"] += 1
            elif place == self._channels and number not in EVENTS:
                self.counts["unknown_event"] += 1
            elif place > self._channels and not 0 <= number <= _LARGEST:
                self.counts["impossible_age"] += 1
            else:
                row[place] = number
                received |= 1 << place
        return row, received & (1 << self._channels) - 1, known


def number_of(value: object) -> float | None:
    """`value` as a number that is not NaN, or None. Infinities are numbers: the graph flags them.

    >>> number_of(3), number_of(True), number_of("3"), number_of(10**400), number_of(float("nan"))
    (3.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) else number
