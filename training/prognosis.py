"""From what the models say to a prognosis, in Array API code: run by NumPy on recorded rows, traced into the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, Float32, constant, matmul, namespace
from training.calibration import Calibration


@dataclass(frozen=True)
class Said:
    """What the models say of B machines, f32[B,1] each; a head that a class does not have repeats the other's number."""

    lstm: Array  # remaining life, in the unit of life
    aged: Array  # remaining life by xgboost with age
    free: Array  # remaining life by xgboost without age
    path: Array  # isolation forest: path length relative to the expected one, short = odd


@dataclass(frozen=True)
class Prognosis:
    """f32[B,1] each, `rul_model` f32[B,2]."""

    rul: Array
    lower: Array
    upper: Array
    failure_probability: Array
    anomaly_score: Array
    rul_model: Array
    warming_up: Array


def ramps(x: Array, knots: Float32) -> Array:
    """Basis [B,K−1] of the piecewise linear functions of `x` [B,1] with these knots, constant beyond them."""
    xp = namespace(x)
    above = xp.maximum(x - constant(x, knots[None, :-1]), constant(x, 0))
    return xp.minimum(above, constant(x, np.diff(knots)[None]))


def slopes(knots: Float32, values: Float32) -> Float32:
    """[K−1,N] slopes of N curves with `values` [K,N] at `knots`: a curve is values[0] + ramps @ slopes."""
    return (np.diff(values, axis=0) / np.diff(knots)[:, None]).astype(np.float32)


def prognose(
    asset_class: AssetClass, calibration: Calibration, said: Said, since_new: Array, warming_up: Array
) -> Prognosis:
    """Blend, interval, failure probability and anomaly score; `since_new`, `warming_up` f32[B,1].

    While a twin warms up the interval widens to all of 0…cap and the failure probability moves to its prior. Where the
    interval reaches the cap its upper end is +inf: such remaining lives were never told apart.
    """
    xp, cal = namespace(said.lstm), calibration
    zero, one, cap = constant(said.lstm, 0), constant(said.lstm, 1), constant(said.lstm, cal.cap)
    if asset_class.life.age == "required":
        # No head can do without age: what it says of a machine of unknown age is worth nothing.
        warming_up = xp.maximum(warming_up, one - since_new)
    heads = list(cal.heads)
    by_name = {"aged": said.aged, "free": said.free}
    xgboost = by_name[heads[0]]
    if len(heads) == 2:
        xgboost = xp.where(since_new > zero, said.aged, said.free)
    rul_model = xp.concat([said.lstm, xgboost], axis=1)
    blend = np.array([[cal.heads[h].weights[m] for h in heads] for m in ("lstm", "xgboost")], np.float32)
    rul = xp.minimum(xp.maximum(_choose(matmul(rul_model, blend), since_new), zero), cap)

    knots = np.array(cal.knots, np.float32)
    basis = ramps(rul, knots)
    curves = [
        _choose(
            matmul(basis, np.column_stack([slopes(knots, cal.curves(h))[:, i] for h in heads]))
            + constant(rul, np.array([[cal.curves(h)[0, i] for h in heads]])),
            since_new,
        )
        for i in range(3)
    ]
    warm = one - warming_up
    lower = xp.maximum(rul + curves[0], zero) * warm
    upper = xp.minimum(rul + curves[1], cap) * warm + warming_up * cap
    upper = xp.where(upper >= cap * constant(rul, 0.9999), constant(rul, np.inf), upper)
    probability = curves[2] * warm + warming_up * constant(rul, cal.prior)

    paths = np.array(cal.anomaly_path, np.float32)
    ranks = np.array(cal.anomaly_rank, np.float32)[:, None]
    anomaly = matmul(ramps(said.path, paths), slopes(paths, ranks)) + constant(rul, ranks[:1])
    return Prognosis(rul, lower, upper, probability, anomaly, rul_model, warming_up)


def _choose(values: Array, since_new: Array) -> Array:
    """[B,1] of [B,heads]: the first head (aged) where the life was watched from its beginning, else the second."""
    if values.shape[1] == 1:
        return values
    xp = namespace(values)
    return xp.where(since_new > constant(values, 0), values[:, :1], values[:, 1:])
