"""From what the models say to a prognosis, in Array API code: run by NumPy on recorded rows, traced into the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, Float32, clip, constant, matmul, namespace, split
from training.calibration import RUL_MODELS, Calibration


@dataclass(frozen=True)
class Said:
    """What the models say of B machines, f32[B,1] each; a head that a class lacks repeats the other's number."""

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
    unfamiliar: Array
    with_age: Array  # 1 where the age is known and used


def ramps(x: Array, knots: Float32) -> Array:
    """Basis [B,K−1] of the piecewise linear functions of `x` [B,1] with these knots, constant beyond them."""
    xp = namespace(x)
    above = xp.maximum(x - constant(x, knots[None, :-1]), constant(x, 0))
    return xp.minimum(above, constant(x, np.diff(knots)[None]))


def slopes(knots: Float32, values: Float32) -> Float32:
    """[K−1,N] slopes of N curves with `values` [K,N] at `knots`: a curve is values[0] + ramps @ slopes."""
    return (np.diff(values, axis=0) / np.diff(knots)[:, None]).astype(np.float32)


def prognose(
    asset_class: AssetClass, calibration: Calibration, said: Said, since_new: Array, warming_up: Array, novelty: Array
) -> Prognosis:
    """Blend, interval, failure probability and anomaly score; `since_new`, `warming_up`, `novelty` f32[B,1].

    While a twin warms up, and as far as what it sees is unfamiliar, the interval widens to all of 0…cap and the failure
    probability moves to its prior. Where the interval reaches the cap its upper end is +inf: such remaining lives were
    never told apart.
    """
    xp, cal, like = namespace(said.lstm), calibration, said.lstm
    if asset_class.life.age == "required":
        # No head can do without age: what it says of a machine of unknown age is worth nothing.
        warming_up = xp.maximum(warming_up, constant(like, 1) - since_new)
    heads = list(cal.heads)
    with_age = since_new > constant(like, 0)

    def choose(values: Array) -> Array:
        """[B,N] of [B,heads·N]: the first head (aged) where the life was watched from its start, else the second."""
        if len(heads) == 1:
            return values
        first, second = split(values, [values.shape[1] // 2] * 2)
        return xp.where(with_age, first, second)

    only = said.aged if heads == ["aged"] else said.free
    xgboost = only if len(heads) == 1 else xp.where(with_age, said.aged, said.free)
    rul_model = xp.concat([said.lstm, xgboost], axis=1)
    blend = np.array([[cal.heads[h].weights[m] for h in heads] for m in RUL_MODELS], np.float32)
    rul = clip(choose(matmul(rul_model, blend)), 0.0, cal.cap)

    knots = np.array(cal.knots, np.float32)
    curves = np.concatenate([cal.curves(h) for h in heads], axis=1)
    made = choose(matmul(ramps(rul, knots), slopes(knots, curves)) + constant(like, curves[:1]))
    unfamiliar = clip(novelty / constant(like, cal.familiar) - constant(like, 1), 0.0, 1.0)
    unknown = xp.maximum(warming_up, unfamiliar)
    nothing_known = constant(like, [[0.0, cal.cap, cal.prior]])
    made = made * (constant(like, 1) - unknown) + unknown * nothing_known
    lower, upper, probability = split(made, [1, 1, 1])
    upper = xp.where(upper >= constant(like, 0.9999 * cal.cap), constant(like, np.inf), upper)

    paths = np.array(cal.anomaly_path, np.float32)
    ranks = np.array(cal.anomaly_rank, np.float32)[:, None]
    anomaly = matmul(ramps(said.path, paths), slopes(paths, ranks)) + constant(like, ranks[:1])
    uses_age = since_new if "aged" in heads else since_new * constant(like, 0)
    return Prognosis(rul, lower, upper, probability, anomaly, rul_model, warming_up, unfamiliar, uses_age)
