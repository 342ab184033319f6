"""A short cross-validation: the pipeline's folds, its boosted trees and its measure, with few trees on some rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xgboost

from training import columns, metrics, predictions, xgboost_model
from training.dataset import FINAL, Dataset, Part, machine_weights
from training.xgboost_model import XgboostParams

TREES, LEARNING_RATE = 30, 0.15  # enough for a tree ensemble to use what there is to be used
ROWS = 12_000  # to learn from, at most: every n-th

Inputs = Callable[[Part], np.ndarray]
Emphasised = Callable[[Part], Sequence[int]]
Taught = Callable[[np.ndarray], np.ndarray]


def _nothing(_: Part) -> Sequence[int]:
    return ()


@dataclass(frozen=True)
class Trial:
    """Machines weigh equally, in fitting too: then the mean of the labels is the best that can be said without inputs,
    and `chance` means something.
    """

    dataset: Dataset
    params: XgboostParams

    @classmethod
    def of(cls, dataset: Dataset, params: XgboostParams) -> Trial:
        return cls(
            dataset, replace(params, trees=TREES, learning_rate=LEARNING_RATE, objective=XgboostParams.objective)
        )

    @cached_property
    def label(self) -> np.ndarray:
        """f64[R] capped remaining life, NaN = unknown; of training machines alone."""
        rows = self.dataset.rows
        return rows.lower.where(rows.exact & (rows.fold >= 0)).to_numpy(np.float64)

    @cached_property
    def judged(self) -> np.ndarray:
        """bool[R]"""
        return np.isfinite(self.label) & self.dataset.rows.warm.to_numpy()

    @property
    def head(self) -> str:
        return self.dataset.heads[0]

    def features(self, part: Part) -> np.ndarray:
        """What the head sees."""
        return part.table[:, part.columns(self.head)]

    def age(self, part: Part) -> list[int]:
        """Those of `features` that are emphasised."""
        return columns.emphasised(part, self.head)

    def fitted(self, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` to learn from."""
        known = rows[np.isfinite(self.label[rows])]
        return known[:: max(1, -(-len(known) // ROWS))]

    def fit(
        self, X: np.ndarray, rows: np.ndarray, label: np.ndarray, emphasised: Sequence[int] = ()
    ) -> xgboost.Booster:
        """A booster on `X` [N,F] of the row numbers `rows` [N], with labels [N] in the unit of life."""
        weight = machine_weights(self.dataset.rows.iloc[rows]).astype(np.float32)
        scaled = (label / self.dataset.asset_class.labels.cap).astype(np.float32)
        return xgboost_model.fit(np.ascontiguousarray(X, np.float32), scaled, weight, self.params, emphasised)

    def predict(self, inputs: Inputs, emphasised: Emphasised = _nothing, taught: Taught | None = None) -> np.ndarray:
        """f64[R] out-of-fold predictions from `inputs` (part) → f32[R,F]; NaN for test machines.

        `taught` (rows int[N]) → f64[N] are the labels to learn from, if not the true ones.
        """
        cap = self.dataset.asset_class.labels.cap

        def fit_predict(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
            if part.folder.name == FINAL:
                return {}
            rows, X = self.fitted(fitted), inputs(part)
            label = self.label[rows] if taught is None else taught(rows)
            booster = self.fit(X[rows], rows, label, emphasised(part))
            return {"said": xgboost_model.predict(booster, np.ascontiguousarray(X[asked], np.float32)) * cap}

        return predictions.predict_all(self.dataset, fit_predict).said.to_numpy(np.float64)

    @cached_property
    def null(self) -> np.ndarray:
        """f64[R] the mean label of the other folds, from the rows that the models learn from."""

        def mean(part: Part, fitted: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
            if part.folder.name == FINAL:
                return {}
            return {"said": np.full(len(asked), self.mean(self.fitted(fitted), self.label))}

        return predictions.predict_all(self.dataset, mean).said.to_numpy(np.float64)

    def mean(self, rows: np.ndarray, values: np.ndarray) -> float:
        """Of `values` [R] over some rows, machines weighted equally."""
        return float(np.average(values[rows], weights=machine_weights(self.dataset.rows.iloc[rows])))

    def rmse(self, predicted: np.ndarray) -> float:
        """Of predictions [R], over the judged rows, in the unit of life."""
        at, machine = self.judged, self.dataset.rows.asset.to_numpy()
        return metrics.grouped_rmse(self.label[at], predicted[at], machine[at])[0]

    @cached_property
    def chance(self) -> float:
        return self.rmse(self.null)

    @cached_property
    def honest(self) -> float:
        """What the features score, as they are."""
        return self.rmse(self.predict(self.features, self.age))
