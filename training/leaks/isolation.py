"""Isolation: what a fold is judged by must not depend on the machines that it is judged on.

The constants of a fold (regimes, expected values, projections) are fitted again in a world where its machines, and the
test machines, were never recorded: no row, no label, no life of theirs is there to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data import paths
from data.lives import read_lives
from data.observations import Observations
from data.splits import Splits
from features.history import History, Table
from features.parameters import Parameters
from training.dataset import Dataset
from training.feature_table import clean_values, fit, label_rows, read_history, subset
from training.leaks.difference import Difference, largest


@dataclass(frozen=True)
class World:
    """Some machines, and all that was ever recorded of them: cleaned values and what is known of each row."""

    dataset: Dataset
    history: History
    clean: Table
    rows: pd.DataFrame

    @classmethod
    def without_test(cls, dataset: Dataset, splits: Splits) -> World:
        """The training machines, read anew from the observations."""
        fleet, of, machines = dataset.fleet, dataset.asset_class, set(splits.train)
        lives = [life for life in read_lives(paths.artifact(fleet, "lives.csv")) if life.asset in machines]
        observations = Observations(paths.observations(fleet), of)
        history = read_history(of, paths.observations(fleet), paths.artifact(fleet, "machines.csv"), splits.train)
        clean = clean_values(of, history)
        return cls(dataset, history, clean, label_rows(of, observations, lives, splits, clean))

    def without(self, machines: Sequence[str]) -> World:
        """The same had `machines` never been recorded."""
        left = [asset for asset in self.history.assets if asset not in set(machines)]
        kept = self.rows.asset.isin(left).to_numpy()
        place = {asset: i for i, asset in enumerate(left)}
        clean = Table(
            assets=left,
            asset=self.rows.asset[kept].map(place).to_numpy(),
            row=self.clean.row[kept],
            columns={name: values[kept] for name, values in self.clean.columns.items()},
        )
        return World(self.dataset, subset(self.history, left), clean, self.rows[kept].reset_index(drop=True))

    def constants(self, seed: int) -> Parameters:
        """The step function's constants, from all machines of this world."""
        return fit(self.dataset.asset_class, self.history, self.clean, self.rows, list(self.history.assets), seed)


def check(stored: Parameters, again: Parameters) -> Difference:
    """The largest difference between stored constants and those fitted without the machines that judge them."""
    for name in ("sensors", "projections", "degree"):
        if getattr(stored, name) != getattr(again, name):
            return Difference(float("inf"), f"{name}: {getattr(stored, name)} stored, {getattr(again, name)} now")
    found = Difference(0.0, "no constant")
    now = _natural(again, stored)
    for name, values in _natural(stored, stored).items():
        found = found.worse(largest(values, now[name], 1.0, lambda row, column, n=name: f"{n}[{row},{column}]"))
    return found


def _natural(p: Parameters, unit: Parameters) -> dict[str, np.ndarray]:
    """The constants [·,·] in units in which 1 is much: spreads of sensors and conditions, the extent of the health."""
    extent = max(abs(unit.healthy - unit.failed), 1e-9)
    spread = unit.spread.max(axis=0)
    made = {
        "centres": p.centres / unit.scale,
        "half_widths": p.half_widths / unit.scale,
        "scale": (p.scale / unit.scale)[None],
        "expected": p.expected / spread,
        "spread": p.spread / spread,
        "weights": p.weights / np.abs(unit.weights).max(axis=0),
        "health levels": np.array([[p.healthy / extent, p.failed / extent]]),
    }
    return {name: values for name, values in made.items() if values.size}
