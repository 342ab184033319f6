"""What one would run without a twin graph: the same models through their own libraries, on features made with pandas.

Each machine has a DataFrame of its recent history. A new reading is appended and the last row of all features is
computed from it, with `ewm`, `expanding` and `mean`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from sklearn.ensemble import IsolationForest

from data import paths
from data.observations import Observations
from features import derived
from features.array import Float32
from features.normalisation import polynomial
from features.parameters import Parameters
from features.step import FeatureStep
from training import columns, isolation_forest, xgboost_model
from training.dataset import FINAL, Dataset
from training.lstm_weights import LstmWeights
from training.params import read_params

ROWS = 10_000  # of the feature table that stand in for a fleet's features


@dataclass(frozen=True)
class PandasFeatures:
    """The features of `step` with pandas."""

    step: FeatureStep

    def last_row(self, history: pd.DataFrame) -> np.ndarray:
        """[F], of the newest observation in `history` (columns: scalar channels and age)."""
        features, bank = self.step.asset_class.features, self.step.filters
        z = self._normalised(history).ffill().fillna(0.0)
        rows = [z.iloc[-1].to_numpy()]
        averages = [z.ewm(com=tau).mean() for tau in bank.time_constants]
        rows += [average.iloc[-1].to_numpy() for average in averages]
        for average, tau in zip(averages, bank.time_constants, strict=True):
            rows.append((average.iloc[-1] - average.ewm(com=tau).mean().iloc[-1]).to_numpy())
        if "mean_since_new" in bank.rows:
            rows.append(z.ewm(com=features.since_new).mean().iloc[-1].to_numpy())
        if "first" in bank.rows:
            rows.append(z.head(int(features.first or 0)).mean().to_numpy())
        matrix = np.stack(rows)
        projected = matrix @ self.step.parameters.weights
        clock = [0.0, history["age"].iloc[-1]] if self.step.asset_class.life.age != "none" else [0.0]
        return np.concatenate([matrix.ravel(), projected.ravel(), clock]).astype(np.float32)

    def _normalised(self, history: pd.DataFrame) -> pd.DataFrame:
        p = self.step.parameters
        values = history.reindex(columns=[s for s in p.sensors if s in history])
        for name, spec in self.step.asset_class.derived.items():
            if name in p.sensors:
                values[name] = derived.evaluate(spec.formula, self._known(history))
        values = values.reindex(columns=list(p.sensors))
        conditions = history[self.step.asset_class.conditions].to_numpy()
        expected, spread = self._reference(conditions, p)
        return (values - expected) / spread

    def _known(self, history: pd.DataFrame) -> dict[str, Any]:
        settings = {name: spec.default for name, spec in self.step.asset_class.settings.items()}
        return {name: history[name].to_numpy() for name in self.step.asset_class.scalars} | settings

    def _reference(self, conditions: np.ndarray, p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """Expected values and spread [rows or 1, S] under the operating conditions."""
        if len(p.centres) > 1:
            far = ((conditions[:, None, :] - p.centres) / p.scale) ** 2
            regime = far.sum(axis=2).argmin(axis=1)
            return p.expected[regime], p.spread[regime]
        if p.degree:
            offset = ((conditions - p.centres) / p.half_widths).astype(np.float32)
            return polynomial(offset, p.degree) @ p.expected, p.spread
        return p.expected, p.spread


@dataclass(frozen=True)
class Usual:
    """The trained models of a fleet in their own libraries, and a history to make features from."""

    features: PandasFeatures
    history: pd.DataFrame  # of one machine
    X: Float32  # [ROWS, F]
    lstm: LstmWeights
    lstm_columns: list[int]
    booster: xgboost.Booster
    booster_columns: list[int]
    forest: IsolationForest
    forest_columns: list[int]

    @classmethod
    def of(cls, fleet: str, observations: int) -> Usual:
        """From the artifacts of `fleet`; a history of at most so many observations.

        The isolation forest is fitted again: the pipeline stores its trees as arrays, not as a scikit-learn object.
        """
        dataset = Dataset.of(fleet)
        part, head = dataset.part(FINAL), dataset.heads[0]
        forest_columns = columns.isolation_forest(part)
        healthy = dataset.training.index[dataset.training.healthy & dataset.training.warm]
        booster = xgboost_model.load(paths.artifact(fleet, f"xgboost/{head}.ubj"))
        booster.set_param({"nthread": 1})
        return cls(
            features=PandasFeatures(FeatureStep(dataset.asset_class, part.parameters)),
            history=_history(dataset, observations),
            X=np.resize(np.array(part.table[:ROWS]), (ROWS, len(part.names))),
            lstm=LstmWeights.load(paths.artifact(fleet, "lstm/weights.npz")),
            lstm_columns=columns.lstm(part),
            booster=booster,
            booster_columns=part.columns(head),
            forest=isolation_forest.fit(part.table[healthy][:, forest_columns], read_params().isolation_forest),
            forest_columns=forest_columns,
        )

    def make_features(self) -> np.ndarray:
        """Of one machine: append a reading, compute the last row."""
        return self.features.last_row(pd.concat([self.history, self.history.iloc[-1:]], ignore_index=True))

    def keras_model(self) -> Any:
        """One step with a carried state, (x, h, c) → (remaining life, h, c): the kindest way to run it."""
        import keras

        weights, units = self.lstm, self.lstm.units
        x = keras.Input((1, weights.features))
        h, c = keras.Input((units,)), keras.Input((units,))
        hidden, *state = keras.layers.LSTM(units, return_state=True)(x, initial_state=[h, c])
        model = keras.Model([x, h, c], [keras.layers.Dense(1)(hidden), *state])
        head = [weights.head[:, None], weights.head_bias.reshape(1)]
        model.set_weights([weights.kernel, weights.recurrent, weights.bias, *head])
        return model

    def keras_calls(self, machines: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """`model(x)` and `model.predict(x)`."""
        model = self.keras_model()
        zero = np.zeros((machines, self.lstm.units), np.float32)
        inputs = [self.X[:machines, None, self.lstm_columns], zero, zero]
        return lambda: model(inputs), lambda: model.predict(inputs, verbose=0, batch_size=max(machines, 32))

    def xgboost_call(self, machines: int) -> Callable[[], Any]:
        X = np.ascontiguousarray(self.X[:machines, self.booster_columns])
        return lambda: self.booster.inplace_predict(X)

    def sklearn_call(self, machines: int) -> Callable[[], Any]:
        X = np.ascontiguousarray(self.X[:machines, self.forest_columns])
        return lambda: self.forest.score_samples(X)


def _history(dataset: Dataset, observations: int) -> pd.DataFrame:
    """The longest life of a machine, cut to the newest `observations`."""
    asset_class = dataset.asset_class
    recorded = Observations(paths.observations(dataset.fleet), asset_class)
    asset = max(recorded.assets, key=recorded.rows)
    series = next(iter(recorded.series(asset)))
    history = pd.DataFrame(series.readings, columns=asset_class.scalars).assign(age=series.age)
    return history.tail(observations).reset_index(drop=True)
