"""The intake: what sources send about the machines of one class → batches of observations for the fleet.

Classes whose manifest says `assemble` get windows (`intake.assembler`); of the others each message is one observation.
What cannot be used is refused, message by message or value by value, and counted by reason:

    unknown_asset, unusable_time, before_1990 (the wrong unit of time?), future, empty (names nothing of the class)
    unknown_channel, not_a_number, unknown_event, impossible_age, wrong_shape (of a waveform)
    late (its observation is closed, or the machine's clock went back), duplicate, superseded (a newer waveform came)
    unused (a waveform of a machine that makes no observations)

All are of messages but for those of the second line, and `duplicate` where windows are assembled: these count values.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_runtime.arrays import I64, Array
from edge_runtime.assembly import NANOS, Rules
from edge_runtime.batch import Batch, Samples
from edge_runtime.clock import Clock
from edge_runtime.contract.names import check_identifier
from edge_runtime.intake import state as states
from edge_runtime.intake.assembler import Assembler, Closed
from edge_runtime.intake.notes import Notes
from edge_runtime.intake.passage import Passage
from edge_runtime.intake.records import LONG_AGO, Records
from edge_runtime.intake.snapshots import Receipt, Snapshots
from edge_runtime.intake.strangers import Strangers
from edge_runtime.intake.values import LARGEST, NAN, NUMBERS, Values
from edge_runtime.manifest import Contract
from edge_runtime.sources.source import Arrival, WaveformArrival

YEAR_1990 = 631_152_000_000_000_000
SETTLE = 10_000_000_000
PATIENCE = 60_000_000_000
_LIMIT = 2**61


class Intake:
    """Intake of the machines `assets` of the class of `contract`: rows of batches are places in `assets`.

    Times more than `max_ahead` nanos ahead of UTC are refused. Where nothing is assembled, a message that names a
    channel, event or age is an observation, whatever is left of its values. After a restart the clock that closes
    windows stands still for `settle` nanos, so that sources can send again what was not acknowledged. `late` and
    `duplicate` int64[N] count by machine. One round is `add`…, `take_samples`, `ready`, in this order, so that the
    journal tells them in this order, too. Not for use by several threads at once.
    """

    def __init__(
        self, contract: Contract, assets: Sequence[str], clock: Clock, max_ahead: int, settle: int = SETTLE
    ) -> None:
        self.assets = tuple(check_identifier("asset", asset) for asset in assets)
        self.channels = tuple(channel.name for channel in contract.channels)
        self.counts: Counter[str] = Counter()
        seconds = contract.time.unit == "s"
        self.assembles = contract.time.assemble and seconds
        self.records = Records(len(self.channels) + 2)
        self.rules = Rules.of(contract.time, [(channel.name, channel) for channel in contract.channels])
        machines = len(self.assets)
        self.assembler = Assembler(self.rules, machines * self.assembles, self.records, clock.monotonic)
        self.passage = Passage(machines, self.records)
        self.late: I64 = np.zeros(machines, np.int64)
        self.duplicate: I64 = self.assembler.duplicate if self.assembles else np.zeros(machines, np.int64)
        self.notes = Notes(1 / NANOS / contract.life.time_units)
        self.snapshots = Snapshots(contract.waveforms)
        self._values = Values(self.channels, self.counts)
        self._strangers = Strangers()
        self._plans = self._values.plans
        self._index = {asset: row for row, asset in enumerate(self.assets)}
        self._earliest, self._ahead = (YEAR_1990, max_ahead) if seconds else (-_LIMIT, 2 * _LIMIT)
        self._accept = self.assembler.add if self.assembles else self.passage.add
        self._rows: list[bytes] = []  # that assemble, for the journal
        self._receipts: list[Receipt] = []  # of the rows that were accepted
        self._refused: list[Receipt] = []
        self.patience = self.rules.interval + PATIENCE if seconds else 10 * PATIENCE
        self._look = 0  # monotonic, when to see what has waited for too long
        self._clock, self._utc = clock, clock.utc
        self._settle = settle
        self._stopped = 0  # UTC at which the clock stands still until a replay is over
        self._resumes = 0  # monotonic, when it goes on

    # ------------------------------------------------------------------ in

    def add(self, arrival: Arrival) -> None:
        """Take in the values of one machine at one time; what is wrong with them is counted."""
        asset, time, values, source, receipt = arrival
        t_rx = self._utc()
        try:
            row = self._index[asset]
            plan = self._plans[tuple(values)]
            numbers = plan.pick((*values.values(), NAN))
            if (
                type(time) is int
                and self._earliest <= time <= t_rx + self._ahead
                and plan.simple
                and NUMBERS.issuperset(map(type, numbers))
                and (total := sum(values.values())) == total  # it is NaN if one of them is
                and not (plan.noted and self._noteworthy(numbers[-2], numbers[-1]))
            ):
                packed = self.records.pack(row, time, t_rx, *numbers)
                if self._accept(row, time, packed, plan.channels):
                    if self.assembles:
                        self._rows.append(packed)
                    if receipt is not None:
                        self._receipts.append((source, receipt))
                    return
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
            pass  # anything may have come
        self._add_carefully(arrival, t_rx)

    def add_waveform(self, arrival: WaveformArrival) -> None:
        """Keep a waveform for the first observation still open from its time on.

        One that is older than the last observation by more than an interval is late.
        """
        t_rx = self._utc()
        row = self._place(arrival, t_rx)
        if row is None:
            return
        channel, time, samples = arrival.channel, arrival.time, arrival.samples
        shape = self.snapshots.shapes.get(channel) if isinstance(channel, str) else None
        last = self.assembler.machines[row].closed if self.assembles else self.passage.taken[row]
        if shape is None:
            self._refuse(arrival, "unknown_channel")
            known = tuple(self.snapshots.shapes)
            self._strangers.see(arrival.source, "waveform", channel, "the class does not have it", known)
        elif not isinstance(samples, np.ndarray) or samples.shape != shape or samples.dtype.kind not in "fiu":
            self._refuse(arrival, "wrong_shape")
        elif time <= self.snapshots.used.get((row, channel), LONG_AGO):
            self._refuse(arrival, "duplicate", row)
        elif time <= last - self.rules.interval:
            self._refuse(arrival, "late", row)
        else:
            at = self.assembler.mark(row, time, t_rx) if self.assembles else time
            for other in self.snapshots.add(row, at, arrival, self._clock.monotonic()):
                self._refuse(other, "superseded")

    def _add_carefully(self, arrival: Arrival, t_rx: int) -> None:
        """The same for whatever may have come, value by value."""
        row = self._place(arrival, t_rx)
        if row is None:
            return
        time, values = arrival.time, arrival.values if isinstance(arrival.values, Mapping) else {}
        plan = self._values.plan(tuple(values))
        if plan.unknown:
            for name in self._values.unknown(values):
                self._strangers.see(arrival.source, "channel", name, "the class does not have it", self.channels)
        numbers, received = self._values.read(plan, values)
        packed = self.records.pack(row, time, t_rx, *numbers)
        event, age = numbers[-2:]
        says_nothing = self.assembles and not received and event == 0 and not age >= 0  # "no event" is all it says
        if not plan.places or says_nothing:
            self._refuse(arrival, "empty")
        elif self.assembles:
            journal = [packed] if self._note(row, time, event, age) else []
            if received and self._accept(row, time, packed, received):
                journal = [packed]
            elif received:
                self.counts["late"] += 1
                self.late[row] += 1
                nothing = [NAN] * len(self.channels)
                journal = [self.records.pack(row, time, t_rx, *nothing, event, age)] if journal else []
                if self.assembler.hear(row, time):  # the machine's clock is behind: a restart has to know
                    journal.append(self.records.pack(row, time, t_rx, *nothing, NAN, NAN))
            self._rows += journal
            (self._receipts if journal else self._refused).append((arrival.source, arrival.receipt))
        elif self._accept(row, time, packed, received):
            self._receipts.append((arrival.source, arrival.receipt))
            if event > 0:
                self.notes.know(row, time, int(event))
        else:
            if event > 0 and self.notes.event(row, time, int(event)):  # the event of a row that is late is not lost
                self._rows.append(self.records.pack(row, time, t_rx, *[NAN] * len(self.channels), event, NAN))
            self._refuse(arrival, "duplicate" if time == self.passage.taken[row] else "late", row)

    def _noteworthy(self, event: float, age: float) -> bool:
        """Whether there is more to do than to keep them with the row."""
        return event < 0 or event > 0 or age < 0 or age > LARGEST or (self.assembles and age >= 0)

    def _note(self, row: int, time: int, event: float, age: float) -> bool:
        """Keep event and age; whether there is anything new."""
        noted = False
        if event > 0:
            noted = self.notes.event(row, time, int(event))
            if not noted:
                self.counts["duplicate"] += 1
        if age >= 0:
            self.notes.age(row, time, age)
            noted = True
        return noted

    def _place(self, arrival: Arrival | WaveformArrival, t_rx: int) -> int | None:
        """The row of an arrival of a known machine at a possible time."""
        asset, time = arrival.asset, arrival.time
        row = self._index.get(asset) if isinstance(asset, str) else None
        if row is None:
            self._refuse(arrival, "unknown_asset")
        elif type(time) is not int or not -_LIMIT < time < _LIMIT:
            self._refuse(arrival, "unusable_time")
        elif time < self._earliest:
            self._refuse(arrival, "before_1990")
        elif time > t_rx + self._ahead:
            self._refuse(arrival, "future")
        else:
            return row
        return None

    def _refuse(self, arrival: Arrival | WaveformArrival, reason: str, row: int | None = None) -> None:
        self.counts[reason] += 1
        if row is not None:
            (self.duplicate if reason == "duplicate" else self.late)[row] += 1
        self._refused.append((arrival.source, arrival.receipt))

    # ------------------------------------------------------------------ out

    def take_samples(self) -> tuple[Samples | None, list[Receipt]]:
        """What arrived since the last call and waits for its observation, for the journal.

        And the receipts that may be acknowledged once this is committed, those of what was refused among them.
        """
        if not self.assembles:
            self._lose_patience()
        receipts, self._refused = self._refused, []
        if self.assembles:
            receipts += self._receipts
            self._receipts = []
        receipts = [receipt for receipt in receipts if receipt[1] is not None]
        if not self._rows:
            return None, receipts
        records, self._rows = self.records.array(self._rows), []
        return Samples(*(records[name].copy() for name in ("row", "time", "t_rx", "values"))), receipts

    def _lose_patience(self) -> None:
        now = self._clock.monotonic()
        if now >= self._look:
            self._look = now + self.patience // 4
            for arrival in self.snapshots.expire(now - self.patience):
                self._refuse(arrival, "unused")

    def ready(self) -> list[Batch]:
        """Closed observations: in batches of distinct machines, those of a machine in order."""
        if self.assembles:
            batches = [self._assembled(closed) for closed in self.assembler.ready()]
            if duplicates := self.assembler.take_duplicates():
                self.counts["duplicate"] += duplicates
            return batches
        batches = [self._as_they_came(records) for records in self.passage.ready()]
        if batches and self._receipts:
            # Batches are committed in order: when the last of them is, all are.
            receipts = (receipt for receipt in self._receipts if receipt[1] is not None)
            batches[-1] = replace(batches[-1], receipts=(*batches[-1].receipts, *receipts))
            self._receipts = []
        return batches

    def next_deadline(self) -> int | None:
        """Monotonic nanos when `ready` should be called even if nothing arrives; None: not before something does."""
        self.assembler.clock()  # if it stood still, it goes on from now
        return self.assembler.deadline

    def _assembled(self, closed: Closed) -> Batch:
        event, age = self.notes.take(closed.rows, closed.time)
        t_rx = np.where(closed.t_rx == 0, self._utc(), closed.t_rx)
        return self._with_waveforms(Batch(closed.rows, closed.time, closed.readings, event, age, {}, t_rx))

    def _as_they_came(self, records: Array) -> Batch:
        rows, time, values = records["row"].copy(), records["time"].copy(), records["values"]
        carried, _ = self.notes.take(rows, time)
        own = values[:, -2]
        event = np.where(own > 0, own, np.float32(0))
        if carried.any():  # the smaller one forgets more, but for 0: nothing happened
            event = np.where((event == 0) | ((carried > 0) & (carried < event)), carried, event)
        readings, age = np.ascontiguousarray(values[:, :-2]), values[:, -1].copy()
        return self._with_waveforms(Batch(rows, time, readings, event, age, {}, records["t_rx"].copy()))

    def _with_waveforms(self, batch: Batch) -> Batch:
        waveforms, receipts, superseded = self.snapshots.take(batch.rows, batch.time)
        if not waveforms:
            return batch
        if superseded:
            self.counts["superseded"] += superseded
        return replace(batch, waveforms=waveforms, receipts=(*batch.receipts, *receipts))

    # ------------------------------------------------------------------ a restart

    def state(self) -> bytes:
        """For a checkpoint, after `take_samples` and `ready`."""
        return states.pack(self, self._utc(), self.assembler.clock())

    def restore(self, state: bytes) -> None:
        """Go on from `state`, in a new intake; then the journal's entries after it are replayed, in order.

        `StateError` if it cannot be read.
        """
        self._stop(states.unpack(self, state))

    def replay_samples(self, samples: Samples) -> None:
        """Samples that were journalled: back to where they waited."""
        records = np.empty(len(samples.rows), self.records.dtype)
        records["row"], records["time"], records["t_rx"] = samples.rows, samples.time, samples.t_rx
        records["values"] = samples.values
        received = np.packbits(~np.isnan(samples.values[:, :-2]), axis=1, bitorder="little")
        columns = (samples.rows, samples.time, samples.t_rx, samples.values[:, -2], samples.values[:, -1])
        came = 0
        self.assembler.clock = lambda: came
        for bits, packed, row, time, t_rx, event, age in zip(
            received, self.records.rows(records), *(column.tolist() for column in columns), strict=True
        ):
            came = t_rx
            channels = int.from_bytes(bits.tobytes(), "little")
            if event > 0 or age >= 0:
                self._note(row, time, event, age)
            elif not channels:
                self.assembler.hear(row, time)
            if channels:
                self.assembler.add(row, time, packed, channels)
        self._stop(int(samples.t_rx.max(initial=0)))

    def replay_batch(self, batch: Batch) -> None:
        """Observations that were journalled: they are closed."""
        self._stop(int(batch.t_rx.max(initial=0)))
        if self.assembles:
            self.assembler.close(batch.rows, batch.time)
        else:
            self.passage.set(batch.rows, batch.time)
            for i in np.flatnonzero(batch.event > 0).tolist():
                self.notes.know(int(batch.rows[i]), int(batch.time[i]), int(batch.event[i]))
        self.notes.take(batch.rows, batch.time)
        for name, (_, places) in batch.waveforms.items():
            for i in places.tolist():
                row, time = int(batch.rows[i]), int(batch.time[i])
                self.snapshots.used[row, name] = time
                if self.assembles:
                    self.assembler.machines[row].newest_closed = time

    def _stop(self, utc: int) -> None:
        """The clock that closes windows stands still, at the latest moment known to the journal, until it is asked."""
        self._stopped = max(utc, self._stopped)
        self.assembler.clock = self._go_on

    def _go_on(self) -> int:
        self._resumes = self._clock.monotonic() + self._settle
        self.assembler.shift(self._resumes - self._stopped)
        self.assembler.clock = self._settling
        return self._resumes

    def _settling(self) -> int:
        now = self._clock.monotonic()
        if now < self._resumes:
            return self._resumes
        self.assembler.clock = self._clock.monotonic
        return now
