"""Two building blocks of every simulated signal: slow random wandering and a first-order response."""

from __future__ import annotations

import numpy as np


def wander(rng: np.random.Generator, count: int, steps: float) -> np.ndarray:
    """float64[count]: standard normal values every `steps` samples, straight lines between them."""
    knots = rng.standard_normal(int(np.ceil(count / steps)) + 1)
    return np.interp(np.arange(count) / steps, np.arange(len(knots)), knots)


def lag(signal: np.ndarray, steps: float) -> np.ndarray:
    """First-order response, time constant `steps` samples, to `signal` [T]; begins settled at its first value."""
    kernel = np.exp(-np.arange(int(np.ceil(12 * steps)) + 1) / steps)
    before = np.full(len(kernel) - 1, signal[0])
    return np.convolve(np.concatenate([before, signal]), kernel / kernel.sum(), mode="valid")
