"""The intake: what sources send about the machines of one class → batches of observations for the fleet.

Classes whose manifest says `assemble` get windows (`edge_runtime.assembler`); of the others each message is one
observation. What cannot be used is refused, message by message or value by value, and counted by reason:

    unknown_asset, unusable_time, before_1990 (the wrong unit of time?), future, empty (names nothing of the class)
    unknown_channel, not_a_number, unknown_event, impossible_age, wrong_shape (of a waveform)
    late (its observation is closed, or the machine's clock went back), duplicate, superseded (a newer waveform came)

All are of messages but for those of the second line, and `duplicate` where windows are assembled: these count values.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_runtime import intake_state
from edge_runtime.arrays import I64, Array
from edge_runtime.assembler import LONG_AGO, Assembler, Closed
from edge_runtime.assembly import NANOS, Rules
from edge_runtime.batch import Batch, Samples
from edge_runtime.clock import Clock
from edge_runtime.contract.names import check_identifier
from edge_runtime.manifest import Contract
from edge_runtime.notes import Notes
from edge_runtime.records import Records
from edge_runtime.snapshots import Receipt, Snapshots
from edge_runtime.sources.source import Arrival, Source, WaveformArrival
from edge_runtime.values import NAN, NUMBERS, Values

YEAR_1990 = 631_152_000_000_000_000
SETTLE = 10_000_000_000
_LIMIT = 2**61


class Intake:
    """Intake of the machines `assets` of the class of `contract`: rows of batches are places in `assets`.

    Times more than `max_ahead` nanos ahead of UTC are refused. After a restart the clock that closes windows stands
    still for `settle` nanos, so that sources can send again what was not acknowledged. `late` and `duplicate` count by
    machine. One round is `add`…, `take_samples`, `ready`, so that
    the journal tells them in this order, too. Not for use by several threads at once.
    """

    def __init__(
        self, contract: Contract, assets: Sequence[str], clock: Clock, max_ahead: int, settle: int = SETTLE
    ) -> None:
        self.assets = tuple(check_identifier("asset", asset) for asset in assets)
        self.channels = tuple(channel.name for channel in contract.channels)
        self.counts: Counter[str] = Counter()
        seconds = contract.time.unit == "s"
        self.assembles = contract.time.assemble and seconds
        self.rules = Rules.of(contract.time, [(channel.name, channel) for channel in contract.channels])
        self.late = np.zeros(len(self.assets), np.int64)
        self.records = Records(len(self.channels) + 2)
        self.assembler = Assembler(self.rules, len(self.assets) if self.assembles else 0, self.records)
        self.duplicate = self.assembler.duplicate if self.assembles else np.zeros(len(self.assets), np.int64)
        self.notes = Notes(1 / NANOS / contract.life.time_units if self.assembles else 0.0)
        self.snapshots = Snapshots(contract.waveforms)
        self.last: I64 = np.full(len(self.assets), LONG_AGO, np.int64)  # time of the last observation given out
        self._taken = array("q", self.last.tobytes())  # … of the last taken in
        self._values = Values(self.channels, self.counts)
        self._plans = self._values.plans
        self._index = {asset: row for row, asset in enumerate(self.assets)}
        self._earliest, self._ahead = (YEAR_1990, max_ahead) if seconds else (-_LIMIT, 2 * _LIMIT)
        self._rows: list[bytes] = []  # assembling: for the journal; otherwise: the observations
        self._receipts: list[Receipt] = []  # of the rows
        self._refused: list[Receipt] = []
        self._clock = clock
        self._utc = clock.utc
        self._now = clock.monotonic
        self._settle = settle
        self._stopped = 0  # UTC when the clock stopped, while it stands still
        self._resumes = 0  # … monotonic, until when

    # ------------------------------------------------------------------ in

    def add(self, arrival: Arrival) -> None:
        """Take in the values of one machine at one time; what is wrong with them is counted."""
        asset, time, values, source, receipt = arrival
        t_rx = self._utc()
        try:
            row = self._index[asset]
            plan = self._plans[tuple(values)]
            given = (*values.values(), NAN)
            if (
                type(time) is int
                and self._earliest <= time <= t_rx + self._ahead
                and not (plan.noted or plan.unknown)
                and NUMBERS.issuperset(map(type, given))
            ):
                packed = self.records.pack(row, time, t_rx, *plan.pick(given))
                if not self.assembles:
                    if time > self._taken[row]:
                        self._taken[row] = time
                        self._rows.append(packed)
                        if receipt is not None:
                            self._receipts.append((source, receipt))
                        return
                elif (total := sum(values.values())) == total:  # otherwise a NaN is among them
                    if self.assembler.add(row, time, self._now(), packed, plan.channels):
                        self._rows.append(packed)
                        if receipt is not None:
                            self._receipts.append((source, receipt))
                        return
                    self.counts["late"] += 1
                    self.late[row] += 1
                    self._refuse(source, receipt)
                    return
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
            pass  # anything may have come: judge it piece by piece
        self._add_carefully(arrival, t_rx)

    def add_waveform(self, arrival: WaveformArrival) -> None:
        """Keep a waveform for the first observation still open from its time on.

        One that is older than the last observation by more than an interval is late.
        """
        t_rx = self._utc()
        row = self._place(arrival, t_rx)
        shape = self.snapshots.shapes.get(arrival.channel) if isinstance(arrival.channel, str) else None
        samples = arrival.samples
        wrong = None
        if row is None:
            return
        last = self.assembler.machines[row].closed if self.assembles else int(self._taken[row])
        if shape is None:
            wrong = "unknown_channel"
        elif not isinstance(samples, np.ndarray) or samples.shape != shape or samples.dtype.kind not in "fiu":
            wrong = "wrong_shape"
        elif arrival.time <= self.snapshots.used.get((row, arrival.channel), LONG_AGO):
            wrong = "duplicate"
        elif arrival.time <= last - self.rules.interval:
            wrong = "late"
            self.late[row] += 1
        if wrong:
            self.counts[wrong] += 1
            self._refuse(arrival.source, arrival.receipt)
            return
        at = self.assembler.mark(row, arrival.time, self._now(), t_rx) if self.assembles else arrival.time
        for one in self.snapshots.add(row, at, arrival):
            self.counts["superseded"] += 1
            self._refuse(one.source, one.receipt)

    def _add_carefully(self, arrival: Arrival, t_rx: int) -> None:
        row = self._place(arrival, t_rx)
        if row is None:
            return
        values, time = arrival.values, arrival.time
        if not isinstance(values, Mapping):
            values = {}
        elif len(values) <= 4 * len(self.channels) + 64:
            self._values.plan(tuple(values))  # the next of its kind goes the short way
        numbers, received, known = self._values.read(values)
        event, age = numbers[-2:]
        if not known:
            self.counts["empty"] += 1
            self._refuse(arrival.source, arrival.receipt)
            return
        packed = self.records.pack(row, time, t_rx, *numbers)
        if self.assembles:
            self._add_samples(arrival, row, packed, received, event, age)
        elif time > self._taken[row]:
            self._taken[row] = time
            self._rows.append(packed)
            if arrival.receipt is not None:
                self._receipts.append((arrival.source, arrival.receipt))
            if event > 0:
                self.notes.know(row, time, int(event))
        else:
            again = time == self._taken[row]
            self.counts["duplicate" if again else "late"] += 1
            (self.duplicate if again else self.late)[row] += 1
            receipt = (arrival.source, arrival.receipt)
            if not (event > 0 and self.notes.event(row, time, int(event), receipt)):
                self._refuse(*receipt)

    def _add_samples(self, arrival: Arrival, row: int, packed: bytes, received: int, event: float, age: float) -> None:
        used = False
        if event > 0:
            used = self.notes.event(row, arrival.time, int(event))
            self.counts["duplicate"] += not used
        if age == age:
            self.notes.age(row, arrival.time, age)
            used = True
        if received:
            taken = self.assembler.add(row, arrival.time, self._now(), packed, received)
            used |= taken
            self.counts["late"] += not taken
            self.late[row] += not taken
        if used:
            self._rows.append(packed)
            if arrival.receipt is not None:
                self._receipts.append((arrival.source, arrival.receipt))
        else:
            self._refuse(arrival.source, arrival.receipt)

    def _place(self, arrival: Arrival | WaveformArrival, t_rx: int) -> int | None:
        """The row of an arrival of a known machine at a possible time."""
        asset, time = arrival.asset, arrival.time
        row = self._index.get(asset) if isinstance(asset, str) else None
        reason = None
        if row is None:
            reason = "unknown_asset"
        elif type(time) is not int or not -_LIMIT <= time <= _LIMIT:
            reason = "unusable_time"
        elif time < self._earliest:
            reason = "before_1990"
        elif time > t_rx + self._ahead:
            reason = "future"
        if reason is None:
            return row
        self.counts[reason] += 1
        self._refuse(arrival.source, arrival.receipt)
        return None

    def _refuse(self, source: Source, receipt: Any) -> None:
        if receipt is not None:
            self._refused.append((source, receipt))

    # ------------------------------------------------------------------ out

    def take_samples(self) -> tuple[Samples | None, list[Receipt]]:
        """What arrived since the last call and waits for its observation, for the journal; and the receipts that may
        be acknowledged once this is committed, those of what was refused among them."""
        receipts, self._refused = self._refused, []
        if not self.assembles:
            return None, receipts
        receipts += self._receipts
        rows, self._rows, self._receipts = self._rows, [], []
        if not rows:
            return None, receipts
        records = self.records.array(rows)
        return Samples(*(records[name].copy() for name in ("row", "time", "t_rx", "values"))), receipts

    def ready(self) -> list[Batch]:
        """Closed observations: in batches of distinct machines, those of a machine in order."""
        if self.assembles:
            return [self._batch(closed) for closed in self.assembler.ready(self._now())]
        if not self._rows:
            return []
        records, receipts = self.records.array(self._rows), tuple(self._receipts)
        self._rows, self._receipts = [], []
        batches = [self._as_they_came(part) for part in _turns(records)]
        # Batches are committed in order: when the last of them is, all are.
        batches[-1] = _with_receipts(batches[-1], receipts)
        return batches

    def next_deadline(self) -> int | None:
        """Monotonic nanos when `ready` should be called even if nothing arrives; None: not before something does."""
        self._now()  # the clock runs from now on, if it stood still
        return self.assembler.deadline

    # ------------------------------------------------------------------ a restart

    def state(self) -> bytes:
        """For a checkpoint, after `take_samples` and `ready`."""
        return intake_state.pack(self, self._utc(), self._now())

    def restore(self, state: bytes) -> None:
        """Go on from `state`, in a new intake; then the journal's entries after it are replayed. `StateError` if it
        cannot be read."""
        self._stop(intake_state.unpack(self, state))
        self._taken = array("q", self.last.tobytes())

    def replay_samples(self, samples: Samples) -> None:
        """Samples that were journalled: back to where they waited."""
        self._stop(int(samples.t_rx.max(initial=0)))
        records = np.empty(len(samples.rows), self.records.dtype)
        records["row"], records["time"], records["t_rx"] = samples.rows, samples.time, samples.t_rx
        records["values"] = samples.values
        received = ~np.isnan(samples.values)
        columns = zip(*(column.tolist() for column in (samples.rows, samples.time, samples.t_rx)), strict=True)
        for (row, time, t_rx), values, got, packed in zip(
            columns, samples.values, received, self.records.rows(records), strict=True
        ):
            if got[-2] and values[-2] > 0:
                self.notes.event(row, time, int(values[-2]))
            if got[-1]:
                self.notes.age(row, time, float(values[-1]))
            if got[:-2].any():
                channels = int.from_bytes(np.packbits(got[:-2], bitorder="little").tobytes(), "little")
                self.assembler.add(row, time, t_rx, packed, channels)

    def replay_batch(self, batch: Batch) -> None:
        """Observations that were journalled: they are closed."""
        self._stop(int(batch.t_rx.max(initial=0)))
        if self.assembles:
            self.assembler.close(batch.rows, batch.time)
        else:
            self.last[batch.rows] = np.maximum(self.last[batch.rows], batch.time)
            self._taken = array("q", self.last.tobytes())
            for i in np.flatnonzero(batch.event > 0).tolist():
                self.notes.know(int(batch.rows[i]), int(batch.time[i]), int(batch.event[i]))
        self.notes.take(batch.rows, batch.time)
        for name, (_, places) in batch.waveforms.items():
            for i in places.tolist():
                self.snapshots.used[int(batch.rows[i]), name] = int(batch.time[i])

    def _stop(self, utc: int) -> None:
        """The clock that closes windows stands still at `utc`, or where it stands already, until the replay is over."""
        self._stopped = max(utc, self._stopped)
        self._now = self._go_on

    def _go_on(self) -> int:
        self._resumes = self._clock.monotonic() + self._settle
        self.assembler.shift(self._resumes - self._stopped)
        self._now = self._settling
        return self._resumes

    def _settling(self) -> int:
        now = self._clock.monotonic()
        if now < self._resumes:
            return self._resumes
        self._now = self._clock.monotonic
        return now

    def _as_they_came(self, records: Array) -> Batch:
        rows, time, values = records["row"].copy(), records["time"].copy(), records["values"]
        self.last[rows] = time
        event, _, receipts = self.notes.take(rows, time)
        own = np.nan_to_num(values[:, -2])
        waveforms, more, superseded = self.snapshots.take(rows, time)
        self.counts["superseded"] += superseded
        event = np.where((own == 0) | ((event > 0) & (event < own)), event, own)
        readings = np.ascontiguousarray(values[:, :-2])
        return Batch(
            rows, time, readings, event, values[:, -1].copy(), waveforms, records["t_rx"].copy(), (*receipts, *more)
        )

    def _batch(self, closed: Closed) -> Batch:
        event, age, _ = self.notes.take(closed.rows, closed.time)
        waveforms, receipts, superseded = self.snapshots.take(closed.rows, closed.time)
        self.counts["superseded"] += superseded
        t_rx = np.where(closed.t_rx == 0, self._utc(), closed.t_rx)
        return Batch(closed.rows, closed.time, closed.readings, event, age, waveforms, t_rx, tuple(receipts))


def _turns(records: Array) -> list[Array]:
    """Rows of distinct machines, then the second ones of those that have two, …"""
    rows = records["row"]
    order = np.argsort(rows, kind="stable")
    first = np.diff(rows[order], prepend=-1) != 0
    if first.all():
        return [records]
    place = np.arange(len(rows))
    turn = np.empty(len(rows), np.int64)
    turn[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return [records[turn == k] for k in range(int(turn.max()) + 1)]


def _with_receipts(batch: Batch, receipts: tuple[Receipt, ...]) -> Batch:
    return replace(batch, receipts=(*batch.receipts, *receipts)) if receipts else batch
