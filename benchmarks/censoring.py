"""What learning from censored machines is worth: the ends of half of the training lives hidden at random cuts.

python -m benchmarks.censoring FLEET [--seeds 5] [--head free]      after `dvc repro features@FLEET`

Three ways to learn from the same records, by cross-validation on complete lives: machines that did not fail are left
out, of the constants of the features too; rows known to reach the cap are kept; all are learned from
(`training.expected_labels`). Everything fitted is refitted on what each fold is allowed to see.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import measure
from data import paths
from data.lives import Life, read_lives
from data.observations import Observations
from data.splits import read_splits
from edge_runtime.replay import Series
from features import history
from features.history import History, Table
from features.step import FeatureStep
from features.trace import feature_graph
from training import feature_table, xgboost_model
from training.dataset import Dataset
from training.expected_labels import expected_labels
from training.params import read_params

HIDDEN = 0.5  # of the lives
DROPPED, CAPPED, LEARNED = "left out", "kept where they reach the cap", "learned from"
RESAMPLES = 2000  # of the machines, for the standard error of a difference


@dataclass(frozen=True)
class _Cut:
    """The first `rows` observations of a machine, read anew each time."""

    whole: Any
    rows: int

    def __iter__(self) -> Iterator[Series]:
        left = self.rows
        for part in self.whole:
            if left > 0:
                yield part.part(0, min(left, len(part.time)))
                left -= len(part.time)


def hide(lives: list[Life], observations: Observations, seed: int) -> tuple[list[Life], dict[str, int]]:
    """The lives with the ends of some hidden, and of each machine cut how many observations are left."""
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(len(lives), round(HIDDEN * len(lives)), replace=False).tolist())
    made, rows = [], {}
    for i, life in enumerate(lives):
        time = observations.timeline(life.asset).time
        if i in chosen:
            rows[life.asset] = int(rng.integers(2, len(time)))
            last = int(time[rows[life.asset] - 1])
            life = replace(life, kind="censored", last=last, end=last)
        made.append(life)
    return made, rows


def cut(whole: History, rows: dict[str, int]) -> History:
    return replace(
        whole,
        rows={asset: rows.get(asset, whole.rows[asset]) for asset in whole.assets},
        series={a: _Cut(whole.series[a], rows[a]) if a in rows else whole.series[a] for a in whole.assets},
    )


def errors_by_machine(dataset: Dataset, head: str, seed: int) -> dict[str, np.ndarray]:
    """Mean square error of each training machine, out of fold and over its complete life, by way of learning."""
    cls, params = dataset.asset_class, read_params()
    splits = read_splits(paths.artifact(dataset.fleet, "splits.json"))
    observations = Observations(paths.observations(dataset.fleet), cls)
    whole = feature_table.read_history(
        cls, paths.observations(dataset.fleet), paths.artifact(dataset.fleet, "machines.csv"), splits.train
    )
    lives = [life for life in read_lives(paths.artifact(dataset.fleet, "lives.csv")) if life.asset in set(splits.train)]
    if len(lives) != len(splits.train):
        raise SystemExit(f"{dataset.fleet}: this experiment needs machines of one life each")
    hidden, left = hide(lives, observations, seed)
    seen = cut(whole, left)
    clean = feature_table.clean_values(cls, whole)
    complete = feature_table.label_rows(cls, observations, lives, splits, clean)
    visible = (complete.row < complete.asset.map(lambda asset: left.get(asset, np.inf))).to_numpy()
    rows = feature_table.label_rows(cls, observations, hidden, splits, clean)[visible].reset_index(drop=True)
    shown = Table(
        seen.assets, clean.asset[visible], clean.row[visible], {k: v[visible] for k, v in clean.columns.items()}
    )
    cap, fold, cut_off = cls.labels.cap, rows.fold.to_numpy(), rows.asset.isin(list(left)).to_numpy()
    known = np.where(rows.exact, rows.lower / cap, np.nan).astype(np.float32)
    said = {way: np.zeros(len(complete)) for way in (DROPPED, CAPPED, LEARNED)}
    for k, held_out in enumerate(splits.folds):
        machines = [asset for asset in splits.train if asset not in set(held_out)]
        failed = [asset for asset in machines if asset not in left]
        asked = (complete.fold == k).to_numpy()
        for learned_from, of_these in ((failed, [DROPPED]), (machines, [CAPPED, LEARNED])):
            step = FeatureStep(cls, feature_table.fit(cls, seen, shown, rows, learned_from, params.features.seed))
            graph = feature_graph(step).SerializeToString()
            X = history.run(graph, whole, ["features"], label=f"fold {k}").columns["features"]
            free = head != "aged"
            used = [
                i for i, n in enumerate(step.names) if n != "clock.log_step" and not (free and i >= step.free_of_age)
            ]
            emphasised = [at for at, i in enumerate(used) if step.names[i] == "clock.age"]
            for way in of_these:
                fitted = np.flatnonzero((fold != k) & (~cut_off | (way != DROPPED)))
                learned, label = X[visible][fitted][:, used], known[fitted]
                if way == LEARNED:
                    label = expected_labels(rows.iloc[fitted], learned, cap, params.xgboost, emphasised)
                says = np.isfinite(label)
                booster = xgboost_model.fit(
                    learned[says], label[says], np.ones(says.sum(), np.float32), params.xgboost, emphasised
                )
                said[way][asked] = np.clip(xgboost_model.predict(booster, X[asked][:, used]) * cap, 0, cap)
    judged = complete.warm.to_numpy()
    return {
        way: pd.Series((values - complete.lower)[judged] ** 2).groupby(complete.asset[judged]).mean().to_numpy()
        for way, values in said.items()
    }


def run(fleet: str, seeds: int, head: str | None) -> dict[str, Any]:
    """RMSE by way of learning, and its difference to leaving the machines out, over all seeds."""
    dataset = Dataset.of(fleet)
    head = head or dataset.heads[0]
    errors = [errors_by_machine(dataset, head, seed) for seed in tqdm(range(seeds), desc="seeds", disable=None)]
    ways: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for way in (DROPPED, CAPPED, LEARNED):
        own, base = (
            np.stack([by_machine[name] for by_machine in errors]) for name in (way, DROPPED)
        )  # [seeds, machines]
        drawn = rng.integers(0, own.shape[1], (RESAMPLES, own.shape[1]))
        resampled = np.sqrt(own.mean(axis=0)[drawn].mean(axis=1)) - np.sqrt(base.mean(axis=0)[drawn].mean(axis=1))
        by_seed = np.sqrt(own.mean(axis=1)) - np.sqrt(base.mean(axis=1))
        ways[way] = {
            "rmse": float(np.sqrt(own.mean(axis=1)).mean()),
            "difference": float(by_seed.mean()),
            "se_machines": float(resampled.std()),
            "se_seeds": float(by_seed.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else None,
        }
    return {"fleet": fleet, "head": head, "seeds": seeds, "hidden": HIDDEN, "ways": ways} | measure.about("xgboost")


def report(result: dict[str, Any]) -> str:
    head = ["machines that did not fail are", "RMSE", "difference", "± over machines", "± over seeds"]
    rows = [
        [way, f"{of['rmse']:.2f}", f"{of['difference']:+.2f}", f"{of['se_machines']:.2f}", _number(of["se_seeds"])]
        for way, of in result["ways"].items()
    ]
    title = f"{result['fleet']}, head {result['head']}, {result['seeds']} seeds, trees alone: cross-validated"
    return "\n".join([title, "", measure.table(head, rows)])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("fleet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--head", choices=("aged", "free"), help="default: the fleet's first")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    result = run(options.fleet, options.seeds, options.head)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
