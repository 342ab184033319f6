"""Isolation forest by scikit-learn: how odd a row is against healthy behaviour.

The fitted forest is never stored as a Python object: `Trees.from_isolation_forest` holds all of it, in plain arrays.
What the export has to reproduce is the native `score` of the rows, written when the forest was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from data.errors import DataError


@dataclass(frozen=True)
class IsolationForestParams:
    trees: int = 100
    sub_sample: int = 256  # rows that a tree isolates
    seed: int = 0


def fit(healthy: NDArray[np.float32], params: IsolationForestParams) -> IsolationForest:
    """A forest of the healthy rows [N, F]; N of at least 2, all values finite."""
    if healthy.dtype != np.float32:
        raise TypeError(f"features are {healthy.dtype}: train on the float32 features that the graph produced")
    if len(healthy) < 2:
        raise DataError(f"{len(healthy)} healthy rows: an isolation forest needs at least 2; widen `life.healthy`")
    if not np.isfinite(healthy).all():
        row, column = np.argwhere(~np.isfinite(healthy))[0]
        raise ValueError(f"feature {column} of healthy row {row} is {healthy[row, column]}: features must be finite")
    forest = IsolationForest(
        n_estimators=params.trees, max_samples=min(params.sub_sample, len(healthy)), random_state=params.seed
    )
    return forest.fit(healthy)


def score(forest: IsolationForest, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """What scikit-learn itself says of X[N, F]: the anomaly score [N] in 0…1, high = odd (`score_samples`, negated)."""
    return -forest.score_samples(X).astype(np.float32)
