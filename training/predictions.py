"""What a model family says of every row: out-of-fold on training machines, by the final model on test machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from data import paths
from training.dataset import FINAL, TEST, Dataset, Part

Predict = Callable[[Part, np.ndarray, np.ndarray], dict[str, np.ndarray]]


def predict_all(dataset: Dataset, fit_predict: Predict) -> pd.DataFrame:
    """Call `fit_predict(part, fitted, asked)` once per fold and once for the final model, and put the answers together.

    `fitted` and `asked` are row numbers of the part's table: those of the machines to learn from, those to predict.
    """
    answers: dict[str, np.ndarray] = {}
    for part, fitted, asked in tasks(dataset):
        for name, values in fit_predict(part, fitted, asked).items():
            answers.setdefault(name, np.full(len(dataset.rows), np.nan, np.float32))[asked] = values
    return pd.DataFrame(answers)


def tasks(dataset: Dataset) -> list[tuple[Part, np.ndarray, np.ndarray]]:
    """(part, fitted, asked) of each fold, and of the final model; see `predict_all`."""
    fold = dataset.rows.fold.to_numpy()
    folds = [
        (dataset.part(k), np.flatnonzero((fold != k) & (fold != TEST)), np.flatnonzero(fold == k))
        for k in dataset.folds
    ]
    return [*folds, (dataset.part(FINAL), np.flatnonzero(fold != TEST), np.flatnonzero(fold == TEST))]


def path(fleet: str, family: str) -> Path:
    return paths.artifact(fleet, family) / "predictions.parquet"


def read(fleet: str, family: str) -> pd.DataFrame:
    return pd.read_parquet(path(fleet, family))
