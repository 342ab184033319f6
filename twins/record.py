"""What a simulator hands over: one life of one machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Record:
    """One life of one simulated machine, as its sensors saw it. T rows; rows lost in transmission are absent."""

    asset: str
    time: np.ndarray  # int64[T], UTC nanoseconds, rising
    channels: dict[str, np.ndarray]  # float32[T] each, NaN = not received
    age: np.ndarray  # float64[T], hours since new; NaN = unknown
    new: bool  # the record begins with a new or renewed machine
    kind: Literal["failure", "repair", "censored"]  # how it ends
    end: int  # UTC nanoseconds: when it failed or was repaired; the last row's time if censored
    settings: dict[str, float]  # nameplate
    fault: str  # the damage that ended this life or leads at its end
    damage: dict[str, np.ndarray]  # float32[T] each, the truth: 0 = as new, 1 = failed
