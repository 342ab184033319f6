"""The twins of one class behind a gateway: what arrives is assembled, advanced, and watched for alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.batch import Batch
from edge_runtime.bundle import Bundle
from edge_runtime.clock import Clock
from edge_runtime.contract import bodies
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.gateway.assigned import Assigned, assign
from edge_runtime.gateway.machines import Machines
from edge_runtime.gateway.narrow import narrow
from edge_runtime.gateway.occurrences import Change, Occurrences
from edge_runtime.intake import Intake
from edge_runtime.manifest import Contract

_FOREVER = 2**63 - 1
IN_A_ROW = 10  # impossible readings that are no chance
NAMED = 20  # machines named in one sentence


@dataclass(frozen=True, eq=False)
class Advanced:
    """What one call gave: the accepted observations, their `numbers` int64[B] and the graph's outputs of them."""

    batch: Batch
    numbers: I64
    outputs: Mapping[str, Array]


class Twins:
    """Intake, fleet and occurrences of one class, for the machines of `machines`, in that order throughout.

    `warming_up` and `unfamiliar` f32[N] are of the last prognosis, NaN before it; `heard` int64[N], monotonic nanos,
    says when something came last; `impossible` int32[N,C] how many observations in a row, up to the last one, had a
    reading out of its channel's range. `passed_over`: why faster providers are not used. `assigned`: by asset, what the
    centre told of it.
    """

    def __init__(
        self, bundle: Bundle, machines: Machines, clock: Clock, max_ahead: int, passed_over: Sequence[str] = ()
    ) -> None:
        self._clock, self._max_ahead = clock, max_ahead
        self.bundle = bundle
        self.machines = machines
        self.passed_over = tuple(passed_over)
        self.channels = tuple(channel.name for channel in bundle.contract.channels)
        self.fleet = bundle.fleet(machines.assets, machines.settings)
        self.intake = Intake(bundle.contract, machines.assets, clock, max_ahead)
        self.occurrences = Occurrences(machines.assets, machines.term)
        self.assigned: dict[str, Assigned] = {}
        count = len(machines.assets)
        self.warming_up: F32 = np.full(count, np.nan, np.float32)
        self.unfamiliar: F32 = np.full(count, np.nan, np.float32)
        self.heard: I64 = np.full(count, clock.monotonic(), np.int64)
        self.impossible: NDArray[np.int32] = np.zeros((count, len(self.channels)), np.int32)
        self._low, self._high = np.array([c.range for c in bundle.contract.channels], np.float32).reshape(-1, 2).T
        self.counts: Counter[str] = Counter()
        self.taps: list[Callable[[Batch], None]] = []  # called with each batch that was advanced

    @property
    def model_id(self) -> str:
        return self.bundle.model_id

    def advance(self, batch: Batch) -> Advanced | None:
        """Advance the twins of `batch`; None when the fleet refused all of it. Raises what onnxruntime raises."""
        outputs, accepted = self.fleet.advance(
            batch.rows, batch.time, batch.readings, batch.event, batch.age, batch.waveforms
        )
        if not accepted.all():
            if not accepted.any():
                return None
            batch = narrow(batch, accepted)
        self.warming_up[batch.rows] = outputs["warming_up"]
        self.unfamiliar[batch.rows] = outputs["unfamiliar"]
        out, before = (batch.readings < self._low) | (batch.readings > self._high), self.impossible[batch.rows]
        self.impossible[batch.rows] = np.where(np.isnan(batch.readings), before, (before + 1) * out)
        for tap in self.taps:
            tap(batch)
        return Advanced(batch, self.fleet.number[batch.rows], outputs)

    def out_of_range(self) -> dict[str, str]:
        """Channels with impossible readings, IN_A_ROW observations or more on end: of which machines, in words."""
        told = {}
        wrong = self.impossible >= IN_A_ROW
        for place in np.flatnonzero(wrong.any(axis=0)).tolist():
            channel, rows = self.bundle.contract.channels[place], np.flatnonzero(wrong[:, place]).tolist()
            assets = ", ".join(self.machines.assets[row] for row in rows[:NAMED])
            more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
            low, high = channel.range
            told[channel.name] = (
                f"{channel.name} of {assets}{more} has been outside {low:g} … {high:g} {channel.unit} for {IN_A_ROW} "
                "observations or more: another unit, or a broken sensor?"
            )
        return told

    def hear(self, batch: Batch, now: int) -> None:
        """Something came of these machines. Where observations are assembled, silence makes some, too."""
        if not self.intake.assembles:
            self.heard[batch.rows] = now
        for _, places in batch.waveforms.values():
            self.heard[batch.rows[places]] = now

    def follow(self, old: Twins) -> None:
        """Go on where `old`, of another model and the same machines, is: with all but the states of the fleet."""
        if _arrivals(self.bundle.contract) == _arrivals(old.bundle.contract):
            self.intake = old.intake
        else:
            self.intake = Intake(self.bundle.contract, self.machines.assets, self._clock, self._max_ahead, settle=0)
            self.intake.restore(old.intake.state())
            self.intake.counts.update(old.intake.counts)
            for arrival in old.intake.snapshots.expire(_FOREVER):  # they are not acknowledged yet
                self.intake.add_waveform(arrival)
        self.occurrences = old.occurrences
        self.keep_assigned(old.assigned)
        self.warming_up, self.unfamiliar, self.heard = old.warming_up, old.unfamiliar, old.heard
        self.counts = old.counts
        if self.channels == old.channels:
            self.impossible = old.impossible

    def keep_assigned(self, assigned: Mapping[str, Assigned]) -> None:
        """What the centre told of machines before, as far as they are here."""
        for asset, one in list(assigned.items()):
            if asset in self.fleet.index:
                assign(self, asset, one)

    def alarms(self, advanced: Advanced, clock_synced: bool) -> list[Outgoing]:
        """Messages about the occurrences that these observations raised, changed or cleared."""
        batch = advanced.batch
        changes = self.occurrences.update(batch.rows, advanced.numbers, batch.time, batch.event, advanced.outputs)
        return [self._alarm(change, advanced, clock_synced) for change in changes]

    def _alarm(self, change: Change, advanced: Advanced, clock_synced: bool) -> Outgoing:
        i, batch, contract = change.position, advanced.batch, self.bundle.contract
        contribution = advanced.outputs.get("contribution")
        body = bodies.Alarm(
            id=change.occurrence.id,
            state="raised" if not change.before else "changed" if change.level else "cleared",
            level=change.level,
            previous=change.before,
            since=change.occurrence.began,
            asset=change.asset,
            term=int(self.machines.term[batch.rows[i]]),
            number=int(advanced.numbers[i]),
            t=int(batch.time[i]),
            prognosis=bodies.Excerpt.of(advanced.outputs, i),
            contributions=() if contribution is None else bodies.contributions(self.channels, contribution[i]),
            simulated=contract.simulated,
        )
        return Outgoing(
            "alarm",
            Lane.ALARM,
            change.asset,
            t=body.t,
            t_rx=int(batch.t_rx[i]),
            body=bodies.pack(body),
            model_id=self.model_id,
            clock_synced=clock_synced,
        )


def _arrivals(contract: Contract) -> tuple[object, ...]:
    """All that says how arrivals become observations."""
    return contract.time, contract.life.unit, contract.life.time_units, contract.channels, contract.waveforms
