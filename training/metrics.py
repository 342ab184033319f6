"""Measures of prognosis. Rows are weighted so that every machine counts the same, unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss


def rmse(label: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Root mean square error, in the labels' unit.

    >>> rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.4142135623730951
    """
    return float(np.sqrt(np.average((predicted - label) ** 2, weights=weight)))


def mae(label: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean absolute error, in the labels' unit.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    return float(np.average(np.abs(predicted - label), weights=weight))


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
    return float(np.sum(nasa_terms(label, predicted)))


def nasa_terms(label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """f64[R]: what each row adds to the NASA score."""
    d = np.clip(predicted - label, -1e3, 1e3)  # in a unit other than cycles the sum overflows: keep it finite
    return np.where(d < 0, np.expm1(-d / 13), np.expm1(d / 10))


def pr_auc(outcome: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> float | None:
    """Area under the precision-recall curve; None when all outcomes are the same."""
    if len(np.unique(outcome)) < 2:
        return None
    return float(average_precision_score(outcome, probability, sample_weight=weight))


def pr_auc_by_weight(
    outcome: np.ndarray, probability: np.ndarray, weight: np.ndarray
) -> Callable[[np.ndarray], float | None]:
    """The same as a function of how often each row counts f64[R]: the rows are sorted once for many resamples."""
    order = np.argsort(-probability, kind="stable")
    falling, failed, weight = probability[order], outcome[order], weight[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(order) - 1)  # of each run of equal probabilities

    def value(times: np.ndarray) -> float | None:
        w = weight * times[order]
        total, hits = np.cumsum(w)[last], np.cumsum(w * failed)[last]
        if hits[-1] <= 0 or hits[-1] >= total[-1]:
            return None
        seen = total > 0
        precision = hits[seen] / total[seen]
        return float(np.sum(np.diff(hits[seen], prepend=0.0) * precision) / hits[-1])

    return value


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
