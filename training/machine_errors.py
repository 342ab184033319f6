"""How far a model was off on each training machine, cross-validated: `cross_validation.json` in its bundle.

Whether one model is better than another is decided on machines that both had not seen, pair by pair: what makes a
machine hard for one makes it hard for the other, so the difference is known far better than either error. The bundle
carries the errors, because the champion's predictions are long gone when its challenger comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from data.errors import DataError
from training.calibrate import blended
from training.calibration import Calibration
from training.dataset import machine_weights

FILE = "cross_validation.json"
FORMAT = 1


@dataclass(frozen=True)
class Difference:
    """Of two RMSEs and its standard error, in the unit of life. `machines`: how many pairs; None: it is unpaired."""

    value: float
    se: float
    machines: int | None = None


@dataclass(frozen=True)
class MachineErrors:
    """Mean square error of each machine, in the unit of life squared: by head, the class's own first; by guess.

    A guess needs no sensors: the mean remaining life of the other folds' machines, and, where ages are known, the one
    their ages suggest. Errors compare where they are of the same moments: `rows` counts these by machine.
    """

    heads: Mapping[str, Mapping[str, float]]
    guesses: Mapping[str, Mapping[str, float]]
    rows: Mapping[str, int] | None = None  # None: exported before bundles said it

    @classmethod
    def of(cls, table: pd.DataFrame, calibration: Calibration) -> MachineErrors:
        """From the out-of-fold rows `training.calibrate.out_of_fold` gives; the rows that `rul.cv.rmse` counts."""
        judged = table.exact & table.warm
        label, asset = table.lower[judged].to_numpy(np.float64), table.asset[judged]

        def by_machine(said: np.ndarray) -> dict[str, float]:
            return pd.Series((said - label) ** 2).groupby(asset.to_numpy()).mean().to_dict()

        heads = {
            head: by_machine(blended(table, head, of.weights, calibration.cap)[judged])
            for head, of in calibration.heads.items()
        }
        own = table[judged]
        guesses = {"mean": np.zeros(len(own)), "age": np.zeros(len(own))}
        for fold in own.fold.unique():
            here = (own.fold == fold).to_numpy()
            for name, guess in (("mean", by_mean), ("age", by_age)):
                guesses[name][here] = guess(own[~here], own[here])
        known = ["mean", "age"] if own.age.notna().any() else ["mean"]
        return cls(heads, {name: by_machine(guesses[name]) for name in known}, asset.value_counts(sort=False).to_dict())

    def nulls(self, i: int) -> Mapping[str, Mapping[str, float]]:
        """The guesses that the i-th head must beat: by age, too, where it is told the age."""
        return {name: of for name, of in self.guesses.items() if name != "age" or [*self.heads][i] == "aged"}

    def dump(self) -> bytes:
        content = {"format": FORMAT, "heads": self.heads, "guesses": self.guesses, "rows": self.rows}
        return json.dumps(content, indent=1).encode()

    @classmethod
    def read(cls, folder: Path) -> MachineErrors | None:
        """Of the bundle in `folder`; None if it was exported before bundles had them."""
        try:
            content = json.loads((folder / FILE).read_bytes())
        except FileNotFoundError:
            return None
        if content["format"] > FORMAT:
            raise DataError(
                f"{folder / FILE} has format {content['format']}, this version of overhaul reads up to {FORMAT}: "
                "judge it with the version that exported it"
            )
        return cls(content["heads"], content["guesses"], content.get("rows"))


def by_mean(known: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    """The mean remaining life of the rows `known`, machines weighted equally, for each of `asked`."""
    return np.full(len(asked), np.average(known.lower, weights=machine_weights(known)))


def by_age(known: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    """What the age suggests, falling; the mean where it is not known."""
    said, aged = by_mean(known, asked), known[known.age.notna()]
    if aged.empty:
        return said
    curve = IsotonicRegression(increasing=False, out_of_bounds="clip")
    curve.fit(aged.age, aged.lower, sample_weight=machine_weights(aged))
    return np.where(asked.age.isna(), said, curve.predict(asked.age.fillna(0.0)))


def rmse(errors: Mapping[str, float]) -> float:
    """Machines weighted equally.

    >>> rmse({"P-1": 9.0, "P-2": 16.0, "P-3": 2.0})
    3.0
    """
    return float(np.sqrt(np.mean(list(errors.values()))))


def paired(champion: Mapping[str, float], challenger: Mapping[str, float]) -> Difference:
    """Challenger's RMSE less the champion's over the same machines.

    Its standard error is by the delta method: a machine of square error e moves an RMSE r by e / 2r, one n-th of it.

    >>> paired({"P-1": 4.0, "P-2": 16.0, "P-3": 9.0}, {"P-1": 4.5, "P-2": 17.0, "P-3": 9.0}).value.__round__(3)
    0.079
    """
    machines = sorted(champion)
    old, new = (np.array([errors[machine] for machine in machines]) for errors in (champion, challenger))
    value = rmse(challenger) - rmse(champion)
    if len(machines) < 2:
        return Difference(value, float("nan"), len(machines))
    moved = [errors / (2 * root) if (root := np.sqrt(errors.mean())) else errors for errors in (old, new)]
    return Difference(value, float((moved[1] - moved[0]).std(ddof=1) / np.sqrt(len(machines))), len(machines))
