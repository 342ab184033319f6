"""Samples of single channels, at their own times, into observations of all channels at regular times.

Windows are right-closed, (end − interval, end], with ends at whole multiples of the interval since the epoch. An
observation carries the time of its end, and for each channel

* the aggregate over its samples in the window, or else that of its last window with samples,
* if the newest of these samples is younger than `max_age` at the end; otherwise NaN.
* A count is 0 in a window that has samples of other channels only.

A window without any sample is still an observation, until the machine has been silent for `max_gap`; the next one then
carries the gap in its `dt`. Samples are float32; a NaN is no sample. Of two samples of one channel with the same time
the first wins.

`assemble_table` does this for a table of history, `edge_runtime.intake.assembler` for samples as they arrive; both by
the functions here. A recording gives the same observations both ways, to the bit, if each channel comes in order and no
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
        got = np.flatnonzero(received[:, i])
        kept = got[distinct(window[got], time[got])]
        duplicates += len(got) - len(kept)
        where = spans(len(ends), window[kept], time[kept])
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples stay infinite: the graph flags them
            folded = fold(rule.aggregate, where, columns[kept, i].astype(np.float64))
            readings[:, i] = _held(rule, ends, has_data, folded)
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


class Spans(NamedTuple):
    """How samples, sorted by window and time, lie in W windows: the `window` of each; by window how many there are, the
    place of the `last` and its time, `newest` (of no meaning in an `empty` one)."""

    window: I64
    n: I64
    last: I64
    newest: I64
    empty: Bool


class Fold(NamedTuple):
    """One channel in each of W windows: number of samples, what they add up to (by aggregate), time of the newest."""

    n: I64
    total: F64
    newest: I64


def distinct(window: I64, time: I64) -> Bool:
    """Which of the sorted samples of a channel are the first of their time and window."""
    first = np.ones(len(time), bool)
    np.logical_or(time[1:] > time[:-1], window[1:] > window[:-1], out=first[1:])
    return first


def spans(windows: int, window: I64, time: I64) -> Spans:
    """Where the samples of each of `windows` windows lie."""
    n = np.bincount(window, minlength=windows)
    last = np.cumsum(n) - 1
    empty = n == 0
    if not len(time):
        return Spans(window, n, last, np.zeros(windows, np.int64), empty)
    if empty.any():
        last = np.where(empty, 0, last)
    return Spans(window, n, last, time[last], empty)


def fold(kind: str, where: Spans, values: F64, before: Fold | None = None) -> Fold:
    """Add up the samples `values` by window, after those already in `before`. Sums run one by one, in order."""
    total = _total(kind, where, values, before)
    if before is None:
        return Fold(where.n, total, where.newest)
    if kind in ("min", "max"):
        reduce = np.minimum if kind == "min" else np.maximum
        total = np.where(before.n == 0, total, np.where(where.empty, before.total, reduce(total, before.total)))
    elif kind == "last":
        total = np.where(where.empty, before.total, total)
    return Fold(where.n + before.n, total, np.where(where.empty, before.newest, where.newest))


def _total(kind: str, where: Spans, values: F64, before: Fold | None) -> F64:
    """What samples add up to in each window; of `before` only what sums go on from."""
    windows = len(where.n)
    if kind in ("mean", "rms"):
        window, weights = where.window, values * values if kind == "rms" else values
        if before is not None:
            window, weights = np.append(np.arange(windows), window), np.append(before.total, weights)
        return np.asarray(np.bincount(window, weights=weights, minlength=windows), np.float64)
    if kind == "count" or not len(values):
        return np.zeros(windows)
    if kind == "last":
        return values[where.last]
    reduce = np.minimum if kind == "min" else np.maximum
    total = np.zeros(windows)
    filled = ~where.empty
    total[filled] = reduce.reduceat(values, (where.last - where.n + 1)[filled])
    return total


def aggregate(kind: str, folded: Fold) -> F64:
    """What `folded` comes to, in the windows that have samples."""
    if kind not in ("mean", "rms"):
        return folded.total
    mean = folded.total / np.maximum(folded.n, 1)
    return np.sqrt(mean) if kind == "rms" else mean
