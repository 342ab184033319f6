"""The open windows of all machines of a class: rows of samples as they arrive → observations.

What an observation is stands in `edge_runtime.assembly`. Here is when it closes: as soon as it waits for no channel any
more. Each has sent a sample at or after the end, or its late allowance has passed. The time that passes, machine by
machine, is its newest source time plus what the monotonic clock has run since: so stored messages that are sent again
quickly assemble as they did live, and one machine's clock is no other's business.

Times are kept apart from future ones by whoever calls `add`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.assembly import Fold, Rules, aggregate, distinct, fold, spans
from edge_runtime.intake.records import LONG_AGO, Records

NEVER = 2**63 - 1
MOST_ROWS, KEPT_ROWS = 2048, 512  # of one window: beyond, its older rows are added up, and the newest kept
# What closes at once: all machines of a class share their ends of windows, and alarms of others should not wait.
MOST_WINDOWS = 32  # of one machine
MOST_CLOSING = 60_000  # rows of all machines, about 20 ms; a window costs as much as EACH rows
EACH = 30
MOST_HEARD = 64


_Closing = tuple[int, int, int, "Window | None"]  # machine, end, how many of the machine close before, samples


@dataclass(frozen=True, eq=False)
class Closed:
    """Observations of distinct machines: `rows` and `time` int64[B], `readings` f32[B,C].

    `t_rx` int64[B]: when the newest sample came; 0 where none did.
    """

    rows: I64
    time: I64
    readings: F32
    t_rx: I64


class Window:
    """Samples of one machine in (start, end]; `before`: a `Fold` of each channel, of rows up to `until`, added up."""

    __slots__ = ("before", "end", "newest", "rows", "start", "t_rx", "until")

    def __init__(self, end: int, interval: int) -> None:
        self.start, self.end = end - interval, end
        self.rows: list[bytes] = []
        self.newest = LONG_AGO  # time of its newest sample
        self.until = LONG_AGO
        self.before: list[Fold] | None = None
        self.t_rx = 0  # when the newest of those that are no rows came


class Machine:
    """One machine's place in time."""

    __slots__ = ("closed", "end", "heard", "newest", "newest_closed", "offset", "target", "window", "windows")

    def __init__(self) -> None:
        self.windows: dict[int, Window] = {}  # open ones that have samples, by end
        self.window: Window | None = None  # that the last row went into
        self.closed = LONG_AGO  # end of the window closed last
        self.newest = LONG_AGO  # newest source time
        self.newest_closed = LONG_AGO  # newest time in a closed window
        self.offset = 0  # what the clock said when the newest came, less its time
        self.end = NEVER  # of the window to close next; NEVER: silent
        self.target = NEVER  # time that must have passed for it to close
        self.heard: dict[int, int] = {}  # bits of channels → newest time at which these spoke


