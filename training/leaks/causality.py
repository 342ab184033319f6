"""Causality: the features of a row must not change when what comes later is withheld.

The record of a few machines is cut off, each at a tick drawn at random, and everything from the observations file on is
done again. Whatever looked ahead now finds nothing there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data import paths
from data.asset_class import AssetClass
from training.dataset import Dataset, Part
from training.feature_table import make_features, read_history
from training.leaks.difference import Difference, largest

MACHINES = 6  # whose record is cut off: what a replay costs are the observations of the longest
FLOOR = 0.01  # a feature that hardly varies is measured by this: normalised sensors and ages in ticks vary by about 1

Feature = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (column f[R], life int[R]) → f[R]


@dataclass(frozen=True)
class Replay:
    """What came out of cut records: features f32[N,F] of the rows `index` int64[N] of the stored table."""

    index: np.ndarray
    features: np.ndarray


def choose_cuts(rows: pd.DataFrame, rng: np.random.Generator) -> dict[str, int]:
    """How many observations to keep of each machine drawn: up to one of its ticks, but not the last.

    Machines with a single tick have no later one to withhold; {} if all are such.
    """
    ticks = rows.groupby("asset", sort=False).row.apply(np.array)
    assets = [asset for asset, of in ticks.items() if len(of) > 1]
    chosen = rng.permutation(np.array(assets, dtype=object))[:MACHINES]
    last = {asset: int(rng.integers(len(ticks[asset]) // 4, len(ticks[asset]) - 1)) for asset in chosen}
    return {asset: int(ticks[asset][tick]) + 1 for asset, tick in last.items()}


def cut_records(observations: Path, cls: AssetClass, cuts: Mapping[str, int], folder: Path) -> Path:
    """A file of the first observations of some machines, in `folder`, with their snapshots up to then beside it."""
    target = folder / observations.name
    until = {}
    with pq.ParquetWriter(target, pq.read_schema(observations)) as file:
        for asset, count in cuts.items():
            own = pq.read_table(observations, filters=[("asset", "=", asset)]).slice(0, count)
            until[asset] = own["time"][-1]
            file.write_table(own)
    for name in cls.waveforms:
        side = paths.waveform(observations, name)
        if side.exists():
            with pq.ParquetWriter(paths.waveform(target, name), pq.read_schema(side)) as file:
                for asset, last in until.items():
                    own = pq.read_table(side, filters=[("asset", "=", asset)])
                    own = own.slice(0, pc.sum(pc.less_equal(own["time"], last)).as_py() or 0)
                    if len(own):  # a row group says whose it is: there is none of nothing
                        file.write_table(own)
    return target


def replay(dataset: Dataset, part: Part, cuts: Mapping[str, int]) -> Replay:
    """The features of the cut records, made by the code of stage `features` with the stored constants of `part`."""
    cls, fleet = dataset.asset_class, dataset.fleet
    with tempfile.TemporaryDirectory() as folder:
        file = cut_records(paths.observations(fleet), cls, cuts, Path(folder))
        whole = read_history(cls, file, paths.artifact(fleet, "machines.csv"), list(cuts))
        table = make_features(cls, part.parameters, whole, f"{part.folder.name}, cut off")
    stored = pd.MultiIndex.from_frame(dataset.rows[["asset", "row"]])
    made = pd.MultiIndex.from_arrays([np.array(table.assets, dtype=object)[table.asset], table.row])
    return Replay(stored.get_indexer(made), table.columns["features"])


def check(dataset: Dataset, part: Part, cuts: Mapping[str, int], again: Replay) -> Difference:
    """The largest difference that withholding the future makes to the stored table: about 0, or the pipeline leaks."""
    rows = dataset.rows
    expected = np.flatnonzero(rows.row < rows.asset.map(cuts).fillna(0))
    if not np.array_equal(np.sort(again.index), expected):
        return Difference(float("inf"), f"the ticks: {len(expected)} stored, {len(again.index)} when cut off")
    spread = np.maximum(np.std(part.table, axis=0), FLOOR)
    key = rows.iloc[again.index]

    def name(row: int, column: int) -> str:
        return f"'{part.names[column]}' of {key.asset.iloc[row]} at observation {key.row.iloc[row]}"

    return largest(part.table[again.index], again.features, spread, name)


def check_feature(dataset: Dataset, part: Part, column: int, feature: Feature, again: Replay) -> Difference:
    """The same for one more feature, made of the stored `column` and, with the future withheld, of its replay."""
    life = lives(dataset.rows)
    stored = feature(part.table[:, column], life[: len(part.table)])
    made = feature(again.features[:, column], life[again.index])
    spread = max(float(np.std(stored)), FLOOR)
    return largest(stored[again.index, None], made[:, None], spread, lambda row, _: f"row {again.index[row]}")


def lives(rows: pd.DataFrame) -> np.ndarray:
    """int64[R]: which life of which machine each row belongs to."""
    return rows.groupby(["asset", "life"], sort=False).ngroup().to_numpy()
