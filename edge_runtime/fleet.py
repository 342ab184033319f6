"""A fleet: the states of many machines, advanced by one batched call. The only place that computes `dt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.contract.names import check_identifier
from edge_runtime.errors import StateError
from edge_runtime.step import STATE_OUT, StepFunction

Waveforms = Mapping[str, tuple[F32, I64]]  # name → (samples f32[K, axes, N], row int64[K] into the batch)

NANOS = 1e9  # per time unit of the class


@dataclass(frozen=True)
class Snapshot:
    """All that is needed to resume a fleet: states f32[N,S], last time and observation number int64[N], model."""

    assets: tuple[str, ...]
    state: F32
    time: I64
    number: I64
    model_id: str


class Fleet:
    """Machines of one class in the order of `assets`, each with its state, last time and observation number.

    `settings` f32[N,P]: NaN = class default. `counts` says how many observations were accepted, and how many refused as
    a duplicate (same time as the last one) or late (before it). Not for use by several threads at once.
    """

    def __init__(
        self, step: StepFunction, assets: Sequence[str], settings: F32 | None = None, *, model_id: str = ""
    ) -> None:
        self.step = step
        self.assets = tuple(check_identifier("asset", asset) for asset in assets)
        self.index = {asset: row for row, asset in enumerate(self.assets)}
        if len(self.index) != len(self.assets):
            twice = next(a for a in self.assets if self.assets.count(a) > 1)
            raise ValueError(f"asset '{twice}' is in the fleet twice: give each machine one id")
        machines = len(self.assets)
        if settings is None:
            settings = np.full((machines, step.settings), np.nan, np.float32)
        self.settings: F32 = np.array(settings, np.float32, order="C")
        if self.settings.shape != (machines, step.settings):
            raise ValueError(f"settings have shape {self.settings.shape}: expected {(machines, step.settings)}")
        self.model_id = model_id
        self.state = step.start(machines)
        self.time: I64 = np.zeros(machines, np.int64)
        self.number: I64 = np.zeros(machines, np.int64)
        self.counts = {"accepted": 0, "duplicate": 0, "late": 0}
        self._no_event = np.zeros(machines, np.float32)
        self._no_age = np.full(machines, np.nan, np.float32)

    def advance(
        self,
        rows: slice | I64,
        time: I64,
        readings: F32,
        event: F32 | None = None,
        age: F32 | None = None,
        waveforms: Waveforms | None = None,
        wanted: Sequence[str] | None = None,
    ) -> tuple[dict[str, Array], Bool]:
        """One observation for each machine in `rows` (a slice, or distinct indices ≥ 0, int64[B]).

        `time` int64[B] in nanos, `readings` f32[B,C], `event` and `age` f32[B]. Returns the outputs `wanted` (default:
        all) *of the accepted observations*, in order, and accepted bool[B]. An observation that is not later than the
        machine's last one is refused and leaves its state alone.
        """
        time, readings = np.asarray(time), np.asarray(readings, np.float32)
        self._check(rows, time, readings, event, age)
        if not isinstance(rows, slice) and len(rows) == 1:
            rows = slice(rows[0], rows[0] + 1)  # views instead of copies
        last, number = self.time[rows], self.number[rows]
        # Most calls are for machines that have begun: what concerns new ones is computed only where there are any.
        first = number == 0 if np.count_nonzero(number) != len(number) else None
        accepted: Bool = time > last
        if first is not None:
            accepted |= first
        if np.count_nonzero(accepted) != len(accepted):
            self.counts["duplicate"] += int(np.sum(~accepted & (time == last)))
            self.counts["late"] += int(np.sum(~accepted & (time < last)))
            return self._advance_accepted(accepted, rows, time, readings, event, age, waveforms, wanted), accepted

        # As unsigned numbers, differences of times centuries apart do not wrap around to negative ones.
        passed = (time - last).view(np.uint64)
        dt = (passed / NANOS).astype(np.float32)
        if first is not None:
            dt[first] = 0.0
        machines = len(time)
        feed: dict[str, Array] = {
            "readings": readings,
            "dt": dt,
            "event": self._no_event[:machines] if event is None else np.asarray(event, np.float32),
            "age": self._no_age[:machines] if age is None else np.asarray(age, np.float32),
            "settings": self.settings[rows],
            "state": self.state[rows],
        }
        for name, (samples, row) in (waveforms or {}).items():
            feed[name], feed[f"{name}.row"] = samples, row
        outputs = self.step(feed, wanted)
        state = outputs.pop(STATE_OUT)
        if machines == len(self.assets) and isinstance(rows, slice) and rows.step in (None, 1):
            self.state = state
        else:
            self.state[rows] = state
        self.time[rows] = time
        self.number[rows] = number + 1
        self.counts["accepted"] += machines
        return outputs, accepted

    def _advance_accepted(
        self,
        accepted: Bool,
        rows: slice | I64,
        time: I64,
        readings: F32,
        event: F32 | None,
        age: F32 | None,
        waveforms: Waveforms | None,
        wanted: Sequence[str] | None,
    ) -> dict[str, Array]:
        """The outputs of a batch of which only some observations are `accepted`."""
        if not accepted.any():
            return self.step.empty(wanted)
        place = np.cumsum(accepted) - 1  # in the smaller batch
        kept_waveforms = {
            name: (samples[accepted[row]], place[row][accepted[row]])
            for name, (samples, row) in (waveforms or {}).items()
        }
        outputs, _ = self.advance(
            np.arange(len(self.assets))[rows][accepted],
            time[accepted],
            readings[accepted],
            None if event is None else np.asarray(event)[accepted],
            None if age is None else np.asarray(age)[accepted],
            kept_waveforms,
            wanted,
        )
        return outputs

    def _check(self, rows: slice | I64, time: I64, readings: F32, event: F32 | None, age: F32 | None) -> None:
        machines = len(range(*rows.indices(len(self.assets)))) if isinstance(rows, slice) else len(rows)
        if time.dtype != np.int64 or time.shape != (machines,):
            raise ValueError(f"time is {time.dtype}{list(time.shape)}: expected int64[{machines}] nanoseconds")
        if readings.shape != (machines, self.step.channels):
            raise ValueError(f"readings have shape {readings.shape}: expected {(machines, self.step.channels)}")
        for name, value in (("event", event), ("age", age)):
            if value is not None and np.shape(value) != (machines,):
                raise ValueError(f"{name} has shape {np.shape(value)}: expected {(machines,)}")

    def snapshot(self) -> Snapshot:
        """A copy of all states."""
        return Snapshot(self.assets, self.state.copy(), self.time.copy(), self.number.copy(), self.model_id)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from `snapshot`; `StateError` if it was taken from other machines or by another model."""
        if snapshot.model_id != self.model_id:
            raise StateError(
                f"the snapshot belongs to model {snapshot.model_id or '(none)'}, this fleet runs "
                f"{self.model_id or '(none)'}: load that bundle, or start anew and replay stored observations"
            )
        if snapshot.assets != self.assets:
            raise StateError(f"the snapshot is of {len(snapshot.assets)} machines that are not this fleet's, in order")
        if snapshot.state.shape != self.state.shape:
            raise StateError(f"the snapshot has states {snapshot.state.shape}, this fleet {self.state.shape}")
        self.state = np.array(snapshot.state, np.float32, order="C")
        self.time = np.array(snapshot.time, np.int64)
        self.number = np.array(snapshot.number, np.int64)
