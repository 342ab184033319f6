"""What the centre has told about a machine, taken up between two observations.

An `Effect` is what an assignment changes here, decided once: it stands in the journal, and a restart repeats it as it
stands, at the same place among the observations.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.contract.assignment import AssignedSettings, AssignedState, Assignment
from edge_runtime.decode import decode, suggest
from edge_runtime.errors import AssignmentRefusedError, JournalError
from edge_runtime.manifest import Contract
from edge_runtime.takeover import take_over

if TYPE_CHECKING:
    from edge_runtime.gateway.twins import Twins

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assigned:
    """Of one machine: the highest term that the centre told, and its newest settings (None: it told none)."""

    term: int
    settings: AssignedSettings | None = None

    @property
    def version(self) -> int:
        """Of the settings; 0: those of machines.csv."""
        return 0 if self.settings is None else self.settings.version


@dataclass(frozen=True)
class Effect:
    """`asset` has `term` from here on; new `settings`, and a `state` to go on from, if any."""

    asset: str
    term: int
    settings: AssignedSettings | None = None
    state: AssignedState | None = None

    def pack(self) -> bytes:
        """As the body of an entry of the journal."""
        return json.dumps(dataclasses.asdict(self)).encode()


def unpack_effect(body: bytes) -> Effect:
    """The inverse; `JournalError` if `body` is not what `pack` made."""
    try:
        return decode(Effect, json.loads(body), "effect")
    except ValueError as error:
        raise JournalError(f"an entry about a machine's assignment is damaged: {error}") from error


def decide(twins: Twins, assignment: Assignment) -> tuple[Effect | None, str | None]:
    """What `assignment` changes (None: nothing, it came before), and what there is to say about it.

    `AssignmentRefusedError` if it cannot be taken; then nothing of it is. Its reason: class, term, version, settings,
    model.
    """
    asset, term = assignment.asset, assignment.term
    row = twins.fleet.index[asset]
    own = int(twins.machines.term[row])
    asset_class = twins.bundle.contract.asset_class
    if assignment.asset_class != asset_class:
        raise AssignmentRefusedError("class", f"{asset} is of class {asset_class} here, not {assignment.asset_class}")
    if term < own:
        raise AssignmentRefusedError("term", f"{asset} is here under term {own}: {term} is an older one")
    settings = _new_settings(twins, assignment)
    state, note = assignment.state, None
    number = int(twins.fleet.number[row])
    if state is not None and number > 0 and (term == own or (own, number) >= (state.term, state.number)):
        state, note = None, f"the twin here goes on at observation {number}: it is not set back"
    if state is not None:
        _check_state(twins, state)
    known = twins.assigned.get(asset)
    if settings is None and state is None and term == own and known is not None:
        return None, note
    return Effect(asset, term, settings, state), note


def apply(twins: Twins, effect: Effect, before: Contract | None = None) -> None:
    """Have it so. `before`: the contract that the entry's model had, if another one runs since."""
    row = twins.fleet.index.get(effect.asset)
    if row is None:
        return
    known = twins.assigned.get(effect.asset)
    settings = effect.settings or (known.settings if known is not None else None)
    assign(twins, effect.asset, Assigned(effect.term, settings))
    if effect.state is not None:
        _go_on_from(twins, row, effect.state, before)


def assign(twins: Twins, asset: str, assigned: Assigned) -> None:
    """Term and settings; those of machines.csv no longer count."""
    row = twins.fleet.index[asset]
    twins.assigned[asset] = assigned
    twins.machines.term[row] = max(assigned.term, int(twins.machines.term[row]))
    if assigned.settings is not None:
        twins.fleet.settings[row], left_out = _row(twins.bundle.contract, assigned.settings)
        if left_out:
            names = ", ".join(left_out)
            log.warning("settings %s of %s do not fit bundle %s: defaults hold", names, asset, twins.model_id[:12])


def _row(contract: Contract, settings: AssignedSettings) -> tuple[F32, list[str]]:
    """f32[P], NaN = the class's default, and the names that the contract does not take."""
    row = np.full(len(contract.settings), np.nan, np.float32)
    left_out = set(settings.values)
    for i, known in enumerate(contract.settings):
        value = settings.values.get(known.name)
        if value is not None and known.range[0] <= value <= known.range[1]:
            row[i] = value
            left_out.discard(known.name)
    return row, sorted(left_out)


def _new_settings(twins: Twins, assignment: Assignment) -> AssignedSettings | None:
    """Those that are newer than what the machine has; None: no newer ones."""
    settings, known = assignment.settings, twins.assigned.get(assignment.asset)
    if settings is None:
        return None
    if known is not None and known.settings is not None and settings.version <= known.version:
        if settings == known.settings:
            return None
        raise AssignmentRefusedError(
            "version", f"{assignment.asset} has settings of version {known.version}: {settings.version} is no newer one"
        )
    limits = {setting.name: setting for setting in twins.bundle.contract.settings}
    for name, value in settings.values.items():
        if name not in limits:
            raise AssignmentRefusedError("settings", f"'{name:.80}' is no setting: {suggest(name, list(limits))}")
        low, high = limits[name].range
        if not low <= value <= high:
            raise AssignmentRefusedError("settings", f"'{name}' is {value:g}: expected {low:g} … {high:g}")
    return settings


def _check_state(twins: Twins, state: AssignedState) -> None:
    """Whether the twin can go on from it. What the slices of another model mean is not known here."""
    size = twins.fleet.state.shape[1]
    if state.model_id != twins.model_id:
        raise AssignmentRefusedError(
            "model", f"the state is of model {state.model_id[:12]}, here runs {twins.model_id[:12]}"
        )
    if len(base64.b64decode(state.state)) != 4 * size:
        raise AssignmentRefusedError("model", f"the state has not the {size} numbers of model {state.model_id[:12]}")


@dataclass(frozen=True, eq=False)
class _One:
    """A single twin, as `take_over` reads it."""

    index: dict[str, int]
    state: F32
    time: I64
    number: I64


def _go_on_from(twins: Twins, row: int, state: AssignedState, before: Contract | None) -> None:
    fleet, asset = twins.fleet, twins.machines.assets[row]
    values = state.array()
    if state.model_id == twins.model_id:
        fleet.state[row] = values
        fleet.time[row], fleet.number[row] = state.t, state.number
    elif before is not None and before.state.size == len(values):  # the bundle was exchanged while we were away
        one = _One({asset: 0}, values[None, :], np.array([state.t]), np.array([state.number]))
        take_over(one, before, fleet, twins.bundle.contract)
    else:
        fleet.time[row], fleet.number[row] = state.t, state.number
    alarm = state.alarm
    active = None if alarm is None else [alarm.id, alarm.level, alarm.since, alarm.number]
    twins.occurrences.restore({asset: active})
