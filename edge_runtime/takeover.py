"""From one bundle of a class to the next: which parts of the twins' states go over, and how the rest is warmed up.

A slice of state goes over if both bundles have it under the same name with equal fingerprint and size: then every
constant and operation that feeds it is the same. Where history is stored, the new fleet is first warmed up by it, from
zeros, and then takes over: what goes over wins, for it has seen all of the machine's life, while history is a part of
it. What does not go over has seen what was replayed, or starts anew.

Time and number of the last observation always go over: a number is part of a key and never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.batch import Batch
from edge_runtime.errors import StateError
from edge_runtime.fleet import Fleet
from edge_runtime.manifest import Contract


@dataclass(frozen=True)
class Takeover:
    """Slices of the new state that were `kept`, and that start `anew`; kept columns as a `share` of the new state.

    `machines`: how many are in both fleets; only these take over.
    """

    kept: tuple[str, ...]
    anew: tuple[str, ...]
    share: float
    machines: int

    def __str__(self) -> str:
        anew = f"; {', '.join(self.anew)} start anew" if self.anew else ""
        return f"{self.machines} machines take over {self.share:.0%} of their state{anew}"


class Known(Protocol):
    """The part of the old fleet that is needed: a checkpoint has it too, when the bundle it was made by is gone."""

    @property
    def index(self) -> Mapping[str, int]: ...
    @property
    def state(self) -> F32: ...
    @property
    def time(self) -> I64: ...
    @property
    def number(self) -> I64: ...


def take_over(old: Known, old_contract: Contract, new: Fleet, new_contract: Contract) -> Takeover:
    """Give the machines of `new` that `old` has too what goes over of their state, their time and number.

    Machines that have seen nothing yet have nothing to give. `StateError` if the fleets count time differently.
    """
    if old_contract.time.unit != new_contract.time.unit:
        raise StateError(
            f"the old bundle counts time in {old_contract.time.unit}, the new one in {new_contract.time.unit}: "
            "that is another class; give it another name and start it anew"
        )
    both = [(row, old.index[asset]) for row, asset in enumerate(new.assets) if asset in old.index]
    to, source = (np.array(rows, np.int64) for rows in (zip(*both, strict=True) if both else ((), ())))
    seen = old.number[source] > 0
    to, source = to[seen], source[seen]
    there = {part.name: part for part in old_contract.state.slices}
    kept, anew, columns = [], [], 0
    for part in new_contract.state.slices:
        same = there.get(part.name)
        if same is None or (same.fingerprint, same.size) != (part.fingerprint, part.size):
            anew.append(part.name)
            continue
        kept.append(part.name)
        columns += part.size
        new.state[to, part.start : part.start + part.size] = old.state[source, same.start : same.start + same.size]
    new.time[to], new.number[to] = old.time[source], old.number[source]
    return Takeover(tuple(kept), tuple(anew), columns / max(new_contract.state.size, 1), len(both))


def warm(
    new: Fleet, contract: Contract, history: Iterable[Batch], assets: Sequence[str], channels: Sequence[str]
) -> int:
    """Advance `new`, whose bundle says `contract`, by stored observations, oldest first; returns how many it accepted.

    `assets` and `channels` say what rows and columns of `history` are; channels that it lacks are NaN. `take_over`
    comes next: it sets the numbers right.
    """
    rows: I64 = np.array([new.index.get(asset, -1) for asset in assets], np.int64)
    places = {channel: column for column, channel in enumerate(channels)}
    columns: I64 = np.array([places.get(channel.name, -1) for channel in contract.channels], np.int64)
    accepted = 0
    for batch in history:
        keep = np.flatnonzero(rows[batch.rows] >= 0)
        if not len(keep):
            continue
        place = np.full(len(batch.rows), -1, np.int64)
        place[keep] = np.arange(len(keep))
        waveforms = {}
        for name, (samples, position) in batch.waveforms.items():
            if new.step.waveforms.get(name) == samples.shape[1:]:
                here = place[position] >= 0
                waveforms[name] = (samples[here], place[position][here])
        readings: F32 = np.where(columns >= 0, batch.readings[keep][:, columns], np.float32(np.nan))
        at = rows[batch.rows[keep]]
        _, taken = new.advance(at, batch.time[keep], readings, batch.event[keep], batch.age[keep], waveforms, wanted=())
        accepted += int(np.count_nonzero(taken))
    return accepted
