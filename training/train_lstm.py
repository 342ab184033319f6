"""Stage `train_lstm`: remaining life by a recurrent network, free of age: trained on random pieces of lives, run over
whole ones with its state carried.

python -m training.train_lstm <fleet>
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from data import command, paths
from training import columns, lstm, metrics, predictions, tracking
from training.dataset import FINAL, Dataset, Part
from training.params import read_params


def lives_of(dataset: Dataset, chosen: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each life among the rows `chosen`, in order of time."""
    key = dataset.rows.groupby(["asset", "life"], sort=False).ngroup().to_numpy()[chosen]
    return np.split(chosen, np.flatnonzero(np.diff(key)) + 1) if len(chosen) else []


def run(fleet: str) -> None:
    dataset, params = Dataset.of(fleet), read_params().lstm
    rows, cap = dataset.rows, np.float32(dataset.asset_class.labels.cap)
    folder = paths.artifact(fleet, "lstm")
    folder.mkdir(parents=True, exist_ok=True)

    with tracking.run(fleet, "lstm", asdict(params)) as mlflow:

        def fit_predict(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
            X = part.table[:, columns.lstm(part)]
            final = part.folder.name == FINAL
            label = dataset.labels(part)
            weight = (rows.warm.to_numpy()[: len(label)] & np.isfinite(label)).astype(np.float32)
            lives = [lstm.Life(X[k], label[k], weight[k]) for k in lives_of(dataset, fitted)]
            log = (lambda epoch, loss: mlflow.log_metric("loss", loss, step=epoch)) if final else None
            weights = lstm.fit(lives, params, log)
            if final:
                weights.save(folder / "weights.npz")
            said = lstm.predict(weights, [X[life] for life in lives_of(dataset, asked)])
            return {"lstm": np.concatenate(said) * cap if said else np.zeros(0, np.float32)}

        table = predictions.predict_all(dataset, fit_predict)
        table.to_parquet(predictions.path(fleet, "lstm"), index=False)
        judged = (rows.fold >= 0) & rows.exact & rows.warm
        value, se = metrics.grouped_rmse(rows.lower[judged], table.lstm[judged], rows.asset[judged])
        unit = dataset.asset_class.life.unit
        tracking.log_scatter(mlflow, "out_of_fold", rows.lower[judged], table.lstm[judged], unit)
        mlflow.log_metrics({"cv_rmse": value, "cv_rmse_se": se})
        print(f"{fleet} lstm: cross-validated RMSE {value:.2f} ± {se:.2f} {unit}")


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
