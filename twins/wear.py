"""How damage grows: nothing until a random onset, then ever faster, at a rate that wanders and follows the load.

    damage = (max(clock − onset, 0) / growth) ** exponent,    clock = ∫ stress · rate dt

With exponent p this is the law d(damage)/dt ∝ damage^(1 − 1/p): growth that feeds on the damage already there. The
clock makes remaining life uncertain: the same damage may have days or weeks left, and the less the later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twins.signals import wander

RATE_SPREAD = 0.35  # standard deviation of the logarithm of the rate
RATE_DAYS = 3.0  # over which the rate changes


@dataclass(frozen=True)
class Course:
    """The course of one damage mode, in days of clock at unit stress."""

    onset: float
    growth: float  # from onset to failure
    exponent: float


def draw_courses(rng: np.random.Generator, modes: tuple[str, ...]) -> dict[str, Course]:
    """One mode, drawn at random, is meant to end the life; the others run 1.3 to 3.5 times slower."""
    leading = modes[rng.integers(len(modes))]
    courses = {}
    for mode in modes:
        pace = 1.0 if mode == leading else rng.uniform(1.3, 3.5)
        onset = 4.0 + min(rng.gamma(2.0, 12.0), 60.0)
        courses[mode] = Course(pace * onset, pace * rng.uniform(15.0, 36.0), rng.uniform(1.8, 2.6))
    return courses


def grow(rng: np.random.Generator, course: Course, stress: np.ndarray, days: float) -> np.ndarray:
    """Damage float64[T] of one mode under `stress` [T] (1 = normal load), `days` a step; not limited to 1."""
    log_rate = RATE_SPREAD * wander(rng, len(stress), RATE_DAYS / days)
    clock = np.cumsum(stress * np.exp(log_rate - RATE_SPREAD**2 / 2)) * days
    return (np.maximum(clock - course.onset, 0.0) / course.growth) ** course.exponent
