"""Parity: the graph, streamed observation by observation, against what the trained models themselves said.

The tolerance is 1e-3 in the unit of life (1e-5 of the cap where that is more: float32 holds no more digits) and 1e-5
for scores. The failure probability follows from the remaining life: it may differ by what that tolerance makes of it
where its curve is steepest. A tree jumps at a split, so a harmless difference in the last bit of a feature may move a
row to the other side of one; such a row is excused only if one of its splits lies within float32 rounding of the
feature. More than 0.01 % of rows beyond, excused or not, is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.errors import DataError
from features import history
from features.history import History
from training.calibration import Calibration
from training.trees import Trees

LIFE_OUTPUTS = ("rul", "rul_lower", "rul_upper", "rul_lstm", "rul_xgboost")
SCORE_OUTPUTS = ("anomaly_score", "failure_probability", "unfamiliar")
LIFE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-5  # of the cap
SCORE_TOLERANCE = 1e-5
MAX_BEYOND = 1e-4  # share of rows
ROUNDING = 8 * float(np.finfo(np.float32).eps)  # relative distance of a feature from a split


class ParityError(DataError):
    """The graph does not say what the trained models said; the bundle is not written."""


@dataclass(frozen=True)
class Parity:
    rows: int
    max_abs_error: float  # in the unit of life, over all remaining-life outputs
    max_score_error: float
    within_1e_3: float  # share of rows within 1e-3 in the unit of life
    within_tolerance: float  # share of rows within the tolerance of remaining life

    def worst(self, other: Parity) -> Parity:
        """The worse figures of both, on the rows of the first."""
        return Parity(
            self.rows,
            max(self.max_abs_error, other.max_abs_error),
            max(self.max_score_error, other.max_score_error),
            min(self.within_1e_3, other.within_1e_3),
            min(self.within_tolerance, other.within_tolerance),
        )


def stream(graph: bytes, whole: History) -> pd.DataFrame:
    """What the graph says at every tick of every asset: asset, row, and the outputs compared."""
    names = ["rul", "rul_lower", "rul_upper", *SCORE_OUTPUTS, "rul_model"]
    table = history.run(graph, whole, names, label="parity")
    model = table.columns.pop("rul_model")
    columns = table.columns | {"rul_lstm": model[:, 0], "rul_xgboost": model[:, 1]}
    return pd.DataFrame({"asset": np.array(table.assets, dtype=object)[table.asset], "row": table.row, **columns})


def life_tolerance(cap: float) -> float:
    return max(LIFE_TOLERANCE, RELATIVE_TOLERANCE * cap)


def probability_tolerance(calibration: Calibration) -> float:
    """What a difference of remaining life within its tolerance makes of the failure probability, at the most."""
    run = np.diff(calibration.knots)
    steepest = max(float((np.abs(np.diff(head.failure)) / run).max()) for head in calibration.heads.values())
    return max(SCORE_TOLERANCE, steepest * life_tolerance(calibration.cap))


def compare(
    streamed: pd.DataFrame, native: pd.DataFrame, trees: Trees, features: np.ndarray, calibration: Calibration
) -> Parity:
    """Raise `ParityError` unless `streamed` says what `native` says; `features` [R,F] belong to `native`."""
    keys = ["asset", "row"]
    if len(streamed) != len(native) or not (streamed[keys].to_numpy() == native[keys].to_numpy()).all():
        raise ParityError(
            f"the graph ticked on {len(streamed)} rows, the feature table on {len(native)}: run `dvc repro` anew"
        )
    life = _error(streamed, native, LIFE_OUTPUTS)
    score = _error(streamed, native, SCORE_OUTPUTS)
    tolerance, probable = life_tolerance(calibration.cap), probability_tolerance(calibration)
    probability = _error(streamed, native, ("failure_probability",))
    others = _error(streamed, native, tuple(name for name in SCORE_OUTPUTS if name != "failure_probability"))
    off = np.maximum.reduce([life / tolerance, probability / probable, others / SCORE_TOLERANCE])  # 1 is allowed
    beyond = off > 1
    within = [float(np.mean(life <= limit)) for limit in (LIFE_TOLERANCE, tolerance)]
    made = Parity(len(native), float(life.max()), float(score.max()), *within)
    unexplained = np.flatnonzero(beyond)
    if len(unexplained):
        unexplained = unexplained[trees.margin(features[unexplained]) > ROUNDING]
    if beyond.mean() > MAX_BEYOND or len(unexplained):
        worst = int(np.argmax(off))
        at = native.iloc[worst]
        raise ParityError(
            f"the graph does not reproduce the trained models: {beyond.sum()} of {len(native)} rows are beyond "
            f"{tolerance:g} (life), {probable:.2g} (failure probability) or {SCORE_TOLERANCE:g} (other scores), "
            f"{len(unexplained)} of them on no tree split; the worst is asset '{at.asset}', observation {at.row}: "
            f"graph {_said(streamed.iloc[worst])}, models {_said(at)}"
        )
    return made


def _error(streamed: pd.DataFrame, native: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Largest absolute difference of each row; equal infinities do not differ, NaN differs from everything."""
    a, b = (table[list(names)].to_numpy(np.float64) for table in (streamed, native))
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, np.abs(a - b))
    return np.where(np.isnan(difference), np.inf, difference).max(axis=1)


def _said(row: pd.Series) -> str:
    return ", ".join(f"{name} {row[name]:.6g}" for name in ("rul", "rul_lower", "rul_upper", *SCORE_OUTPUTS))
