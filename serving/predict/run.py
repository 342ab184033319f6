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
    """Per machine: the graph's `outputs` of each observation, [T] or [T,k]; the twins afterwards.

    `features`: waveform → (machine int64[K], f32[K,F]), where each machine had one observation.
    """

    outputs: tuple[dict[str, Array], ...]
    after: Start
    features: dict[str, tuple[I64, F32]]


def fresh(served: Served, machines: int) -> Start:
    """Twins that have seen nothing."""
    step = served.bundle.step
    return Start(step.start(machines), np.zeros(machines, np.int64), np.zeros(machines, np.int64))


def run(served: Served, asks: Sequence[Ask], starts: Sequence[Start]) -> list[Ran]:
    """All `asks` of the bundle `served`; what each starts from in `starts`."""
    sizes = [len(ask.assets) for ask in asks]
    fleet = _fleet(served, sum(sizes), np.concatenate([ask.settings for ask in asks]), starts)
    series = [each for ask in asks for each in ask.series]
    wanted = [name for name in served.contract.outputs if not name.endswith(".features")]
    features: dict[str, tuple[I64, F32]] = {}
    if all(len(each.time) == 1 for each in series):
        outputs, features = _once(fleet, series, wanted)
    else:
        outputs = _histories(fleet, series, wanted)
    ran, at = [], 0
    for size in sizes:
        rows = slice(at, at + size)
        own = {name: _part(found, at, at + size) for name, found in features.items()}
        after = Start(fleet.state[rows].copy(), fleet.time[rows].copy(), fleet.number[rows].copy())
        ran.append(Ran(tuple(outputs[rows]), after, own))
        at += size
    return ran


def _fleet(served: Served, machines: int, settings: F32, starts: Sequence[Start]) -> Fleet:
    fleet = served.bundle.fleet([str(row) for row in range(machines)], settings)  # machines may be in it twice
    fleet.state = np.concatenate([start.state for start in starts])
    fleet.time = np.concatenate([start.time for start in starts])
    fleet.number = np.concatenate([start.number for start in starts])
    return fleet


def _once(
    fleet: Fleet, series: Sequence[Series], wanted: Sequence[str]
) -> tuple[list[dict[str, Array]], dict[str, tuple[I64, F32]]]:
    """One observation each: one call. The path of the newest observations, so no detour."""
    names = sorted({name for each in series for name in each.waveforms})
    waveforms = {}
    for name in names:
        having = [row for row, each in enumerate(series) if name in each.waveforms and len(each.waveforms[name][0])]
        if having:
            samples = np.concatenate([series[row].waveforms[name][1] for row in having])
            waveforms[name] = (samples, np.array(having, np.int64))
    extra = [f"{name}.features" for name in waveforms if f"{name}.features" in fleet.step.outputs]
    outputs, accepted = fleet.advance(
        slice(None),
        np.concatenate([each.time for each in series]),
        np.concatenate([each.readings for each in series]),
        np.concatenate([each.event for each in series]),
        np.concatenate([each.age for each in series]),
        waveforms,
        [*wanted, *extra],
    )
    assert accepted.all(), "times were checked"
    features = {name[:-9]: (waveforms[name[:-9]][1], outputs.pop(name)) for name in extra}
    return [{name: outputs[name][row : row + 1] for name in wanted} for row in range(len(series))], features


def _histories(fleet: Fleet, series: Sequence[Series], wanted: Sequence[str]) -> list[dict[str, Array]]:
    found: list[dict[str, list[Array]]] = [{name: [] for name in wanted} for _ in series]
    for asset, _, outputs in replay(fleet, {str(row): [each] for row, each in enumerate(series)}, wanted):
        for name in wanted:
            found[int(asset)][name].append(outputs[name])
    return [
        {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in each.items()} for each in found
    ]


def _part(found: tuple[I64, F32], start: int, stop: int) -> tuple[I64, F32]:
    rows, features = found
    chosen = (rows >= start) & (rows < stop)
    return rows[chosen] - start, features[chosen]
