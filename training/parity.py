"""Parity: the graph, streamed observation by observation, against what the trained models themselves said.

The tolerance is 1e-3 in the unit of life (1e-5 of the cap where that is more: float32 holds no more digits) and 1e-5
for scores. The ends of the interval and the failure probability follow from the remaining life: they may differ by what
that tolerance makes of them where a row stands on their curves. A tree jumps at a split, so a harmless difference in
the last bit of a feature may move a row to the other side of one; such a row is excused only if one of its splits lies
within float32 rounding of the feature. More than 0.01 % of rows beyond, excused or not, is a failure.
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
OPEN = 0.9999  # of the cap: where `training.prognosis` opens the interval
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


def tolerances(calibration: Calibration) -> dict[str, float]:
    """Largest difference of each output compared, wherever on their curves."""
    return allowed(calibration, np.array(calibration.knots)).max().to_dict()


def allowed(calibration: Calibration, rul: np.ndarray) -> pd.DataFrame:
    """Largest difference of each output compared [R, outputs], for remaining lives `rul` [R]."""
    life, knots = life_tolerance(calibration.cap), np.array(calibration.knots)
    runs = np.diff(knots)[:, None]
    slopes = np.max([np.abs(np.diff(calibration.curves(head), axis=0)) / runs for head in calibration.heads], axis=0)
    # between the knots that the remaining life may lie between, within its tolerance
    pieces = np.clip([np.searchsorted(knots, rul + by) - 1 for by in (-life, 0, life)], 0, len(slopes) - 1)
    lower, upper, probability = slopes[pieces].max(axis=0).T
    made = pd.DataFrame(index=np.arange(len(rul)), columns=[*LIFE_OUTPUTS, *SCORE_OUTPUTS], dtype=np.float64)
    made[list(LIFE_OUTPUTS)], made[list(SCORE_OUTPUTS)] = life, SCORE_TOLERANCE
    made["rul_lower"], made["rul_upper"] = life * np.maximum(lower, 1), life * np.maximum(upper, 1)
    made["failure_probability"] = np.maximum(SCORE_TOLERANCE, life * probability)
    return made


def compare(
    streamed: pd.DataFrame, native: pd.DataFrame, trees: Trees, features: np.ndarray, calibration: Calibration
) -> Parity:
    """Raise `ParityError` unless `streamed` says what `native` says; `features` [R,F] belong to `native`."""
    keys = ["asset", "row"]
    if len(streamed) != len(native) or not (streamed[keys].to_numpy() == native[keys].to_numpy()).all():
        raise ParityError(
            f"the graph ticked on {len(streamed)} rows, the feature table on {len(native)}: run `dvc repro` anew"
        )
    error, limits = _errors(streamed, native, calibration.cap), allowed(calibration, native.rul.to_numpy(np.float64))
    life, score = (error[list(names)].max(axis=1).to_numpy() for names in (LIFE_OUTPUTS, SCORE_OUTPUTS))
    off = error / limits[error.columns]  # 1 is allowed
    beyond = (off > 1).any(axis=1).to_numpy()
    within = [float(np.mean(life <= LIFE_TOLERANCE)), float((off[list(LIFE_OUTPUTS)] <= 1).all(axis=1).mean())]
    made = Parity(len(native), float(life.max()), float(score.max()), *within)
    unexplained = np.flatnonzero(beyond)
    if len(unexplained):
        unexplained = unexplained[trees.margin(features[unexplained]) > ROUNDING]
    if beyond.mean() > MAX_BEYOND or len(unexplained):
        worst = int(np.argmax(off.max(axis=1)))
        name, at = off.iloc[worst].idxmax(), native.iloc[worst]
        raise ParityError(
            f"the graph does not reproduce the trained models: {beyond.sum()} of {len(native)} rows are beyond their "
            f"tolerances, {len(unexplained)} of them on no tree split; the worst is {name} (tolerance "
            f"{limits[name].iloc[worst]:.2g}) of asset '{at.asset}', observation {at.row}: "
            f"graph {_said(streamed.iloc[worst])}, models {_said(at)}"
        )
    return made


def _errors(streamed: pd.DataFrame, native: pd.DataFrame, cap: float) -> pd.DataFrame:
    """Absolute differences [rows, outputs]; equal infinities do not differ, NaN differs from everything.

    An upper end becomes infinite at OPEN of the cap: beside an infinite one, a finite one differs from that edge.
    """
    made = {}
    for name in (*LIFE_OUTPUTS, *SCORE_OUTPUTS):
        a, b = (table[name].to_numpy(np.float64) for table in (streamed, native))
        if name == "rul_upper":
            a, b = (np.where(x == np.inf, OPEN * cap, x) for x in (a, b))
        with np.errstate(invalid="ignore"):
            difference = np.where(a == b, 0.0, np.abs(a - b))
        made[name] = np.where(np.isnan(difference), np.inf, difference)
    return pd.DataFrame(made)


def _said(row: pd.Series) -> str:
    return ", ".join(f"{name} {row[name]:.6g}" for name in ("rul", "rul_lower", "rul_upper", *SCORE_OUTPUTS))
