"""Where a twin goes on from: its stored state; a snapshot and what was observed after it; another bundle's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import F32, I64
from edge_runtime.batch import Batch
from edge_runtime.fleet import Fleet
from edge_runtime.manifest import Contract
from edge_runtime.takeover import take_over, warm
from serving.database.queries import END, START, Observed, read_observations, snapshot_before
from serving.database.tables import observations
from serving.models.served import Served
from serving.predict.run import Start
from serving.twins.stored import Machine, Twin

MOST = 2000  # stored observations that are replayed for one twin

FindContract = Callable[[Connection, str], Contract | None]


@dataclass(frozen=True, eq=False)
class _Row:
    """A stored state as `take_over` reads it."""

    index: Mapping[str, int]
    state: F32
    time: I64
    number: I64


def goes_on(machine: Machine, served: Served) -> bool:
    """Whether its stored twin is the newest there is, and of this bundle: the usual case, with no more to read."""
    twin = machine.twin
    own = twin is not None and machine.gateway is None and twin.term == machine.term
    return own and twin is not None and twin.model_id == served.model_id


def as_they_are(machines: Sequence[Machine]) -> Start:
    """The stored twins of machines, each of which `goes_on`."""
    stored = [machine.twin for machine in machines if machine.twin is not None]
    state = np.concatenate([twin.state for twin in stored]).reshape(len(stored), -1)
    time, number = np.array([(twin.t, twin.number) for twin in stored], np.int64).T.copy()
    return Start(state, time, number)


def start(
    connection: Connection, machine: Machine, served: Served, settings: F32, contract_of: FindContract, notes: list[str]
) -> Start:
    """The twin of `machine` as `served` goes on with it; what of it is not as it was is told in `notes`."""
    if goes_on(machine, served):
        return as_they_are([machine])
    twin = _newest(connection, machine)
    fleet = served.bundle.fleet([machine.name], settings[None, :])
    if twin is None:
        since = START
    elif twin.model_id == served.model_id:
        fleet.state, since = twin.state[None, :].copy(), twin.t + 1
    else:
        _change_bundle(connection, machine, twin, fleet, served, contract_of, notes)
        since = twin.t + 1
    if twin is not None:
        fleet.time[0], fleet.number[0] = twin.t, twin.number
    count = _replay(connection, machine.id, fleet, served.contract, since)
    if count:
        notes.append(f"'{machine.name}': {count} stored observations were replayed")
    return Start(fleet.state, fleet.time, fleet.number)


def _newest(connection: Connection, machine: Machine) -> Twin | None:
    """The centre's own twin, or the newest snapshot of a gateway if that has seen more."""
    own = machine.twin
    if machine.gateway is None and own is not None and own.term == machine.term:
        return own
    found = snapshot_before(connection, machine.id, END)
    if found is None or (own is not None and (own.term, own.number) >= (found.term, found.number)):
        return own
    return Twin(found.term, found.number, found.t, found.model_id, found.state)


def _change_bundle(
    connection: Connection,
    machine: Machine,
    twin: Twin,
    fleet: Fleet,
    served: Served,
    contract_of: FindContract,
    notes: list[str],
) -> None:
    """Slices with equal fingerprints go over; the rest has seen the newest stored observations, or nothing."""
    before = contract_of(connection, twin.model_id)
    name = f"'{machine.name}'"
    if before is None or before.state.size != len(twin.state):
        notes.append(f"{name}: its twin is of model {twin.model_id[:12]}, which is not known here: it starts anew")
        return
    warmed = 0
    same = {part.name: (part.fingerprint, part.size) for part in before.state.slices}
    if any(same.get(part.name) != (part.fingerprint, part.size) for part in served.contract.state.slices):
        warmed = _replay(connection, machine.id, fleet, served.contract, START, twin.t + 1)
    row = _Row({machine.name: 0}, twin.state[None, :], np.array([twin.t]), np.array([twin.number]))
    taken = take_over(row, before, fleet, served.contract)
    notes.append(
        f"{name}: its twin changes to model {served.model_id[:12]}: {taken}, warmed up by {warmed} observations"
    )


def _replay(connection: Connection, asset: int, fleet: Fleet, contract: Contract, since: int, until: int = END) -> int:
    """Advance the one twin of `fleet` by what is stored from `since` on, at most the newest MOST; how many.

    Their numbers are those they were stored under. Snapshots of waveforms are not among what is stored.
    """
    table = observations.c
    query = select(table.t).where(table.asset == asset, table.t >= since, table.t < until)
    oldest = connection.execute(query.order_by(table.t.desc()).offset(MOST - 1).limit(1)).scalar()
    count, last = 0, None
    for span in read_observations(connection, asset, since if oldest is None else oldest, until):
        count += warm(fleet, contract, _batches(span), fleet.assets, span.channels)
        last = int(span.keys.number[-1])
    if last is not None:
        fleet.number[0] = max(last, int(fleet.number[0]) - count)
    return count


def _batches(span: Observed) -> Iterator[Batch]:
    """One observation each, of the only machine."""
    row = np.zeros(1, np.int64)
    for at in range(len(span.keys)):
        one = slice(at, at + 1)
        keys = span.keys
        yield Batch(row, keys.t[one], span.readings[one], span.event[one], span.age[one], {}, keys.t_rx[one])