class Assembler:
    """Windows of `machines` machines. `duplicate[m]` counts samples that came twice within an open window.

    `clock` is monotonic, in nanos; it may be replaced by one that says something else, followed by `shift`.
    """

    def __init__(self, rules: Rules, machines: int, records: Records, clock: Callable[[], int]) -> None:
        self.rules = rules
        self.clock = clock
        self.machines = [Machine() for _ in range(machines)]
        self.duplicate = np.zeros(machines, np.int64)
        self.records = records
        self._interval = rules.interval
        self._late = [rule.late for rule in rules.channels]
        self._waits = max(self._late, default=0) > 0
        self._all = (1 << len(rules.channels)) - 1
        self._allowance: dict[int, int] = {}  # bits of channels heard → how long the others are waited for
        # When the next window of each machine closes if nothing comes, by the clock. Written one by one by `add`, where
        # an array of the standard library is faster, and read all at once.
        self._due = array("q", [NEVER]) * machines
        self._due_view = np.frombuffer(self._due, np.int64)
        self._soonest = NEVER  # no window closes before
        self._duplicates = 0
        self.held_time = np.full((machines, len(rules.channels)), LONG_AGO, np.int64)
        self.held_value = np.full((machines, len(rules.channels)), np.nan, np.float32)
        counts = [rule.aggregate == "count" for rule in rules.channels]
        self._counts = np.flatnonzero(counts)
        self._max_age = np.array([rule.max_age for rule in rules.channels], np.int64)

    def add(self, row: int, time: int, packed: bytes, heard: int) -> bool:
        """A row of machine `row` that has a sample in the channels `heard` (bits); False: its observation is closed."""
        machine = self.machines[row]
        if time > machine.newest:
            machine.newest = time
            machine.offset = self.clock() - time
        window = machine.window
        if window is None or not window.start < time <= window.end:
            window = self._window(machine, time)
        if window is None or time <= window.until:
            self._schedule(machine, row)
            return False
        rows = window.rows
        rows.append(packed)
        if time > window.newest:
            window.newest = time
        if len(rows) >= MOST_ROWS:
            self._add_up(row, window)
        if self._waits:
            self._hear(machine, time, heard)
        due = machine.offset + machine.target
        self._due[row] = due
        if due < self._soonest:
            self._soonest = due
        return True

    def hear(self, row: int, time: int) -> bool:
        """A late sample of machine `row` at `time`; whether no newer one came: then its clock goes on from here."""
        machine = self.machines[row]
        if time > machine.newest:
            machine.newest, machine.offset = time, self.clock() - time
            self._schedule(machine, row)
        return time == machine.newest

    def mark(self, row: int, time: int, t_rx: int) -> int:
        """Something that is no row (a waveform) belongs to an observation of machine `row`: to the one returned.

        One that is closed by now is replaced by the next.
        """
        machine = self.machines[row]
        if time > machine.newest:
            machine.newest = time
            machine.offset = self.clock() - time
        window = self._window(machine, max(time, machine.closed + 1))
        assert window is not None  # only times up to `closed` have none
        window.newest, window.t_rx = max(window.newest, time), max(window.t_rx, t_rx)
        self._schedule(machine, row)
        return window.end

    def ready(self) -> list[Closed]:
        """Close what waits for nothing any more, or a part of it, the most overdue first; each machine's in order."""
        now = self.clock()
        if now <= self._soonest:
            return []
        closing: list[_Closing] = []
        left = MOST_CLOSING
        overdue = np.flatnonzero(self._due_view < now)
        for row in overdue[np.argsort(self._due_view[overdue], kind="stable")].tolist():
            machine, turn = self.machines[row], 0
            while self._due[row] < now and turn < MOST_WINDOWS and left > 0:
                left -= EACH + (len(machine.windows[machine.end].rows) if machine.end in machine.windows else 0)
                turn += self._close_next(machine, row, turn, closing)
            if left <= 0:
                break
        self._soonest = int(self._due_view.min(initial=NEVER))
        return self._observe(closing)

    def flush(self) -> list[Closed]:
        """Close all windows that have samples, and those before them, whatever they still wait for."""
        closing: list[_Closing] = []
        for row, machine in enumerate(self.machines):
            turn = 0
            while machine.windows:
                turn += self._close_next(machine, row, turn, closing)
        return self._observe(closing)

    def close(self, rows: I64, ends: I64) -> list[Closed]:
        """Close the windows of distinct machines up to `ends`, as they once were: what else waits keeps waiting."""
        closing: list[_Closing] = []
        for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
            machine = self.machines[row]
            for earlier in [other for other in machine.windows if other < end]:
                del machine.windows[earlier]
            if machine.closed < end:
                machine.end = end
                self._close_next(machine, row, 0, closing, silent=False)
        return self._observe(closing)

    def put_back(self, row: int, time: int, packed: bytes) -> None:
        """A row that was taken in before a restart: it tells nothing about the time that has passed."""
        window = self._window(self.machines[row], time)
        if window is not None and time > window.until:
            window.rows.append(packed)
            window.newest = max(window.newest, time)

    def take_duplicates(self) -> int:
        """How many samples came twice since the last call."""
        duplicates, self._duplicates = self._duplicates, 0
        return duplicates

    @property
    def deadline(self) -> int | None:
        """No window closes before the clock says so, if nothing comes; None: none closes at all."""
        return None if self._soonest == NEVER else self._soonest + 1

    def shift(self, by: int) -> None:
        """The clock's reading is `by` larger from now on for the same moment."""
        for row, machine in enumerate(self.machines):
            machine.offset += by
            self._schedule(machine, row)
        self._soonest = int(self._due_view.min(initial=NEVER))

    def _window(self, machine: Machine, time: int) -> Window | None:
        """The window that a sample at `time` falls into; None if it is closed."""
        if time <= machine.closed:
            return None
        end = -(-time // self._interval) * self._interval
        window = machine.windows.get(end)
        if window is None:
            window = machine.windows[end] = Window(end, self._interval)
            if end < machine.end:
                machine.end = end
                self._target(machine)
        machine.window = window
        return window

    def _hear(self, machine: Machine, time: int, heard: int) -> None:
        if time > machine.heard.get(heard, LONG_AGO):
            if len(machine.heard) >= MOST_HEARD:  # ever other channels: rather wait for the allowance to pass
                machine.heard.clear()
            machine.heard[heard] = time
            if time >= machine.end:
                self._target(machine)

    def _target(self, machine: Machine) -> None:
        if not self._waits:
            machine.target = machine.end
            return
        heard = 0
        for channels, time in machine.heard.items():
            if time >= machine.end:
                heard |= channels
        if heard == self._all:
            machine.target = machine.end + LONG_AGO  # nothing to wait for
        else:
            machine.target = machine.end + self._longest(heard)

    def _longest(self, heard: int) -> int:
        """The longest allowance among the channels that are not `heard`."""
        allowance = self._allowance.get(heard)
        if allowance is None:
            if len(self._allowance) >= MOST_HEARD:
                self._allowance.clear()
            allowance = max((late for i, late in enumerate(self._late) if not heard >> i & 1), default=0)
            self._allowance[heard] = allowance
        return allowance

    def _schedule(self, machine: Machine, row: int) -> None:
        """Say again when the next window of `machine` closes."""
        due = NEVER
        if machine.end != NEVER:
            self._target(machine)
            due = machine.offset + machine.target
        self._due[row] = due
        if due < self._soonest:
            self._soonest = due

    def _close_next(self, machine: Machine, row: int, turn: int, closing: list[_Closing], silent: bool = True) -> bool:
        """True: the next window is closed. False: after `max_gap` of silence, the next is one with samples, if any."""
        end = machine.end
        window = machine.windows.pop(end, None)
        skipped = window is None and silent and end - machine.newest_closed > self.rules.max_gap
        if skipped:
            machine.end = min(machine.windows, default=NEVER)
        else:
            if window is not None:
                machine.newest_closed = window.newest
                if window is machine.window:
                    machine.window = None
            closing.append((row, end, turn, window))
            machine.closed, machine.end = end, end + self._interval
        if machine.heard:
            earliest = machine.closed + self._interval
            machine.heard = {channels: time for channels, time in machine.heard.items() if time >= earliest}
        self._schedule(machine, row)
        return not skipped

    def _add_up(self, row: int, window: Window) -> None:
        """Add up the older rows of a window that has many. What then comes for their times is refused as late."""
        records = self.records.array(window.rows)
        records = records[np.argsort(records["time"], kind="stable")]
        cut = int(records["time"][-KEPT_ROWS - 1])
        old = records["time"] <= cut
        window.t_rx = max(window.t_rx, int(records["t_rx"][old].max()))
        window.before = self._fold(records[old], np.zeros(np.count_nonzero(old), np.int64), [window], [row])
        window.rows, window.until = self.records.rows(records[~old]), cut

    def _fold(self, records: Array, group: I64, windows: Sequence[Window], rows: Sequence[int]) -> list[Fold]:
        """The samples of `windows` (of machines `rows`), by channel; `group`: the place of each record's window."""
        time, values = records["time"], records["values"].astype(np.float64)
        received = ~np.isnan(values[:, : len(self.rules.channels)])
        once = _ascending(group, time)
        where = spans(len(windows), group, time) if once and received.all() else None
        before = _before(windows)
        folds = []
        for i, rule in enumerate(self.rules.channels):
            if where is not None:
                folds.append(fold(rule.aggregate, where, values[:, i], before[i] if before else None))
                continue
            kept = np.flatnonzero(received[:, i])
            if not once:
                first = distinct(group[kept], time[kept])
                again = np.asarray(rows)[group[kept[~first]]]
                np.add.at(self.duplicate, again, 1)
                self._duplicates += len(again)
                kept = kept[first]
            own = spans(len(windows), group[kept], time[kept])
            folds.append(fold(rule.aggregate, own, values[kept, i], before[i] if before else None))
        return folds

    def _observe(self, closing: list[_Closing]) -> list[Closed]:
        """The observations of windows that close."""
        if not closing:
            return []
        closing.sort(key=itemgetter(0))
        rows, ends, turn = (np.array(column) for column in list(zip(*closing, strict=True))[:3])
        windows = [window for _, _, _, window in closing if window is not None]
        has_data = np.array([window is not None for _, _, _, window in closing])
        shape = (len(windows), len(self.rules.channels))
        n, value, newest = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        t_rx = np.zeros(len(windows), np.int64)
        if windows:
            records, group, t_rx = self._records_of(windows)
            with np.errstate(over="ignore", invalid="ignore"):  # infinite samples stay infinite: the graph flags them
                for i, folded in enumerate(self._fold(records, group, windows, rows[has_data])):
                    n[:, i], newest[:, i] = folded.n, folded.newest
                    value[:, i] = aggregate(self.rules.channels[i].aggregate, folded)
        if len(windows) < len(closing):
            n, value, newest, t_rx = (_spread(column, has_data) for column in (n, value, newest, t_rx))
        if not turn.any():
            return [Closed(rows, ends, self._hold(rows, ends, n, value, newest, has_data), t_rx)]
        batches = []
        for k in range(int(turn.max()) + 1):
            at = np.flatnonzero(turn == k)
            readings = self._hold(rows[at], ends[at], n[at], value[at], newest[at], has_data[at])
            batches.append(Closed(rows[at], ends[at], readings, t_rx[at]))
        return batches

    def _records_of(self, windows: list[Window]) -> tuple[Array, I64, I64]:
        """The rows of `windows` in order of time, the place of each one's window, and when the newest came to each."""
        size = np.array([len(window.rows) for window in windows])
        records = self.records.array(chain.from_iterable(window.rows for window in windows))
        group = np.repeat(np.arange(len(windows)), size)
        t_rx = np.array([window.t_rx for window in windows])
        filled = size > 0
        t_rx[filled] = np.maximum(t_rx, np.append(records["t_rx"], 0)[np.cumsum(size) - 1])[filled]
        if not _ascending(group, records["time"]):
            records = records[np.lexsort((records["time"], group))]
        return records, group, t_rx

    def _hold(self, rows: I64, ends: I64, n: I64, value: F32, newest: I64, has_data: Bool) -> F32:
        """Readings of distinct machines: the aggregates of this window, or what is held of earlier ones."""
        value = np.where(n > 0, value, self.held_value[rows])
        newest = np.where(n > 0, newest, self.held_time[rows])
        self.held_value[rows], self.held_time[rows] = value, newest
        readings = np.where(ends[:, None] - newest < self._max_age, value, np.float32(np.nan))
        for i in self._counts:
            readings[:, i] = np.where(has_data, n[:, i], np.nan)
        return readings


def _ascending(group: I64, time: I64) -> bool:
    """Whether the times of each group rise, none twice."""
    return bool(((time[1:] > time[:-1]) | (group[1:] > group[:-1])).all())


def _before(windows: Sequence[Window]) -> list[Fold] | None:
    """By channel, what had been added up of each window; None if nothing had."""
    channels = next((len(window.before) for window in windows if window.before is not None), None)
    if channels is None:
        return None
    nothing = [Fold(np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int64))] * channels
    by_window = [nothing if window.before is None else window.before for window in windows]
    return [Fold(*map(np.concatenate, zip(*folds, strict=True))) for folds in zip(*by_window, strict=True)]


def _spread(values: Array, filled: Bool) -> Array:
    """`values` of the windows that are `filled`, and zeros for the others."""
    spread = np.zeros((len(filled), *values.shape[1:]), values.dtype)
    spread[filled] = values
    return spread
