"""What a report rests on, and the tables drawn from it; machines are weighted equally wherever rows are averaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data import paths
from data.asset_class import AssetClass
from data.lives import Life, read_lives
from data.observations import Observations
from data.resolve import read_class
from edge_runtime.bundle import Bundle
from edge_runtime.manifest import Manifest
from training import looks
from training.alarm_history import Watched, watch
from training.dataset import machine_weights
from training.feature_table import read_history
from training.figure_table import Figures
from training.looks import Look
from training.measures.remaining_life import inside

TRAJECTORIES = 6
BINS = 10  # of the failure probability
RESAMPLES = 200  # of the machines, for the spread of a share


@dataclass(frozen=True)
class Evidence:
    """All that the earlier stages left about one fleet; `table` has a row a tick of every test machine."""

    asset_class: AssetClass
    manifest: Manifest
    figures: Figures
    cross: Mapping[str, Any]
    quality: Mapping[str, Any]
    lives: list[Life]
    table: pd.DataFrame
    watched: Watched
    thresholds: pd.DataFrame  # `measures.alarming.curve`
    looks: list[Look]

    @property
    def cap(self) -> float:
        return self.asset_class.labels.cap

    @property
    def horizon(self) -> float:
        return self.asset_class.labels.horizon


def read(fleet: str) -> Evidence:
    """Read the files of `fleet`, and run its bundle over the history of the test machines."""
    cls = read_class(fleet)
    bundle = Bundle.load(paths.artifact(fleet, "bundle"))
    table = pd.read_parquet(paths.artifact(fleet, "predictions.parquet"))
    lives = read_lives(paths.artifact(fleet, "lives.csv"))
    test = list(dict.fromkeys(table.asset))
    whole = read_history(cls, paths.observations(fleet), paths.artifact(fleet, "machines.csv"), test)
    twins = bundle.fleet(test, whole.settings)
    observations = Observations(paths.observations(fleet), cls)
    units = cls.time_units_per_life_unit
    return Evidence(
        asset_class=cls,
        manifest=bundle.manifest,
        figures=Figures(_json(fleet, "metrics.json")),
        cross=_json(fleet, "cross_validation.json"),
        quality=_json(fleet, "quality.json"),
        lives=lives,
        table=table,
        watched=watch(twins, whole, observations, lives, units, cls.labels.horizon),
        thresholds=pd.read_csv(paths.artifact(fleet, "thresholds.csv")),
        looks=looks.read(paths.artifact(fleet, looks.FILE)),
    )


def _json(fleet: str, name: str) -> Any:
    return json.loads(paths.artifact(fleet, name).read_text(encoding="utf-8"))


def scored(evidence: Evidence) -> pd.DataFrame:
    """Each held-out life at the row at which it is scored, with `inside`."""
    rows = evidence.table[evidence.table.scored]
    return rows.assign(inside=inside(rows, evidence.cap))


def unfamiliar(table: pd.DataFrame) -> list[str]:
    """Machines that ran, for most of the time after warm-up, where no training machine was: those of which the twin
    itself says that it does not know them."""
    mean = table[table.warm].groupby("asset").unfamiliar.mean()
    return [str(asset) for asset in mean.index[mean > 0.5]]


def badly_covered(evidence: Evidence) -> tuple[int, int]:
    """How many test machines have the truth outside the interval most of the time, and of how many."""
    judged = evidence.table[evidence.table.exact & evidence.table.warm]
    share = pd.Series(inside(judged, evidence.cap), index=judged.index).groupby(judged.asset).mean()
    return int((share < 0.5).sum()), len(share)


@dataclass(frozen=True)
class Trajectory:
    """One held-out life: elapsed, truth (capped), true_rul, rul, rul_lower, rul_upper, warm, by row."""

    name: str
    error: float  # mean absolute, after warm-up
    rows: pd.DataFrame


def trajectories(evidence: Evidence) -> list[Trajectory]:
    """Six lives, evenly spread from the best to the worst predicted, of those that were watched close to their failure.

    Where too few were, of all whose failure is known.
    """
    table, units = evidence.table, evidence.asset_class.time_units_per_life_unit
    found = []
    for (asset, life), rows in table[table.true_rul.notna()].groupby(["asset", "life"], sort=False):
        judged = rows[rows.exact & rows.warm]
        if len(judged):
            elapsed = (rows.time - rows.time.iloc[0]) / 1e9 / units
            made = rows.assign(elapsed=elapsed, truth=rows.lower)
            name = asset if life == 0 and (table[table.asset == asset].life == 0).all() else f"{asset}, life {life}"
            found.append(Trajectory(name, float((judged.rul - judged.lower).abs().mean()), made))
    close = [each for each in found if each.rows.true_rul.iloc[-1] <= evidence.horizon]
    chosen = sorted(close if len(close) >= TRAJECTORIES else found, key=lambda each: (each.error, each.name))
    places = np.linspace(0, len(chosen) - 1, min(TRAJECTORIES, len(chosen))).round().astype(int)
    return [chosen[place] for place in places]


def reliability(evidence: Evidence) -> pd.DataFrame:
    """Failures within the horizon by bin of predicted probability: predicted, observed, low, high, share, machines.

    All test rows after warm-up whose outcome is known. `low` and `high` hold 90 % of resamples of the machines (NaN for
    a bin of one machine); `share` is of the weight of all rows.
    """
    known = evidence.table[evidence.table.failed_within.notna() & evidence.table.warm]
    columns = ["predicted", "observed", "low", "high", "share", "machines"]
    if known.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    weight = machine_weights(known)
    probability = known.failure_probability.to_numpy(np.float64)
    machine, machines = pd.factorize(known.asset)
    cell = machine * BINS + np.minimum((probability * BINS).astype(int), BINS - 1)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values, minlength=len(machines) * BINS).reshape(-1, BINS)

    mass, failed, said = sums(weight), sums(weight * known.failed_within.to_numpy()), sums(weight * probability)
    draws = np.random.default_rng(0).multinomial(len(machines), np.full(len(machines), 1 / len(machines)), RESAMPLES)
    with np.errstate(invalid="ignore"):
        resampled = (draws @ failed) / (draws @ mass)
    made = []
    for b in np.flatnonzero(mass.sum(axis=0) > 0):
        total, seen = mass[:, b].sum(), int((mass[:, b] > 0).sum())
        low, high = np.nanquantile(resampled[:, b], [0.05, 0.95]) if seen > 1 else (np.nan, np.nan)
        made.append((said[:, b].sum() / total, failed[:, b].sum() / total, low, high, total / mass.sum(), seen))
    return pd.DataFrame(made, columns=columns)
