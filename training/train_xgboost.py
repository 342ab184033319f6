"""Stage `train_xgboost`: remaining life by boosted trees, with age and without.

python -m training.train_xgboost <fleet>
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from data import command, paths
from training import columns, metrics, predictions, tracking, xgboost_model
from training.dataset import FINAL, Dataset, Part
from training.params import read_params


def run(fleet: str) -> None:
    dataset, params = Dataset.of(fleet), read_params().xgboost
    rows, cap = dataset.rows, dataset.asset_class.labels.cap
    folder = paths.artifact(fleet, "xgboost")
    folder.mkdir(parents=True, exist_ok=True)

    def fit_predict(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        said = {}
        label = dataset.labels(part)
        fitted = fitted[np.isfinite(label[fitted])]
        for head in dataset.heads:
            X = part.table[:, part.columns(head)]
            weight = np.ones(len(fitted), np.float32)
            booster = xgboost_model.fit(X[fitted], label[fitted], weight, params, columns.emphasised(part, head))
            said[head] = xgboost_model.predict(booster, X[asked]) * np.float32(cap)
            if part.folder.name == FINAL:
                booster.save_model(folder / f"{head}.ubj")
        return said

    with tracking.run(fleet, "xgboost", asdict(params)) as mlflow:
        table = predictions.predict_all(dataset, fit_predict)
        table.to_parquet(predictions.path(fleet, "xgboost"), index=False)
        judged = (rows.fold >= 0) & rows.exact & rows.warm
        for head in dataset.heads:
            value, se = metrics.grouped_rmse(rows.lower[judged], table[head][judged], rows.asset[judged])
            tracking.log_scatter(
                mlflow, f"out_of_fold_{head}", rows.lower[judged], table[head][judged], dataset.asset_class.life.unit
            )
            mlflow.log_metrics({f"cv_rmse_{head}": value, f"cv_rmse_{head}_se": se})
            print(
                f"{fleet} xgboost {head}: cross-validated RMSE {value:.2f} ± {se:.2f} {dataset.asset_class.life.unit}"
            )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
