"""Measures of prognosis. Rows are weighted so that every machine counts the same, unless said otherwise."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss


def rmse(label: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Root mean square error, in the labels' unit.

    >>> rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.4142135623730951
    """
    return float(np.sqrt(np.average((predicted - label) ** 2, weights=weight)))


def grouped_rmse(label: np.ndarray, predicted: np.ndarray, machine: np.ndarray) -> tuple[float, float]:
    """RMSE with machines weighted equally, and its standard error over machines (delta method)."""
    error = (predicted - label) ** 2
    _, index = np.unique(machine, return_inverse=True)
    per_machine = np.bincount(index, error) / np.bincount(index)
    value = float(np.sqrt(per_machine.mean()))
    if len(per_machine) < 2 or value == 0:
        return value, float("nan")
    return value, float(per_machine.std(ddof=1) / np.sqrt(len(per_machine)) / (2 * value))


def nasa_score(label: np.ndarray, predicted: np.ndarray) -> float:
    """Sum of exp(−d/13) − 1 (early) or exp(d/10) − 1 (late) over d = predicted − label (Saxena et al. 2008).

    >>> round(nasa_score(np.array([50.0]), np.array([60.0])), 3)
    1.718
    """
    d = np.clip(predicted - label, -1e3, 1e3)  # in a unit other than cycles the sum overflows: keep it finite
    return float(np.sum(np.where(d < 0, np.expm1(-d / 13), np.expm1(d / 10))))


def pr_auc(outcome: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> float | None:
    """Area under the precision-recall curve; None when all outcomes are the same."""
    if len(np.unique(outcome)) < 2:
        return None
    return float(average_precision_score(outcome, probability, sample_weight=weight))


def brier(outcome: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> float:
    """Mean square error of a probability (Brier 1950)."""
    return float(brier_score_loss(outcome, np.clip(probability, 0, 1), sample_weight=weight))


def weighted_quantile(x: np.ndarray, q: np.ndarray | float, weight: np.ndarray) -> np.ndarray:
    """Smallest x below which at least the share `q` of the weight lies.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), 0.5, np.ones(3))
    array(2.)
    """
    order = np.argsort(x, kind="stable")
    share = np.cumsum(weight[order]) / np.sum(weight)
    return np.asarray(x[order][np.minimum(np.searchsorted(share, np.asarray(q) - 1e-12), len(x) - 1)])
