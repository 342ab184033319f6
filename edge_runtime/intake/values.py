"""The values of a message → one number a channel. What comes from outside can be anything; each value is judged alone.

Messages of one kind name the same channels again and again, so where each value goes is found once a kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

NAN = math.nan
NUMBERS = frozenset((float, int))  # bool is neither
EVENTS = (0.0, 1.0, 2.0)
LARGEST = float(np.finfo(np.float32).max)
_MOST_PLANS, _MOST_NAMES, _LONGEST_NAME = 1024, 64, 128  # names beside the channels
_FITS = 10**300  # whole numbers up to here become a float


class Plan(NamedTuple):
    """For messages with the same names in the same order: `pick((*values, NaN))` is all channels, event and age.

    `places`: those that are named; `channels`: bits of the channels among them; `noted`: event or age are among them;
    `unknown`: number of names that are not of this class; `simple`: none is, and there is a channel among them.
    """

    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    places: tuple[int, ...]
    channels: int
    noted: bool
    unknown: int
    simple: bool


class Values:
    """Reads messages of a class with these `channels`; what it refuses is counted in `counts`."""

    def __init__(self, channels: Sequence[str], counts: Counter[str]) -> None:
        self.counts = counts
        self.plans: dict[tuple[Any, ...], Plan] = {}
        self._place = {name: i for i, name in enumerate((*channels, "event", "age"))}
        self._channels = len(channels)

    def plan(self, names: tuple[Any, ...]) -> Plan:
        """The plan for messages with these `names`; kept, but not ever more of them."""
        plan = self.plans.get(names)
        if plan is not None:
            return plan
        source = {self._place[name]: i for i, name in enumerate(names) if name in self._place}
        pick = itemgetter(*(source.get(place, len(names)) for place in range(len(self._place))))
        channels = sum(1 << place for place in source if place < self._channels)
        noted = any(place >= self._channels for place in source)
        unknown = len(names) - len(source)
        plan = Plan(pick, tuple(source), channels, noted, unknown, channels > 0 and not unknown)
        if plan.unknown <= _MOST_NAMES and all(len(str(name)) <= _LONGEST_NAME for name in names):
            if len(self.plans) >= _MOST_PLANS:
                self.plans.clear()
            self.plans[names] = plan
        return plan

    def unknown(self, names: Iterable[Any]) -> list[Any]:
        """Those of `names` that are not of this class."""
        return [name for name in names if name not in self._place]

    def read(self, plan: Plan, values: Mapping[str, Any]) -> tuple[list[float], int]:
        """All channels, event and age, NaN for what is missing or refused; bits of the channels received."""
        numbers, received = list(plan.pick((*values.values(), NAN))), plan.channels
        if plan.unknown:
            self.counts["unknown_channel"] += plan.unknown
        for place in plan.places:
            value = numbers[place]
            kind = type(value)
            if (kind is float and value == value) or (kind is int and -_FITS < value < _FITS):
                continue
            number = number_of(value)
            if number is None:
                self.counts["not_a_number"] += 1
                numbers[place] = NAN
                received &= ~(1 << place)
            else:
                numbers[place] = number
        if plan.noted:
            self._read_notes(numbers)
        return numbers, received

    def _read_notes(self, numbers: list[float]) -> None:
        event, age = numbers[-2:]
        if event == event and event not in EVENTS:
            self.counts["unknown_event"] += 1
            numbers[-2] = NAN
        if age == age and not 0 <= age <= LARGEST:
            self.counts["impossible_age"] += 1
            numbers[-1] = NAN


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
