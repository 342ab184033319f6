"""Stage `train_isolation_forest`: how odd a machine behaves against healthy ones.

python -m training.train_isolation_forest <fleet>
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from data import command, paths
from training import columns, isolation_forest, predictions, tracking
from training.dataset import FINAL, Dataset, Part
from training.params import read_params
from training.trees import Trees


def run(fleet: str) -> None:
    dataset, params = Dataset.of(fleet), read_params().isolation_forest
    rows = dataset.rows
    healthy = (rows.healthy & rows.warm).to_numpy()
    folder = paths.artifact(fleet, "isolation_forest")
    folder.mkdir(parents=True, exist_ok=True)

    def fit_predict(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        used = columns.isolation_forest(part)
        X = part.table[:, used]
        forest = isolation_forest.fit(X[fitted[healthy[fitted]]], params)
        if part.folder.name == FINAL:
            Trees.from_isolation_forest(forest, used).save(folder / "trees.npz")
        return {"score": isolation_forest.score(forest, X[asked]) if len(asked) else np.zeros(0, np.float32)}

    with tracking.run(fleet, "isolation forest", asdict(params)) as mlflow:
        table = predictions.predict_all(dataset, fit_predict)
        table.to_parquet(predictions.path(fleet, "isolation_forest"), index=False)
        training = rows.fold >= 0
        groups = {"healthy": table.score[training & rows.healthy], "not healthy": table.score[training & ~rows.healthy]}
        tracking.log_histogram(mlflow, "scores", groups, "anomaly score of the forest, out of fold")
        odd = table.score[training & rows.healthy].mean(), table.score[training & ~rows.healthy].mean()
        mlflow.log_metrics({"mean_score_healthy": odd[0], "mean_score_not_healthy": odd[1]})
        print(f"{fleet} isolation forest: mean score {odd[0]:.3f} on healthy rows, {odd[1]:.3f} on the others")


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
