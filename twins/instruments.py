"""Sensors as they are: noise, lost samples, and now and then a fault.

An instrument reports a true signal with noise. Samples are lost one at a time and in runs. A faulty instrument sticks,
drifts until it is recalibrated, is off by a constant for a while, or sends values beyond its range. Lone spikes occur
in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOST = 0.004  # share of samples lost one at a time
LOST_RUNS = 0.015  # runs of lost samples a day, of a mean LOST_DAYS
LOST_DAYS = 0.25
SPIKES = 0.0002  # share of samples
FAULTS = 0.0015  # a day: one in two years


@dataclass(frozen=True)
class Instrument:
    low: float  # measuring range, in the channel's unit
    high: float
    noise: float = 0.0  # standard deviation, in the channel's unit
    relative: float = 0.0  # standard deviation over the value

    @property
    def span(self) -> float:
        return self.high - self.low


def measure(rng: np.random.Generator, instrument: Instrument, truth: np.ndarray, days: float) -> np.ndarray:
    """float32[T]: what `instrument` reports of `truth` [T], `days` between samples; NaN = lost."""
    shown = truth + rng.standard_normal(len(truth)) * np.hypot(instrument.noise, instrument.relative * truth)
    for _ in range(rng.poisson(FAULTS * days * len(truth))):
        _break(rng, instrument, shown, days)
    spikes = rng.random(len(truth)) < SPIKES
    shown[spikes] += rng.choice([-1.0, 1.0], spikes.sum()) * rng.uniform(0.3, 0.8, spikes.sum()) * instrument.span
    shown[rng.random(len(truth)) < LOST] = np.nan
    for _ in range(rng.poisson(LOST_RUNS * days * len(truth))):
        shown[_stretch(rng, len(truth), rng.exponential(LOST_DAYS) / days)] = np.nan
    return shown.astype(np.float32)


def _stretch(rng: np.random.Generator, count: int, steps: float) -> slice:
    start = int(rng.integers(count))
    return slice(start, start + 1 + int(steps))


def _break(rng: np.random.Generator, instrument: Instrument, shown: np.ndarray, days: float) -> None:
    """One fault of a random kind, somewhere in `shown`."""
    kind = rng.choice(["stuck", "drift", "offset", "beyond range"])
    sign = rng.choice([-1.0, 1.0])
    if kind == "stuck":
        part = _stretch(rng, len(shown), rng.uniform(0.5, 3.0) / days)
        shown[part] = shown[part.start]
    elif kind == "drift":
        part = _stretch(rng, len(shown), rng.uniform(3.0, 8.0) / days)
        ramp = np.linspace(0.0, 1.0, len(shown[part]))
        shown[part] += sign * rng.uniform(0.02, 0.06) * instrument.span * ramp
    elif kind == "offset":
        part = _stretch(rng, len(shown), rng.uniform(0.5, 3.0) / days)
        shown[part] += sign * rng.uniform(0.02, 0.06) * instrument.span
    else:  # e.g. a broken 4–20 mA loop
        part = _stretch(rng, len(shown), rng.uniform(0.05, 0.3) / days)
        shown[part] = instrument.low - 0.25 * instrument.span
