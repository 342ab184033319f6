"""What machines that did not fail tell: labels of censored rows, and weights that keep them from biasing a calibration.

A machine that still runs, or was repaired in time, tells of each of its moments that it lasted r units of life longer.
To leave such rows out is to learn from machines that fail early. Two means, for the capped label min(T, cap):

* a model learns the *expected* label of a censored row. What is unknown of a life is one number, how long it would have
  gone on after it was seen last; its last row says most about that. So the machine is expected to go on as those did
  that a model, which had not seen them, took for as worn (`Precedents`), and what is expected of its earlier rows
  follows: predictive mean matching (Little 1988, "Missing-data adjustments in large surveys"), of the life and not of
  each row. To take rows one by one (Buckley and James 1979) is to forget that they end together, and gained nothing.
* a calibration weighs each row whose label is known by the inverse of the probability that a label like its own is
  known (`known_weights`): inverse probability of censoring weighting (Robins and Rotnitzky 1992), with the Kaplan–Meier
  estimate of the time to censoring. It assumes that machines do not go out of sight because they are about to fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.dataset import machine_weights

BANDWIDTH = 0.06  # of the cap: predictions so far apart are of machines about as worn
LEAST_KNOWN = 0.05  # probability of being known below which weights grow no more: no row counts for more than twenty
Float = NDArray[np.floating]


@dataclass(frozen=True)
class Precedents:
    """Rows of lives that ended in failure: what was predicted of them, and what came. All in units of the cap."""

    predicted: Float  # [N], capped remaining life, by models that had not seen the machine
    remaining: Float  # [N], uncapped remaining life, ascending
    weight: Float  # [N], above 0

    @classmethod
    def of(cls, predicted: Float, remaining: Float, weight: Float) -> Precedents:
        """In any order."""
        order = np.argsort(remaining, kind="stable")
        return cls(predicted[order], remaining[order], weight[order])

    def expected(self, predicted: float, lasted: float, ahead: Float) -> Float:
        """Capped remaining life expected [T] of a machine at moments that lie `ahead` [T] of its last row.

        Of the last row a model predicts `predicted`, and it is known to have lasted longer than `lasted`. NaN where
        nothing that failed had lasted so long.

        >>> seen = Precedents.of(np.full(3, 0.4), np.array([0.5, 0.2, 0.4]), np.ones(3))
        >>> seen.expected(0.4, 0.0, np.array([0.0, 0.3, 0.9])).round(3)
        array([0.367, 0.667, 1.   ])
        >>> seen.expected(0.4, 0.3, np.array([0.0, 0.3, 0.9])).round(3)
        array([0.45, 0.75, 1.  ])
        """
        first = int(np.searchsorted(self.remaining, lasted, side="right"))
        if first == len(self.remaining):
            return np.full(len(ahead), np.nan)
        share = _likeness(self.predicted[first:] - predicted, self.weight[first:])
        fails = np.concatenate([[0.0], np.cumsum(share)])
        lives = np.concatenate([[0.0], np.cumsum(share * self.remaining[first:])])
        k = np.searchsorted(self.remaining[first:], 1.0 - ahead)  # of the precedents, so many would fail below the cap
        return np.clip(lives[k] + ahead * fails[k] + (1.0 - fails[k]), lasted + ahead, 1.0)


def _likeness(distance: Float, weight: Float) -> Float:
    """f64[N] that add up to 1: what each precedent counts, from how much more was predicted of it.

    A kernel, tilted so that their mean distance is 0 (local linear regression; Fan and Gijbels 1996): most rows are of
    healthy machines, and would else draw whatever is near them up. None counts less than nothing.
    """
    log = np.log(weight) - 0.5 * (distance / BANDWIDTH) ** 2
    kernel = np.exp(log - log.max())
    tilted = np.maximum(kernel * ((kernel * distance**2).sum() - distance * (kernel * distance).sum()), 0)
    share = tilted if tilted.sum() > 0 else kernel
    return share / share.sum()


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
