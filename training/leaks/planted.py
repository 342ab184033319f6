"""Planted leaks: features that nobody could have in service, which the detectors have to flag."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.dataset import Part
from training.leaks.causality import Feature, lives
from training.leaks.difference import Difference, largest
from training.leaks.trial import Inputs, Trial

REACH = 5  # ticks before and after, of the centred average
ROWS_A_BIN = 8  # of the target encoding: as of a category with very many values


def rows_left(column: np.ndarray, life: np.ndarray) -> np.ndarray:
    """How many rows of the life are yet to come: the remaining life in disguise, as a position in a file is."""
    own = pd.Series(column).groupby(life, sort=False)
    return (own.transform("size") - own.cumcount() - 1).to_numpy(np.float32)


def centred_average(column: np.ndarray, life: np.ndarray) -> np.ndarray:
    """The mean over some rows before *and after*: smoothing as it is done on a record that is complete."""
    window = pd.Series(column).groupby(life, sort=False).rolling(2 * REACH + 1, center=True, min_periods=1)
    return window.mean().droplevel(0).sort_index().to_numpy(np.float32)


def target_encoding(column: np.ndarray, label: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """The mean label of all `learned` rows (row numbers) whose value in `column` [R] falls in the same narrow bin."""
    known = learned[np.isfinite(label[learned])]
    bins = max(len(known) // ROWS_A_BIN, 2)
    edges = np.unique(np.quantile(column[known], np.linspace(0, 1, bins + 1)[1:-1]))
    at = np.searchsorted(edges, column[known], side="right")
    count = np.bincount(at, minlength=len(edges) + 1)
    total = np.bincount(at, label[known], minlength=len(edges) + 1)
    means = np.where(count > 0, total / np.maximum(count, 1), label[known].mean())
    return means[np.searchsorted(edges, column, side="right")].astype(np.float32)


def check_encoding(trial: Trial, part: Part, fold: int, *, honest: bool = False) -> Difference:
    """What the encoding tells of the machines of `fold`: fitted on all training machines, against without them.

    `honest`: fitted as it should be, on those of the other folds; then there is no difference.
    """
    rows = trial.dataset.rows
    column = part.table[:, index_column(part)]
    training, held_out = np.flatnonzero(rows.fold >= 0), np.flatnonzero(rows.fold == fold)
    others = np.setdiff1d(training, held_out)
    stored = target_encoding(column, trial.label, others if honest else training)[held_out, None]
    again = target_encoding(column, trial.label, others)[held_out, None]
    return largest(stored, again, np.nanstd(trial.label), lambda row, _: f"row {held_out[row]}")


def index_column(part: Part) -> int:
    """The column that planted features are made of: the first moving average of the health index."""
    return next(i for i, name in enumerate(part.names) if name.startswith("health_index."))


def score_feature(trial: Trial, feature: Feature) -> float:
    """What the features score together with a planted one."""
    life = lives(trial.dataset.rows)
    return _score(trial, lambda part: feature(part.table[:, index_column(part)], life[: len(part.table)]))


def score_encoding(trial: Trial) -> float:
    """What they score together with the target encoding fitted on all training machines."""
    training = np.flatnonzero(trial.dataset.rows.fold >= 0)
    return _score(trial, lambda part: target_encoding(part.table[:, index_column(part)], trial.label, training))


def _score(trial: Trial, column: Inputs) -> float:
    """What the features score with one more column (part) → f32[R], which every tree may use."""

    def inputs(part: Part) -> np.ndarray:
        return np.column_stack([trial.features(part), column(part)])

    return trial.rmse(trial.predict(inputs, lambda part: [*trial.age(part), trial.features(part).shape[1]]))
