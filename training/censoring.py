"""What machines that did not fail tell: labels of censored rows, and weights that keep them from biasing a calibration.

A machine that still runs, or was repaired in time, tells of each of its moments that it lasted r units of life longer.
To leave such rows out is to learn from machines that fail early. Two means, for the capped label min(T, cap):

* a model is fitted towards the *expected* label of a censored row, given what the model says of it and that it lasted
  longer than r (`expected_beyond`): the step of Buckley and James (1979, "Linear regression with censored data"), taken
  at every iteration of boosting or gradient descent, with the curvature of the likelihood (Tobin 1958);
* a calibration weighs each row whose label is known by the inverse of the probability that a label like its own is
  known (`known_weights`): inverse probability of censoring weighting (Robins and Rotnitzky 1992), with the Kaplan–Meier
  estimate of the time to censoring. It assumes that machines do not go out of sight because they are about to fail.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from training.dataset import machine_weights

FAR = 6.0  # standard deviations below the bound at which a prediction counts as no further below
LEAST_SPREAD = 0.01  # of predictions about the labels, in units of the cap
LEAST_KNOWN = 0.05  # probability of being known below which weights grow no more: no row counts for more than twenty
Float = NDArray[np.floating]


def expected_beyond(predicted: Float, bound: Float, spread: float) -> tuple[Float, Float]:
    """The label expected of rows `predicted` that lasted longer than `bound`, and how much that says of each, 0…1.

    All in units of the cap, bound in [0, 1). What is known raises the prediction by E[min(y, 1) | y > bound] −
    E[min(y, 1)] of y ~ N(predicted, spread²). It says as much as its Fisher information, relative to that of a known
    label: a bound far below the prediction says nothing, and such rows must not hold learning back.

    >>> label, information = expected_beyond(np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.5, 0.7]), 0.1)
    >>> label.round(3), information.round(3)
    (array([0.5 , 0.58, 0.737]), array([0.   , 0.637, 0.886]))
    """
    mean = np.maximum(predicted, bound - FAR * spread)
    low, high = (bound - mean) / spread, (1.0 - mean) / spread
    hazard = _density(low) / ndtr(-low)  # of the normal distribution, the inverse Mills ratio
    beyond_cap = (1.0 - mean) * ndtr(-high) - spread * _density(high)
    gain = spread * hazard + beyond_cap * ndtr(low) / ndtr(-low)
    return np.minimum(mean + gain, np.maximum(mean, 1.0)), hazard * (hazard - low)


def _density(x: Float) -> Float:
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def known_weights(rows: pd.DataFrame, limit: float = np.inf) -> NDArray[np.float64]:
    """f64[R] that weigh the machines in `rows` equally; 0 where min(capped remaining life, `limit`) is unknown.

    `rows` has asset, `lower` (capped remaining life, or how long it was seen to last) and `exact`. Where nothing is
    censored these are `machine_weights`.
    """
    seen = np.minimum(rows.lower.to_numpy(), limit)
    known = rows.exact.to_numpy() | (rows.lower.to_numpy() >= limit)
    weight = machine_weights(rows)
    if known.all():
        return weight
    return np.where(known, weight / np.maximum(_uncensored(seen, known, weight), LEAST_KNOWN), 0.0)


def _uncensored(seen: Float, known: NDArray[np.bool_], weight: Float) -> Float:
    """Probability that a row is not censored before `seen` [R]: Kaplan–Meier, with censoring as the event."""
    index = np.unique(seen, return_inverse=True)[1]
    censored = np.bincount(index, weight * ~known)
    leaving = np.bincount(index, weight)
    at_risk = np.cumsum(leaving[::-1])[::-1] - (leaving - censored)  # who failed at a time was not censored at it
    with np.errstate(invalid="ignore"):
        stays = np.where(censored > 0, 1 - censored / at_risk, 1.0)
    before = np.concatenate([[1.0], np.cumprod(np.maximum(stays, 0.0))[:-1]])
    return before[index]
