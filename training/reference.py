"""How readings and prognoses are distributed on the machines that were learned from, for judging drift later.

Training machines only: the test machines stay a test. What the twin itself says of them, streamed as on a gateway, is
what later twins are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data import paths, reference
from data.asset_class import AssetClass
from data.observations import Observations
from data.reference import Reference, Variable
from features import history
from training.dataset import Dataset
from training.feature_table import read_history

WINDOW = 42  # ticks: what drift is judged on, a week of ticks of four hours
WINDOWS = 4  # of each machine, spread over its record
MACHINES = 40
STREAMED = 12  # of them at least, and more while there are no more than
OBSERVATIONS = 50_000  # to stream: that takes up to four seconds


def make(graph: bytes, dataset: Dataset) -> Reference:
    """The reference of a twin: some of its training machines, drawn by lot; of part of them what the twin says."""
    cls, fleet = dataset.asset_class, dataset.fleet
    # Snapshots are large, and not counted.
    scalar = cls.model_copy(update={"channels": {name: cls.channels[name] for name in cls.scalars}})
    observations = Observations(paths.observations(fleet), scalar)
    training = list(dict.fromkeys(dataset.training.asset))
    lot = [training[i] for i in np.random.default_rng(0).permutation(len(training))]
    machines = {asset: _Machine.read(cls, observations, asset) for asset in lot[:MACHINES]}
    total = np.cumsum([len(machine.time) for machine in machines.values()])
    streamed = lot[:MACHINES][: max(STREAMED, int(np.searchsorted(total, OBSERVATIONS)))]
    whole = read_history(cls, paths.observations(fleet), paths.artifact(fleet, "machines.csv"), streamed)
    said = history.run(graph, whole, [*reference.OUTPUTS, "warming_up"], label="reference")
    for i, asset in enumerate(streamed):
        rows = said.asset == i
        machines[asset].ticks = machines[asset].time[said.row[rows]]
        machines[asset].said = {name: values[rows] for name, values in said.columns.items()}

    variables = _variables(cls.scalars, list(machines.values()))
    by_name = {variable.name: variable for variable in variables}
    width = int(WINDOW * cls.time.tick * 1e9)
    counts = {v.name: np.zeros((len(machines), WINDOWS, v.bins), np.int64) for v in variables}
    for i, machine in enumerate(machines.values()):
        for w, start in enumerate(window_starts(machine.time, width)):
            for name, count in machine.count(by_name, cls.scalars, start, start + width).items():
                counts[name][i, w] = count
    return Reference(width / 1e9, tuple(machines), variables, counts)


@dataclass
class _Machine:
    """`values` f32[T,C] in range, else NaN, and `how` they were received; at `ticks` what the twin has `said`."""

    time: np.ndarray
    values: np.ndarray
    how: np.ndarray
    ticks: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    said: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def read(cls, asset_class: AssetClass, observations: Observations, asset: str) -> _Machine:
        series = list(observations.series(asset))
        readings = np.concatenate([part.readings for part in series])
        ranges = [asset_class.channels[name].range for name in asset_class.scalars]
        return cls(np.concatenate([part.time for part in series]), *reference.split_readings(readings, ranges))

    def count(
        self, variables: Mapping[str, Variable], channels: Sequence[str], start: int, end: int
    ) -> dict[str, np.ndarray]:
        rows = slice(*np.searchsorted(self.time, (start, end)))
        made = dict(reference.count_readings(variables, channels, self.values[rows], self.how[rows]))
        if self.said:
            ticks = slice(*np.searchsorted(self.ticks, (start, end)))
            made |= reference.count_prognoses(variables, {name: values[ticks] for name, values in self.said.items()})
        return made


def window_starts(time: np.ndarray, width: int) -> list[int]:
    """Of up to `WINDOWS` windows of `width` nanos, from the beginning of a record to its end; none overlap."""
    first, last = int(time[0]), int(time[-1]) + 1
    many = min(WINDOWS, max(1, (last - first) // width))
    latest = max(first, last - width)
    return [first + (latest - first) * i // max(many - 1, 1) for i in range(many)] if many > 1 else [latest]


def _variables(channels: Sequence[str], machines: Sequence[_Machine]) -> tuple[Variable, ...]:
    values = np.concatenate([machine.values for machine in machines])
    made = []
    for column, channel in enumerate(channels):
        made += [reference.measured(channel, "reading", values[:, column]), reference.received(channel)]
    streamed = [machine.said for machine in machines if machine.said]
    for name in reference.MEASURED:
        warm = [said[name][said["warming_up"] <= 0] for said in streamed]
        made.append(reference.measured(name, "prognosis", np.concatenate(warm)))
    return (*made, *(reference.counted(name) for name in reference.COUNTED))
