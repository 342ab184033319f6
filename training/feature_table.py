"""Stage `features`: fit the step function's constants and run it over history, once per fold and once for all.

python -m training.feature_table <fleet>
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data import command, paths
from data.asset_class import AssetClass
from data.errors import DataError
from data.labels import label
from data.lives import Life, read_lives
from data.observations import Observations
from data.resolve import read_class
from data.splits import Splits, read_splits
from features import history
from features.fit import fit_normalisation, fit_projections
from features.history import History, Table
from features.parameters import Parameters, unfitted
from features.step import FeatureStep, sensor_names
from features.trace import feature_graph
from training.dataset import FINAL, TEST, machine_weights
from training.params import read_params


@dataclass(frozen=True)
class _Stream:
    """The observations of one asset, read anew each time."""

    observations: Observations
    asset: str

    def __iter__(self):
        return self.observations.series(self.asset)


def read_history(asset_class: AssetClass, path: Path, machines: Path, assets: Sequence[str] | None = None) -> History:
    """The recorded history of `assets` (default: all), with the settings of each machine."""
    observations = Observations(path, asset_class)
    assets = list(assets) if assets is not None else observations.assets
    # only an empty cell is unknown: a machine may be called NA
    table = pd.read_csv(machines, dtype={"asset": str}, keep_default_na=False, na_values="").set_index("asset")
    own = table.reindex(index=assets, columns=list(asset_class.settings)).to_numpy(np.float32)
    alarms = np.full((len(assets), len(asset_class.alarm_settings)), np.nan, np.float32)
    return History(
        assets=assets,
        rows={asset: observations.rows(asset) for asset in assets},
        series={asset: _Stream(observations, asset) for asset in assets},
        settings=np.concatenate([own, alarms], axis=1),
    )


def subset(whole: History, assets: Sequence[str]) -> History:
    """The history of some of the assets."""
    index = [list(whole.assets).index(asset) for asset in assets]
    return replace(whole, assets=list(assets), settings=whole.settings[index])


def label_rows(
    asset_class: AssetClass, observations: Observations, lives: Sequence[Life], splits: Splits, table: Table
) -> pd.DataFrame:
    """What is known of each row of `table`; see `Dataset.rows`."""
    time, life, age = (np.empty(len(table.row), dtype) for dtype in (np.int64, np.int32, np.float64))
    for i, asset in enumerate(table.assets):
        mine = table.asset == i
        timeline = observations.timeline(asset)
        time[mine], life[mine], age[mine] = (x[table.row[mine]] for x in (timeline.time, timeline.life, timeline.age))
    assets = np.array(table.assets, dtype=object)[table.asset]
    labels = label(asset_class, lives, assets, life, time, age)
    fold = {asset: TEST if part == "test" else int(part) for asset, part in splits.machines.items()}
    rows = pd.DataFrame(
        {
            "asset": assets.astype(str),
            "life": life,
            "row": table.row,
            "time": time,
            "age": age,
            "fold": [fold[asset] for asset in assets],
            "rul": labels.rul,
            "lower": labels.lower,
            "upper": labels.upper,
            "exact": labels.exact,
            "failed_within": labels.failed_within,
            "healthy": labels.healthy,
            "warming_up": table.columns["warming_up"],
            "warm": table.columns["warming_up"] <= 0,
            "since_new": table.columns["since_new"] > 0.5,
        }
    )
    # a log may have the failure a moment after the last row
    tick = asset_class.time.tick * 1e9
    failed = {(each.asset, each.life) for each in lives if each.kind == "failure" and each.end - each.last <= tick}
    last = rows.groupby(["asset", "life"]).row.transform("max") == rows.row
    rows["at_failure"] = last & np.array([key in failed for key in zip(rows.asset, rows.life, strict=True)])
    return rows


def require_labels(fleet: str, rows: pd.DataFrame) -> None:
    """Raise `DataError` where some fold would leave nothing to learn from."""
    training = rows[(rows.fold != TEST) & rows.warm]
    if training.empty:
        raise DataError(
            f"{fleet}: no training machine was ever warm: for features.warm_up ticks, without a gap of time.max_gap, "
            "all conditions and a sensor have to be received and in range; see which channels are not in "
            f"artifacts/{fleet}/quality.json, or lower features.warm_up"
        )
    for fold in sorted(rows.fold[rows.fold != TEST].unique()):
        fitted = training[training.fold != fold]
        without = f"{fleet}: without the machines of fold {fold} there is no row after warm-up"
        known = fitted.lower[fitted.exact]
        if known.empty:
            raise DataError(
                f"{without} whose remaining life is known: add machines that failed, or lower labels.cap or "
                "features.warm_up"
            )
        if known.nunique() < 2:
            raise DataError(
                f"{fleet}: without the machines of fold {fold} all rows after warm-up whose remaining life is known "
                f"have the same, {known.iloc[0]:g}, and nothing can be told apart: add machines recorded until they "
                "failed; if there are such, correct the times of the failure log, or raise labels.cap"
            )
        if fitted.healthy.sum() < 2:
            raise DataError(f"{without} that is healthy: lower life.healthy.min_remaining or features.warm_up")


def clean_values(asset_class: AssetClass, whole: History) -> Table:
    """Cleaned but not normalised sensor values and operating conditions at every tick: what fitting starts from."""
    raw = asset_class.model_copy(update={"features": asset_class.features.model_copy(update={"spike": None})})
    step = FeatureStep(raw, unfitted(sensor_names(asset_class), len(asset_class.conditions)))
    wanted = ["values", "warming_up", "since_new"] + (["conditions"] if asset_class.conditions else [])
    return history.run(feature_graph(step).SerializeToString(), whole, wanted, label="cleaning")


def fit(
    asset_class: AssetClass, whole: History, clean: Table, rows: pd.DataFrame, machines: Sequence[str], seed: int
) -> Parameters:
    """The constants of the step function, from `machines` alone."""
    mine = rows.asset.isin(machines).to_numpy()
    own = rows[mine]
    parameters = fit_normalisation(
        asset_class,
        sensor_names(asset_class),
        clean.columns["values"][mine],
        clean.columns["conditions"][mine] if "conditions" in clean.columns else None,
        own.healthy.to_numpy(),
        seed,
    )
    step = FeatureStep(asset_class, parameters)
    ordered = [asset for asset in whole.assets if asset in set(machines)]
    table = history.run(feature_graph(step).SerializeToString(), subset(whole, ordered), ["features"], label="filters")
    sensors, row = len(parameters.sensors), step.filters.health_row
    capped = np.where(own.exact, own.lower, np.nan).astype(np.float32)
    return fit_projections(
        parameters,
        table.columns["features"][:, row * sensors : (row + 1) * sensors],
        capped,
        own.healthy.to_numpy(),
        own.at_failure.to_numpy(),
        machine_weights(own).astype(np.float32),
    )


def make_features(asset_class: AssetClass, parameters: Parameters, whole: History, name: str) -> Table:
    """The columns `features` and `novelty` at every tick of `whole`, by the traced graph under `parameters`."""
    graph = feature_graph(FeatureStep(asset_class, parameters)).SerializeToString()
    return history.run(graph, whole, ["features", "novelty"], label=name)


def write_part(folder: Path, asset_class: AssetClass, parameters: Parameters, whole: History) -> None:
    """The traced graph under `parameters` run over `whole`."""
    folder.mkdir(parents=True, exist_ok=True)
    step = FeatureStep(asset_class, parameters)
    table = make_features(asset_class, parameters, whole, folder.name)
    np.save(folder / "table.npy", table.columns["features"])
    np.save(folder / "novelty.npy", table.columns["novelty"])
    (folder / "names.json").write_text(json.dumps({"names": step.names, "free_of_age": step.free_of_age}, indent=1))
    parameters.save(folder / "parameters.npz")


def run(fleet: str) -> None:
    asset_class, seed = read_class(fleet), read_params().features.seed
    lives = read_lives(paths.artifact(fleet, "lives.csv"))
    splits = read_splits(paths.artifact(fleet, "splits.json"))
    whole = read_history(
        asset_class,
        paths.observations(fleet),
        paths.artifact(fleet, "machines.csv"),
        [*splits.train, *splits.test],
    )
    observations = Observations(paths.observations(fleet), asset_class)
    passes = 2 + 2 * len(splits.folds) + 1
    print(f"{fleet}: {whole.total:,} observations of {len(whole.assets)} machines, streamed {passes} times")
    began = time.monotonic()
    clean = clean_values(asset_class, whole)
    seconds = time.monotonic() - began
    print(f"{fleet}: a pass took {seconds:.0f} s: about {(passes - 1) * seconds / 60:.1f} min to go")
    rows = label_rows(asset_class, observations, lives, splits, clean)
    require_labels(fleet, rows)
    folder = paths.artifact(fleet, "features")
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "rows.parquet", index=False)
    training = subset(whole, splits.train)
    for number, held_out in enumerate(splits.folds):
        machines = [asset for asset in splits.train if asset not in set(held_out)]
        parameters = fit(asset_class, whole, clean, rows, machines, seed)
        write_part(folder / f"fold{number}", asset_class, parameters, training)
    parameters = fit(asset_class, whole, clean, rows, splits.train, seed)
    write_part(folder / FINAL, asset_class, parameters, whole)
    for note in parameters.notes:
        print(f"{fleet}: {note}")


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
