"""Runs asks of one bundle together: each machine a row of one fleet, advanced in lockstep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.fleet import Fleet
from edge_runtime.replay import Series, replay
from serving.models.served import Served
from serving.predict.ask import Ask


@dataclass(frozen=True, eq=False)
class Start:
    """Where the twins of an ask go on from: `state` f32[M,S], last `time` and observation `number` int64[M]."""

    state: F32
    time: I64
    number: I64


@dataclass(frozen=True, eq=False)
class Ran:
    """The graph's `outputs` of each observation in the ask's table, [N] or [N,k]; the twins afterwards.

    `features`: waveform → (machine int64[K], f32[K,F]), where each machine had one observation.
    """

    outputs: dict[str, Array]
    after: Start
    features: dict[str, tuple[I64, F32]]


def fresh(served: Served, machines: int) -> Start:
    """Twins that have seen nothing."""
    step = served.bundle.step
    return Start(step.start(machines), np.zeros(machines, np.int64), np.zeros(machines, np.int64))


def run(served: Served, asks: Sequence[Ask], starts: Sequence[Start]) -> list[Ran]:
    """All `asks` of the bundle `served`; what each starts from in `starts`."""
    fleet = _fleet(served, joined([ask.settings for ask in asks]), starts)
    wanted = [name for name in served.contract.outputs if not name.endswith(".features")]
    features: dict[str, tuple[I64, F32]] = {}
    if all(ask.once for ask in asks):
        outputs, features = _once(fleet, [ask.table for ask in asks], wanted)
    else:
        outputs = _histories(fleet, [series for ask in asks for series in ask.each()], wanted)
    ran, machine, row = [], 0, 0
    for ask in asks:
        mine, rows = slice(machine, machine + len(ask.assets)), slice(row, row + ask.observations)
        own = {name: _part(found, mine.start, mine.stop) for name, found in features.items()}
        after = Start(fleet.state[mine], fleet.time[mine], fleet.number[mine])
        ran.append(Ran({name: value[rows] for name, value in outputs.items()}, after, own))
        machine, row = mine.stop, rows.stop
    return ran


def _fleet(served: Served, settings: F32, starts: Sequence[Start]) -> Fleet:
    fleet = served.bundle.fleet([str(row) for row in range(len(settings))], settings)  # machines may be in it twice
    fleet.state = np.concatenate([start.state for start in starts])  # a copy: it is advanced in place
    fleet.time = np.concatenate([start.time for start in starts])
    fleet.number = np.concatenate([start.number for start in starts])
    return fleet


def _once(
    fleet: Fleet, tables: Sequence[Series], wanted: Sequence[str]
) -> tuple[dict[str, Array], dict[str, tuple[I64, F32]]]:
    """One observation each: one call. The path of the newest observations, so no detour."""
    waveforms: dict[str, tuple[list[F32], list[I64]]] = {}
    start = 0
    for table in tables:
        for name, (row, samples) in table.waveforms.items():
            blocks, rows = waveforms.setdefault(name, ([], []))
            blocks.append(samples)
            rows.append(row + start)
        start += len(table.time)
    given = {name: (np.concatenate(blocks), np.concatenate(rows)) for name, (blocks, rows) in waveforms.items()}
    extra = [f"{name}.features" for name in given if f"{name}.features" in fleet.step.outputs]
    outputs, accepted = fleet.advance(
        slice(None),
        joined([each.time for each in tables]),
        joined([each.readings for each in tables]),
        joined([each.event for each in tables]),
        joined([each.age for each in tables]),
        given,
        [*wanted, *extra],
    )
    assert accepted.all(), "times were checked"
    features = {name[:-9]: (given[name[:-9]][1], outputs.pop(name)) for name in extra}
    return outputs, features


def _histories(fleet: Fleet, series: Sequence[Series], wanted: Sequence[str]) -> dict[str, Array]:
    found: list[list[dict[str, Array]]] = [[] for _ in series]
    for asset, _, outputs in replay(fleet, {str(row): [each] for row, each in enumerate(series)}, wanted):
        found[int(asset)].append(outputs)
    parts = [part for each in found for part in each]
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


def joined(arrays: Sequence[Array]) -> Array:
    """All rows; without a copy if that is one array."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _part(found: tuple[I64, F32], start: int, stop: int) -> tuple[I64, F32]:
    rows, features = found
    chosen = (rows >= start) & (rows < stop)
    return rows[chosen] - start, features[chosen]
