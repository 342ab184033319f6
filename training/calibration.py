"""What turns the models' numbers into a prognosis: blend, intervals, failure probability, anomaly scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

# The families that predict remaining life, in the order of the graph's `rul_model`.
RUL_MODELS = ("lstm", "xgboost")


@dataclass(frozen=True)
class Head:
    """Calibration of one head (`aged` or `free` of age); curves over the predicted remaining life at
    `Calibration.knots`.
    """

    weights: dict[str, float]  # of the families in the blend, sum 1
    lower: list[float]  # from the prediction to the ends of the interval, in the unit of life
    upper: list[float]
    failure: list[float]  # probability of failing within the horizon

    def curves(self, knots: np.ndarray, cap: float) -> np.ndarray:
        """f32[knots, 3]: lower end, upper end (both within 0 … cap) and failure probability at each knot."""
        ends = [np.clip(knots + self.lower, 0, cap), np.clip(knots + self.upper, 0, cap)]
        return np.column_stack([*ends, self.failure]).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """All read from out-of-fold predictions. Written to artifacts/<fleet>/calibration.json."""

    cap: float
    horizon: float
    level: float  # share of rows that the interval should hold
    knots: list[float]  # predicted remaining life, 0 … cap
    heads: dict[str, Head]
    prior: float  # share of rows that fail within the horizon: what is known before anything is seen
    anomaly_path: list[float]  # relative path length of the isolation forest, rising
    anomaly_rank: list[float]  # share of healthy rows that are less odd
    familiar: float  # novelty that few rows of machines never seen exceed: `unfamiliar` is 0 up to it, 1 at twice it
    familiar_share: float  # of rows of such machines that do not exceed it

    def save(self, path: Path) -> None:
        path.write_bytes(TypeAdapter(Calibration).dump_json(self, indent=1))

    @classmethod
    def load(cls, path: Path) -> Calibration:
        return TypeAdapter(Calibration).validate_json(path.read_bytes())

    def curves(self, head: str) -> np.ndarray:
        return self.heads[head].curves(np.array(self.knots), self.cap)
