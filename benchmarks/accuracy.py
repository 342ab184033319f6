"""What more trees and more seeds buy, and what they cost: cross-validated error against µs.

python -m benchmarks.accuracy FLEET      after `dvc repro features@FLEET`

Each row is the boosted trees of `params.yaml` with another number of trees (learning rate times trees stays the same)
or as the mean of several seeds (a bag), for the fleet's first head. The difference to what is shipped is paired by
machine: a bag is worth its time only where it gains more than the standard error of that difference.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import measure
from benchmarks.measure import timed
from benchmarks.trees import session
from training import columns, xgboost_model
from training.dataset import FINAL, TEST, Dataset, Part
from training.params import read_params
from training.trees import Trees

BATCHES = (1, 1000)
SHIPPED = "as shipped"


@dataclass(frozen=True)
class Way:
    """A share of the trees of `params.yaml`, and how many seeds are averaged."""

    name: str
    share: float
    seeds: int


WAYS = (
    Way(SHIPPED, 1.0, 1),
    Way("half the trees", 0.5, 1),
    Way("a quarter of the trees", 0.25, 1),
    Way("a bag of three seeds", 1.0, 3),
    Way("a bag of three, a third of the trees each", 1 / 3, 3),
)


def fit(dataset: Dataset, part: Part, way: Way, fitted: np.ndarray) -> list[Any]:
    """The boosters of `way`, one a seed, on the rows `fitted` of `part`."""
    params, head = read_params().xgboost, dataset.heads[0]
    trees = max(1, round(params.trees * way.share))
    label = dataset.labels(part)
    fitted = fitted[np.isfinite(label[fitted])]
    X, label = part.table[:, part.columns(head)][fitted], label[fitted]
    weight = np.ones(len(fitted), np.float32)
    made = []
    for seed in range(way.seeds):
        own = replace(
            params, trees=trees, learning_rate=params.learning_rate * params.trees / trees, seed=params.seed + seed
        )
        made.append(xgboost_model.fit(X, label, weight, own, columns.emphasised(part, head)))
    return made


def errors(dataset: Dataset, way: Way) -> np.ndarray:
    """Mean square error of each training machine, out of fold, rows after warm-up with a known label."""
    rows, cap, head = dataset.training, dataset.asset_class.labels.cap, dataset.heads[0]
    fold, said = rows.fold.to_numpy(), np.zeros(len(rows))
    for k in dataset.folds:
        part = dataset.part(k)
        boosters = fit(dataset, part, way, np.flatnonzero(fold != k))
        asked = np.flatnonzero(fold == k)
        X = part.table[:, part.columns(head)][asked]
        said[asked] = np.mean([xgboost_model.predict(booster, X) for booster in boosters], axis=0) * cap
    judged = (rows.exact & rows.warm).to_numpy()
    error = (np.clip(said, 0, cap) - rows.lower.to_numpy()) ** 2
    return pd.Series(error[judged]).groupby(rows.asset.to_numpy()[judged]).mean().to_numpy()


def cost(dataset: Dataset, way: Way, budget: float) -> dict[str, float]:
    """µs of onnxruntime for the trees of `way`, by rows in a call."""
    part = dataset.part(FINAL)
    boosters = fit(dataset, part, way, np.flatnonzero(dataset.rows.fold != TEST))
    used = part.columns(dataset.heads[0])
    ensembles = [Trees.from_xgboost(booster, used) for booster in boosters]
    return {str(n): timed(session(ensembles, np.ascontiguousarray(part.table[:n])), budget).p50 for n in BATCHES}


def run(fleet: str, budget: float) -> dict[str, Any]:
    dataset = Dataset.of(fleet)
    made = {way.name: errors(dataset, way) for way in tqdm(WAYS, desc="ways", disable=None)}
    base = made[SHIPPED]
    ways = {}
    for way in WAYS:
        own = made[way.name]
        rmse, shipped = np.sqrt(own.mean()), np.sqrt(base.mean())
        # delta method on the paired machines: the standard error of a difference of two roots of means
        se = np.std(own / (2 * rmse) - base / (2 * shipped), ddof=1) / np.sqrt(len(own))
        ways[way.name] = {
            "rmse": float(rmse),
            "se": float(np.std(own, ddof=1) / np.sqrt(len(own)) / (2 * rmse)),
            "difference": float(rmse - shipped),
            "difference_se": float(se),
            "us": cost(dataset, way, budget),
        }
    return {"fleet": fleet, "head": dataset.heads[0], "ways": ways} | measure.about("xgboost", "onnxruntime")


def report(result: dict[str, Any]) -> str:
    head = ["trees", "CV RMSE", "to the shipped", "one machine", "a machine of 1,000"]
    rows = [
        [
            name,
            f"{of['rmse']:.2f} ± {of['se']:.2f}",
            "" if name == SHIPPED else f"{of['difference']:+.2f} ± {of['difference_se']:.2f}",
            measure.duration(of["us"]["1"]),
            measure.duration(of["us"]["1000"] / 1000),
        ]
        for name, of in result["ways"].items()
    ]
    return f"{result['fleet']}, head {result['head']}, one thread\n\n" + measure.table(head, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("fleet")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each time (1)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    measure.single_threaded()
    result = run(options.fleet, options.budget)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
