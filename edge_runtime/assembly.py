"""Samples of single channels, at their own times, into observations of all channels at regular times.

Windows are right-closed, (end − interval, end], with ends at whole multiples of the interval since the epoch. An
observation carries the time of its end, and for each channel

* the aggregate over its samples in the window, or else that of its last window with samples,
* if the newest of these samples is younger than `max_age` at the end; otherwise NaN.
* A count is 0 in a window that has samples of other channels only.

A window without any sample is still an observation, until the machine has been silent for `max_gap`; the next one then
carries the gap in its `dt`. Samples are float32; a NaN is no sample. Of two samples of one channel with the same time
the first wins.

`assemble_table` does this for a table of history, `edge_runtime.intake.assembler` for samples as they arrive; both by the
functions here. A recording gives the same observations both ways, to the bit, if each channel comes in order and no
later than its allowance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from edge_runtime.arrays import F32, F64, I64, Bool

NANOS = 1e9  # per time unit of the class
AGGREGATES = ("last", "mean", "rms", "min", "max", "count")


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
    window = np.searchsorted(ends, window_end(time, rules.interval))
    readings, duplicates = np.empty((len(ends), len(rules.channels)), np.float32), 0
    for i, rule in enumerate(rules.channels):
        got = received[:, i]
        samples, again = distinct(window[got], time[got], columns[got, i])
        duplicates += len(again)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples stay infinite: the graph flags them
            readings[:, i] = _held(rule, ends, has_data, fold(rule.aggregate, len(ends), samples))
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


def _held(rule: Rule, ends: I64, has_data: Bool, folded: Fold) -> F64:
    """One channel of all observations of a machine: its aggregates, held while they are young."""
    if rule.aggregate == "count":
        return np.where(has_data, folded.n, np.nan)
    filled = np.flatnonzero(folded.n)
    if not len(filled):
        return np.full(len(ends), np.nan)
    source = np.cumsum(folded.n > 0) - 1  # for each window: the last one, so far, that has samples
    young = (source >= 0) & (ends - folded.newest[filled][source] < rule.max_age)
    return np.where(young, aggregate(rule.aggregate, folded)[filled][source], np.nan)


class ChannelSamples(NamedTuple):
    """Samples of one channel in the order of their windows, within a window in that of their times; one a time."""

    window: I64
    time: I64
    value: F64


class Fold(NamedTuple):
    """One channel in each of W windows: number of samples, what they add up to (by aggregate), time of the newest."""

    n: I64
    total: F64
    newest: I64


def distinct(window: I64, time: I64, values: F32) -> tuple[ChannelSamples, I64]:
    """Sorted samples of one channel, the first of each time and window, and the places of those that came again."""
    first = np.ones(len(time), bool)
    np.logical_or(time[1:] > time[:-1], window[1:] > window[:-1], out=first[1:])
    if first.all():
        return ChannelSamples(window, time, values.astype(np.float64)), np.zeros(0, np.int64)
    return ChannelSamples(window[first], time[first], values[first].astype(np.float64)), np.flatnonzero(~first)


def fold(kind: str, windows: int, samples: ChannelSamples, before: Fold | None = None) -> Fold:
    """Add up `samples` by window, after those that are already in `before`. Sums run one by one, in order."""
    n = np.bincount(samples.window, minlength=windows)
    last = np.cumsum(n) - 1
    empty = n == 0
    at = np.where(empty, 0, last) if len(samples.time) else None
    newest = np.zeros(windows, np.int64) if at is None else samples.time[at]
    total: F64 = np.zeros(windows)
    if kind in ("mean", "rms"):
        window, weights = samples.window, samples.value * samples.value if kind == "rms" else samples.value
        if before is not None:
            window, weights = np.append(np.arange(windows), window), np.append(before.total, weights)
        total = np.asarray(np.bincount(window, weights=weights, minlength=windows), np.float64)
    elif kind in ("min", "max") and at is not None:
        reduce = np.minimum if kind == "min" else np.maximum
        total[~empty] = reduce.reduceat(samples.value, (last - n + 1)[~empty])
        if before is not None:
            total = np.where(empty | (before.n == 0), total, reduce(total, before.total))
    elif kind == "last" and at is not None:
        total = samples.value[at]
    if before is None:
        return Fold(n, total, newest)
    if kind not in ("mean", "rms"):
        total = np.where(empty, before.total, total)
    return Fold(n + before.n, total, np.where(empty, before.newest, newest))


def aggregate(kind: str, folded: Fold) -> F64:
    """What `folded` comes to, in the windows that have samples."""
    if kind not in ("mean", "rms"):
        return folded.total
    mean = folded.total / np.maximum(folded.n, 1)
    return np.sqrt(mean) if kind == "rms" else mean
