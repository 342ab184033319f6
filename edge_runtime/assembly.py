"""Samples of single channels, at their own times, into observations of all channels at regular times.

Windows are right-closed, (end − interval, end], with ends at whole multiples of the interval since the epoch. An
observation carries the time of its end, and for each channel

* the aggregate over its samples in the window, or else that of its last window with samples,
* if the newest of these samples is younger than `max_age` at the end; otherwise NaN.
* A count is 0 in a window that has samples of other channels only.

A window without any sample is still an observation, until the machine has been silent for `max_gap`; the next one then
carries the gap in its `dt`. Samples are float32; a NaN is no sample. Of two samples of one channel with the same time
the first wins.

`assemble_table` does this for a table of history, `Assembler` for samples that arrive one by one. A recording gives the
same observations both ways, to the bit, if each channel comes in order and no later than its allowance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge_runtime.arrays import F32, F64, I64, Bool
from edge_runtime.contract.quality import Quality

NANOS = 1e9  # per time unit of the class
AGGREGATES = ("last", "mean", "rms", "min", "max", "count")
_LARGEST = float(np.finfo(np.float32).max)


class _TimeSpec(Protocol):
    @property
    def interval(self) -> float: ...
    @property
    def max_gap(self) -> float: ...


class _ChannelSpec(Protocol):
    @property
    def aggregate(self) -> str: ...
    @property
    def max_age(self) -> float | None: ...
    @property
    def late(self) -> float: ...


@dataclass(frozen=True)
class Rule:
    """How one channel enters an observation; durations in nanos."""

    name: str
    aggregate: str
    max_age: int
    late: int = 0  # how long an observation waits for this channel


@dataclass(frozen=True)
class Rules:
    """How observations of a class are assembled; durations in nanos, channels in the order of `readings`."""

    interval: int
    max_gap: int
    channels: tuple[Rule, ...]

    @classmethod
    def of(cls, time: _TimeSpec, channels: Iterable[tuple[str, _ChannelSpec]]) -> Rules:
        """From what a class file or a manifest declares, in time units; `max_age` None is one interval."""
        rules = []
        for name, spec in channels:
            if spec.aggregate not in AGGREGATES:
                raise ValueError(f"channel '{name}': aggregate '{spec.aggregate}' is none of {', '.join(AGGREGATES)}")
            max_age = time.interval if spec.max_age is None else spec.max_age
            rules.append(Rule(name, spec.aggregate, round(max_age * NANOS), round(spec.late * NANOS)))
        return cls(round(time.interval * NANOS), round(time.max_gap * NANOS), tuple(rules))


@dataclass(frozen=True)
class Assembled:
    """Observations of one machine: `time` int64[M] nanos, `readings` f32[M,C]; how many samples were `duplicates`."""

    time: I64
    readings: F32
    duplicates: int


def window_end(time: I64, interval: int) -> I64:
    """Ends of the windows that samples at `time` fall into.

    >>> window_end(np.array([0, 1, 60, 61]), 60)
    array([  0,  60,  60, 120])
    """
    ends: I64 = -(-time // interval) * interval
    return ends


def assemble_table(rules: Rules, time: I64, columns: F32) -> Assembled:
    """The observations of a table of one machine: `time` int64[T] nanos in any order, `columns` f32[T,C]."""
    received = ~np.isnan(columns)
    rows = np.flatnonzero(received.any(axis=1))
    rows = rows[np.argsort(time[rows], kind="stable")]
    if not len(rows):
        return Assembled(np.zeros(0, np.int64), np.zeros((0, len(rules.channels)), np.float32), 0)
    time, columns, received = time[rows], columns[rows], received[rows]
    ends, has_data = _all_ends(rules, time)
    readings, duplicates = np.empty((len(ends), len(rules.channels)), np.float32), 0
    for i, rule in enumerate(rules.channels):
        at, values = time[received[:, i]], columns[received[:, i], i].astype(np.float64)
        first = np.diff(at, prepend=at[:1] - 1) > 0
        duplicates += int(np.sum(~first))
        window = np.searchsorted(ends, window_end(at[first], rules.interval))
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples stay infinite: the graph flags them
            readings[:, i] = _column(rule, ends, has_data, window, at[first], values[first])
    return Assembled(ends, readings, duplicates)


def _all_ends(rules: Rules, time: I64) -> tuple[I64, Bool]:
    """Ends of all windows of samples at `time` (ascending), empty ones included, and whether each has a sample."""
    ends = window_end(time, rules.interval)
    last = np.flatnonzero(np.diff(ends, append=ends[-1] + 1))  # the newest sample of each window
    filled, newest = ends[last], time[last]
    still_awake = (newest + rules.max_gap) // rules.interval * rules.interval
    until = np.minimum(np.append(filled[1:] - rules.interval, filled[-1]), np.maximum(still_awake, filled))
    n = (until - filled) // rules.interval + 1  # each window with samples, and the empty ones after it
    starts = np.cumsum(n) - n
    offset = np.arange(n.sum()) - np.repeat(starts, n)
    return np.repeat(filled, n) + offset * rules.interval, offset == 0


def _column(rule: Rule, ends: I64, has_data: Bool, window: I64, time: I64, values: F64) -> F64:
    """One channel of all observations, from its samples (ascending in time) and the window each falls into."""
    n = np.bincount(window, minlength=len(ends))
    if rule.aggregate == "count":
        return np.where(has_data, n, np.nan)
    filled = np.flatnonzero(n)
    if not len(filled):
        return np.full(len(ends), np.nan)
    last = np.cumsum(n[filled]) - 1
    aggregate = _aggregate(rule.aggregate, values, window, n, filled, last)
    source = np.cumsum(n > 0) - 1  # for each window: the last one, so far, that has samples
    young = (source >= 0) & (ends - time[last][source] < rule.max_age)
    return np.where(young, aggregate[source], np.nan)


def _aggregate(kind: str, values: F64, window: I64, n: I64, filled: I64, last: I64) -> F64:
    """Aggregates of the windows with samples. Sums run one by one, in order, as `_fold` does it."""
    if kind == "last":
        return values[last]
    if kind in ("min", "max"):
        reduce = np.minimum if kind == "min" else np.maximum
        smallest: F64 = reduce.reduceat(values, last - n[filled] + 1)
        return smallest
    mean = np.bincount(window, weights=values * values if kind == "rms" else values)[filled] / n[filled]
    return np.sqrt(mean) if kind == "rms" else mean


@dataclass(frozen=True)
class Observation:
    """`time` nanos, `readings` f32[C]."""

    time: int
    readings: F32


@dataclass
class _Inbox:
    """Samples of one channel: those waiting for their window to close, and the window closed last."""

    waiting: dict[int, float] = field(default_factory=dict)  # time → value
    newest: int | None = None  # time of the newest sample ever
    closed: frozenset[int] = frozenset()  # times of the last window that had samples
    held: tuple[int, float] | None = None  # newest time and aggregate of that window


class Assembler:
    """Assembles the observations of one machine from samples as they arrive. Nothing that arrives makes it raise.

    An observation closes as soon as it waits for no channel any more: each has sent a sample at or after the end, or
    its late allowance has passed. The time that passes is the newest source time plus what `clock`, a monotonic clock
    in nanos, has run since: so stored messages that are replayed quickly assemble as they did live. Whoever calls `add`
    keeps away times that lie in the future.

    `counts`: samples accepted, duplicate, late (after their observation closed), unusable, unknown (no such channel).
    """

    def __init__(self, rules: Rules, clock: Callable[[], int]) -> None:
        self.rules = rules
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._inbox = {rule.name: _Inbox() for rule in rules.channels}
        self._end: int | None = None  # of the window to close next; None: silent
        self._closed: int | None = None  # end of the window closed last
        self._newest: int | None = None  # newest source time, and when it came
        self._newest_came = 0
        self._newest_closed = 0  # newest source time in a closed window

    def add(self, channel: str, time: int, value: float) -> Quality:
        """Take a sample; what is wrong with it, if anything: MISSING (unusable), DUPLICATE or LATE."""
        inbox = self._inbox.get(channel) if isinstance(channel, str) else None
        number = _sample(value)
        if inbox is None or number is None or not _is_time(time):
            self.counts["unknown" if inbox is None else "unusable"] += 1
            return Quality.MISSING
        if time in inbox.waiting or time in inbox.closed:
            self.counts["duplicate"] += 1
            return Quality.DUPLICATE
        if self._newest is None or time > self._newest:
            self._newest, self._newest_came = time, self._clock()
        if self._closed is not None and time <= self._closed:
            self.counts["late"] += 1
            return Quality.LATE
        self.counts["accepted"] += 1
        inbox.waiting[time] = number
        inbox.newest = time if inbox.newest is None else max(time, inbox.newest)
        end = -(-time // self.rules.interval) * self.rules.interval
        self._end = end if self._end is None else min(end, self._end)
        return Quality(0)

    def ready(self) -> list[Observation]:
        """Close and return the observations that wait for nothing any more, oldest first."""
        if self._newest is None:
            return []
        now = self._newest + self._clock() - self._newest_came
        return self._close(lambda end: self._waits_for_nothing(end, now))

    def flush(self) -> list[Observation]:
        """Close and return all observations for which there are samples, whatever they still wait for."""
        newest = max((max(inbox.waiting) for inbox in self._inbox.values() if inbox.waiting), default=None)
        return [] if newest is None else self._close(lambda end: end - self.rules.interval < newest)

    def _waits_for_nothing(self, end: int, now: int) -> bool:
        return all(
            now > end + rule.late or ((newest := self._inbox[rule.name].newest) is not None and newest >= end)
            for rule in self.rules.channels
        )

    def _close(self, may_close: Callable[[int], bool]) -> list[Observation]:
        observations = []
        while self._end is not None and may_close(self._end):
            end = self._end
            taken = {name: self._take(inbox, end) for name, inbox in self._inbox.items()}
            newest = max((max(samples) for samples in taken.values() if samples), default=None)
            if newest is None and end - self._newest_closed > self.rules.max_gap:
                first = min((min(inbox.waiting) for inbox in self._inbox.values() if inbox.waiting), default=None)
                self._end = None if first is None else -(-first // self.rules.interval) * self.rules.interval
                continue
            self._newest_closed = self._newest_closed if newest is None else newest
            observations.append(self._observe(end, taken, newest is not None))
            self._closed, self._end = end, end + self.rules.interval
        return observations

    def _take(self, inbox: _Inbox, end: int) -> dict[int, float]:
        """Remove and return the waiting samples up to `end`, in the order of time."""
        taken = {time: inbox.waiting[time] for time in sorted(inbox.waiting) if time <= end}
        for time in taken:
            del inbox.waiting[time]
        return taken

    def _observe(self, end: int, taken: dict[str, dict[int, float]], has_data: bool) -> Observation:
        readings = np.full(len(self.rules.channels), np.nan, np.float32)
        for i, rule in enumerate(self.rules.channels):
            inbox, samples = self._inbox[rule.name], taken[rule.name]
            if samples:
                inbox.closed = frozenset(samples)
                inbox.held = max(samples), _fold(rule.aggregate, list(samples.values()))
            if rule.aggregate == "count":
                readings[i] = len(samples) if has_data else np.nan
            elif inbox.held and end - inbox.held[0] < rule.max_age:
                readings[i] = _float32(inbox.held[1])
        return Observation(end, readings)


def _fold(kind: str, values: list[float]) -> float:
    """The aggregate of the samples of one window, in the order of time."""
    if kind in ("last", "count"):
        return values[-1]
    if kind in ("min", "max"):
        return min(values) if kind == "min" else max(values)
    total = 0.0
    for value in values:
        total += value * value if kind == "rms" else value
    mean = total / len(values)
    return math.sqrt(mean) if kind == "rms" else mean


def _sample(value: object) -> float | None:
    """`value` as a float32 that is not NaN, or None if it is no number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) or isinstance(value, str | bytes) else _float32(number)


def _float32(number: float) -> float:
    if abs(number) > _LARGEST:  # the cast would warn
        return math.copysign(math.inf, number)
    return float(np.float32(number))


def _is_time(time: object) -> bool:
    return isinstance(time, int | np.integer) and not isinstance(time, bool) and bool(-(2**62) < time < 2**62)
