"""Gradient-boosted trees by xgboost, for remaining useful life and for failure within the horizon.

The defaults were chosen by cross-validation on run-to-failure data: shallow trees on few rows and few columns each, and
leaves of many rows, since neighbouring rows of a life tell the same story.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray
from tqdm import tqdm

# Below this many rows `min_child_weight` shrinks in proportion: it asks for a share of the data, not for a number.
FULL_ROWS = 20_000


@dataclass(frozen=True)
class XgboostParams:
    trees: int = 400
    depth: int = 5
    learning_rate: float = 0.05
    subsample: float = 0.3  # share of the rows a tree sees
    colsample: float = 0.1  # share of the columns a tree sees
    min_child_weight: float = 100.0  # at FULL_ROWS rows or more of weight 1
    reg_lambda: float = 5.0
    age_weight: float = 1000.0  # how much likelier than another column an emphasised one is drawn for a tree
    objective: str = "reg:squarederror"  # or "binary:logistic"
    seed: int = 0
    # One by default: next to any other busy process two OpenMP threads wait for each other in a spin and were measured
    # 13 times slower than one, unless OMP_WAIT_POLICY=PASSIVE is set before xgboost is loaded. The trees are the same.
    threads: int = 1


def fit(
    X: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32],
    params: XgboostParams,
    emphasised: Sequence[int] = (),
) -> xgboost.Booster:
    """Trees on the features X[N, F], labels y[N] and weights[N] (their scale does not matter).

    Nearly every tree sees the `emphasised` columns (the age), though it draws the others at random.
    """
    if X.dtype != np.float32:
        raise TypeError(f"features are {X.dtype}: train on the float32 features that the graph produced")
    if not len(X) == len(y) == len(weight) or not weight.sum() > 0:
        raise ValueError(
            f"{len(X)} rows of features, {len(y)} labels, weights that sum to {weight.sum()}: nothing to fit"
        )
    columns = np.ones(X.shape[1], np.float32)
    columns[list(emphasised)] = params.age_weight
    data = xgboost.QuantileDMatrix(
        X, label=y, weight=weight / weight.mean(), feature_weights=columns, nthread=params.threads
    )
    settings = {
        "objective": params.objective,
        "tree_method": "hist",
        "max_depth": params.depth,
        "learning_rate": params.learning_rate,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample,
        "min_child_weight": params.min_child_weight * min(1.0, len(X) / FULL_ROWS),
        "reg_lambda": params.reg_lambda,
        "seed": params.seed,
        "nthread": params.threads,
    }
    with tqdm(total=params.trees, desc=f"xgboost, {params.objective}", unit="tree", leave=False, disable=None) as bar:
        return xgboost.train(settings, data, params.trees, callbacks=[_Progress(bar)])


def predict(booster: xgboost.Booster, X: NDArray[np.float32], *, margin: bool = False) -> NDArray[np.float32]:
    """What xgboost itself says of X[N, F]: the prediction [N], or the margin before the link of the objective."""
    return booster.inplace_predict(X, predict_type="margin" if margin else "value")


def load(path: Path, threads: int = 1) -> xgboost.Booster:
    """A booster from a file of its `save_model` (JSON or UBJSON by suffix)."""
    return xgboost.Booster({"nthread": threads}, model_file=path)


class _Progress(xgboost.callback.TrainingCallback):
    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: object) -> bool:  # noqa: ARG002
        self._bar.update()
        return False
