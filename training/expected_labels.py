"""Stage `labels`: what the models of remaining life learn: what is known, and what is expected of lives seen in part.

python -m training.expected_labels <fleet>

Writes artifacts/<fleet>/labels/<part>.npy, for each part of the features: float32 [rows], capped remaining life / cap.
Labels of fold k rest on what was seen without the machines of that fold. See `training.censoring`.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from data import command
from training import columns, predictions, xgboost_model
from training.censoring import Float, Precedents
from training.dataset import Dataset, machine_weights
from training.params import read_params
from training.xgboost_model import XgboostParams

GROUPS = 5  # of the machines that failed, each judged by a model that has not seen it
MANY_ROWS = 20_000  # of lives that ended in failure: of twice as many, every other hardly changes what is expected


def expected_labels(
    rows: pd.DataFrame, X: np.ndarray, cap: float, params: XgboostParams, emphasised: list[int]
) -> np.ndarray:
    """f32[R] capped remaining life / cap of `rows` with features X[R, F]: known, or else expected, or else NaN.

    `rows` has asset, life, rul (NaN: the life did not end in failure), lower and exact as in `Dataset.rows`, in order
    of time within each life. Nothing is expected where fewer than two machines failed.
    """
    lower, exact = rows.lower.to_numpy() / cap, rows.exact.to_numpy()
    label = np.where(exact, lower, np.nan).astype(np.float32)
    remaining = rows.rul.to_numpy() / cap
    failed = np.flatnonzero(np.isfinite(remaining))
    failed = failed[:: max(1, len(failed) // MANY_ROWS)]
    lives = [life for life in rows.groupby(["asset", "life"], sort=False).indices.values() if not exact[life[-1]]]
    if not lives or rows.asset.iloc[failed].nunique() < 2:
        return label
    ends = np.array([life[-1] for life in lives])
    precedents = Precedents.of(
        _unseen(X[failed], label[failed], rows.asset.iloc[failed], params, emphasised),
        remaining[failed],
        machine_weights(rows.iloc[failed]),  # a machine's last row falls on any of its moments alike
    )
    said = _fit_predict(X[failed], label[failed], X[ends], params, emphasised)
    for life, end, predicted in zip(lives, ends, said, strict=True):
        open_rows = life[~exact[life]]
        label[open_rows] = precedents.expected(float(predicted), lower[end], lower[open_rows] - lower[end])
    return label


def _unseen(X: np.ndarray, label: np.ndarray, asset: pd.Series, params: XgboostParams, emphasised: list[int]) -> Float:
    """What models predict [R] of machines that they have not seen."""
    machine, names = pd.factorize(asset)
    group = np.random.default_rng(params.seed).permutation(len(names))[machine] % GROUPS
    said = np.empty(len(X))
    for each in np.unique(group):
        asked = group == each
        said[asked] = _fit_predict(X[~asked], label[~asked], X[asked], params, emphasised)
    return said


def _fit_predict(
    X: np.ndarray, label: np.ndarray, asked: np.ndarray, params: XgboostParams, emphasised: list[int]
) -> Float:
    booster = xgboost_model.fit(X, label, np.ones(len(X), np.float32), params, emphasised)
    return np.clip(xgboost_model.predict(booster, asked), 0, 1)


def run(fleet: str) -> None:
    dataset, params = Dataset.of(fleet), read_params().xgboost
    head, rows = dataset.heads[0], dataset.rows
    for part, fitted, _ in predictions.tasks(dataset):
        own, X = rows.iloc[fitted], part.table[:, part.columns(head)][fitted]
        label = np.full(len(part.table), np.nan, np.float32)
        label[fitted] = expected_labels(own, X, dataset.asset_class.labels.cap, params, columns.emphasised(part, head))
        target = dataset.labels_path(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, label)
        known, unknown = int(own.exact.sum()), int(np.isnan(label[fitted]).sum())
        print(
            f"{fleet} {part.folder.name}: {known:,} rows of known remaining life, {len(own) - known - unknown:,} of "
            f"expected, {unknown:,} that say nothing"
        )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
