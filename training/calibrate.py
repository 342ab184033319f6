"""Stage `calibrate`: blend, intervals, failure probability and anomaly scale, from out-of-fold predictions alone.

python -m training.calibrate <fleet>
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.isotonic import IsotonicRegression

from data import command, paths
from training import metrics, predictions
from training.calibration import RUL_MODELS, Calibration, Head
from training.censoring import known_weights
from training.dataset import Dataset, machine_weights
from training.params import PrognosisParams, read_params

EVEN = 32  # parts into which knots cut the predicted remaining life, wherever machines are
FINEST = 1024  # parts of the cap: no two knots are closer
TAILS = 31  # ways to divide what an interval leaves out between below and above
FAMILIAR = 0.99  # share of the rows of machines like those of training that are called familiar
RANKS = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0])


def out_of_fold(dataset: Dataset) -> pd.DataFrame:
    """Training rows with what was said of them out of fold: columns lstm, aged, free, path, novelty."""
    families = [predictions.read(dataset.fleet, name) for name in ("lstm", "xgboost", "isolation_forest")]
    table = pd.concat([dataset.rows, *families], axis=1)
    table["path"] = -np.log2(table.score)
    table = table[table.fold >= 0].reset_index(drop=True)
    for fold in dataset.folds:
        own = (table.fold == fold).to_numpy()
        table.loc[own, "novelty"] = dataset.part(fold).novelty[own]
    return table


def known(table: pd.DataFrame, limit: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rows after warm-up whose remaining life is known up to `limit`, and their weights."""
    warm = np.flatnonzero(table.warm)
    weight = known_weights(table.iloc[warm], limit)
    return warm[weight > 0], weight[weight > 0]


def by_family(table: pd.DataFrame, head: str) -> np.ndarray:
    """f64[R, families] predictions of remaining life in the order of RUL_MODELS."""
    return table[["lstm", head]].to_numpy(np.float64)


def blend(table: pd.DataFrame, head: str) -> dict[str, float]:
    """Weights of the families, not negative, sum 1, that minimise the square error with machines weighted equally."""
    where, weight = known(table)
    judged, root = table.iloc[where], np.sqrt(weight)
    said = by_family(judged, head)
    # Write the blend as the last family plus shares of the differences to it: the sum is 1 by construction.
    difference = (said[:, :-1] - said[:, -1:]) * root[:, None]
    rest = (judged.lower.to_numpy() - said[:, -1]) * root
    shares, _ = nnls(difference, rest)
    shares = shares / max(shares.sum(), 1.0)
    return dict(zip(RUL_MODELS, [*shares.tolist(), 1.0 - float(shares.sum())], strict=True))


def blended(table: pd.DataFrame, head: str, weights: dict[str, float], cap: float) -> np.ndarray:
    return np.clip(by_family(table, head) @ np.array([weights[name] for name in RUL_MODELS]), 0, cap)


@dataclass(frozen=True)
class Ends:
    """From the prediction to the ends of its interval, at the mean prediction of each bin; linear between them."""

    centres: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def at(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of predictions `p`."""
        return np.interp(p, self.centres, self.lower), np.interp(p, self.centres, self.upper)


def knots_of(cap: float, ends: Sequence[Ends]) -> np.ndarray:
    """Predicted lives between which all curves are straight: evenly over 0…cap, and wherever the `ends` bend.

    They bend at the bins' centres, which lie close where most predictions are alike, and where an end meets 0 or cap.
    """
    grid = np.linspace(0, cap, FINEST + 1)
    chosen = np.zeros(FINEST + 1, bool)
    chosen[:: FINEST // EVEN] = True
    for each in ends:
        chosen[np.clip(np.round(each.centres / cap * FINEST), 0, FINEST).astype(int)] = True
        lower, upper = each.at(grid)
        for above in (grid + lower > 0, grid + upper > cap):
            meets = np.flatnonzero(np.diff(above))
            chosen[meets] = chosen[meets + 1] = True
    return grid[chosen]


def interval(table: pd.DataFrame, predicted: np.ndarray, cap: float, params: PrognosisParams) -> Ends:
    """The interval around the prediction: binned cross-conformal quantiles of the residuals.

    Bins of predicted life hold equal weight; machines are weighted equally; the level is raised by the share of one
    machine, as in split conformal prediction (Vovk et al. 2005; Barber et al. 2021 for the cross-validated form). Fewer
    than nine machines cannot promise 90 %: then it is all they showed. Of all intervals of a bin that hold so much,
    the one that is shortest within 0…cap: near the cap, where it costs nothing above, all that may lie outside lies
    below.
    """
    where, weight = known(table)
    judged, p = table.iloc[where], predicted[where]
    level = min(params.interval * (1 + 1 / judged.asset.nunique()), 1.0)
    edges = np.unique(metrics.weighted_quantile(p, np.linspace(0, 1, params.bins + 1), weight))
    if len(edges) < 3:
        edges = np.array([p.min() - 1, p.max()])
    index = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, len(edges) - 2)
    centres, ends = [], []
    for b in np.unique(index):
        inside = index == b
        centres.append(np.average(p[inside], weights=weight[inside]))
        residual = judged.lower.to_numpy()[inside] - p[inside]
        ends.append(_shortest(residual, p[inside], weight[inside], level, cap))
    lower, upper = np.array(ends).T
    return Ends(np.array(centres), lower, upper)


def _shortest(residual: np.ndarray, p: np.ndarray, weight: np.ndarray, level: float, cap: float) -> tuple[float, float]:
    """Ends, around 0, of the interval of residuals that holds `level` of the weight and is shortest within 0…cap."""
    below = np.linspace(0, 1 - level, TAILS)  # of the weight
    lower = np.minimum(metrics.weighted_quantile(residual, below, weight), 0.0)
    upper = np.maximum(metrics.weighted_quantile(residual, np.minimum(below + level, 1.0), weight), 0.0)
    width = [
        np.average(np.minimum(p + high, cap) - np.maximum(p + low, 0), weights=weight)
        for low, high in zip(lower, upper, strict=True)
    ]
    best = int(np.argmin(width))
    return float(lower[best]), float(upper[best])


def failure_curve(table: pd.DataFrame, predicted: np.ndarray, knots: np.ndarray, horizon: float) -> np.ndarray:
    """Probability of failing within the horizon at `knots`: isotonic in the predicted life, never quite 0 or 1.

    It is straight between even steps. Told at closer ones, its jumps would be so steep that rounding of the remaining
    life showed in it.
    """
    where, weight = known(table, horizon)
    judged = table.iloc[where]
    fitted = IsotonicRegression(increasing=False, out_of_bounds="clip", y_min=0, y_max=1)
    fitted.fit(predicted[where], judged.failed_within, sample_weight=weight)
    least = 0.5 / judged.asset.nunique()
    even = np.linspace(knots[0], knots[-1], EVEN + 1)
    return np.interp(knots, even, np.clip(fitted.predict(even), least, 1 - least))


def familiar(table: pd.DataFrame) -> float:
    """The novelty that FAMILIAR of the rows of machines never seen do not exceed; at least the edge of training."""
    own = table[table.warm]
    return max(1.0, float(metrics.weighted_quantile(own.novelty.to_numpy(), FAMILIAR, machine_weights(own))))


def anomaly_scale(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Path lengths, rising, and the share of healthy rows that are less odd than each, falling."""
    own = table[table.healthy & table.warm]
    paths_ = metrics.weighted_quantile(own.path.to_numpy(), 1 - RANKS, machine_weights(own))
    rising, first = np.unique(paths_, return_index=True)
    if len(rising) < 2:
        rising, ranks = np.array([rising[0] - 0.01, rising[0]]), np.array([1.0, 0.0])
    else:
        ranks = RANKS[first]
    return rising, ranks


def calibrate(
    table: pd.DataFrame, heads: list[str], cap: float, horizon: float, params: PrognosisParams
) -> Calibration:
    """The calibration from the out-of-fold rows in `table`."""
    weights = {head: blend(table, head) for head in heads}
    predicted = {head: blended(table, head, weights[head], cap) for head in heads}
    ends = {head: interval(table, predicted[head], cap, params) for head in heads}
    knots = knots_of(cap, [*ends.values()])
    made = {head: _head(table, predicted[head], weights[head], ends[head], knots, horizon) for head in heads}
    where, weight = known(table, horizon)
    odd, ranks = anomaly_scale(table)
    return Calibration(
        cap=cap,
        horizon=horizon,
        level=params.interval,
        knots=knots.tolist(),
        heads=made,
        prior=float(np.average(table.failed_within.iloc[where], weights=weight)),
        anomaly_path=odd.tolist(),
        anomaly_rank=ranks.tolist(),
        familiar=familiar(table),
        familiar_share=FAMILIAR,
    )


def _head(
    table: pd.DataFrame, predicted: np.ndarray, weights: dict[str, float], ends: Ends, knots: np.ndarray, horizon: float
) -> Head:
    lower, upper = ends.at(knots)
    return Head(weights, lower.tolist(), upper.tolist(), failure_curve(table, predicted, knots, horizon).tolist())


def cross_validated(
    table: pd.DataFrame, heads: list[str], calibration: Calibration, params: PrognosisParams
) -> dict[str, Any]:
    """Figures per head: RMSE of each family and of the blend with standard errors, how well intervals and probabilities
    hold.

    The RMSE over all rows after warm-up, machines weighted equally, is what cutting each life at a random moment gives
    in the mean over all cuts. Intervals and probabilities are those calibrated on the other folds, as the graph would
    tell them.
    """
    cap = calibration.cap
    judged = (table.exact & table.warm).to_numpy()
    label, machine = table.lower.to_numpy(), table.asset.to_numpy()
    figures: dict[str, Any] = {}
    for head in heads:
        weights = calibration.heads[head].weights
        predicted = blended(table, head, weights, cap)
        said = {name: by_family(table, head)[:, i] for i, name in enumerate(RUL_MODELS)} | {"blend": predicted}
        figures[head] = {"weights": weights}
        for name, values in said.items():
            value, se = metrics.grouped_rmse(label[judged], values[judged], machine[judged])
            figures[head][name] = {"rmse": value, "se": se}
        low, high, probability = (np.full(len(table), np.nan) for _ in range(3))
        for fold in table.fold.unique():
            here = (table.fold == fold).to_numpy()
            others, p = table[~here], predicted[here]
            ends = interval(others, predicted[~here], cap, params)
            knots = knots_of(cap, [ends])
            curves = _head(others, predicted[~here], weights, ends, knots, calibration.horizon).curves(knots, cap)
            low[here], high[here], probability[here] = (np.interp(p, knots, curve) for curve in curves.T)
        figures[head]["interval"] = {"level": params.interval} | interval_figures(table, predicted, low, high, cap)
        where, weight = known(table, calibration.horizon)
        outcome = table.failed_within.to_numpy()[where]
        figures[head]["failure"] = {
            "brier": metrics.brier(outcome, probability[where], weight),
            "null_brier": metrics.brier(outcome, np.full(len(outcome), calibration.prior), weight),
        }
    return figures


def interval_figures(
    table: pd.DataFrame, predicted: np.ndarray, low: np.ndarray, high: np.ndarray, cap: float
) -> dict[str, Any]:
    """How intervals `low`…`high` hold the capped label, rows as in `known`.

    `thirds`: coverage in each third of predicted life, None where most predictions are alike. `open`: share that reach
    the cap. `badly_covered`: share of machines that lie outside most of the time.
    """
    where, weight = known(table)
    judged, low, high, p = table.iloc[where], low[where], high[where], predicted[where]
    inside = (judged.lower >= low - 1e-9) & (judged.lower <= high + 1e-9)
    third = np.searchsorted(metrics.weighted_quantile(p, np.array([1 / 3, 2 / 3]), weight), p)
    held = [float(np.average(inside[third == k], weights=weight[third == k])) for k in np.unique(third)]
    own = pd.DataFrame({"asset": judged.asset, "inside": inside * weight, "weight": weight}).groupby("asset").sum()
    return {
        "coverage": float(np.average(inside, weights=weight)),
        "thirds": held if len(held) == 3 else None,
        "width": float(np.average(high - low, weights=weight)),
        "open": float(np.average(high >= 0.9999 * cap, weights=weight)),
        "badly_covered": float((own.inside < 0.5 * own.weight).mean()),
    }


def run(fleet: str) -> None:
    dataset, params = Dataset.of(fleet), read_params().prognosis
    labels = dataset.asset_class.labels
    table = out_of_fold(dataset)
    calibration = calibrate(table, dataset.heads, labels.cap, labels.horizon, params)
    calibration.save(paths.artifact(fleet, "calibration.json"))
    figures = cross_validated(table, dataset.heads, calibration, params)
    paths.artifact(fleet, "cross_validation.json").write_text(json.dumps(figures, indent=1) + "\n")
    for head, of in figures.items():
        parts = [f"{name} {of[name]['rmse']:.2f} ± {of[name]['se']:.2f}" for name in (*RUL_MODELS, "blend")]
        share = ", ".join(f"{name} {weight:.2f}" for name, weight in of["weights"].items())
        cover = of["interval"]
        thirds = ", ".join(f"{share:.1%}" for share in cover["thirds"] or [])
        thirds = f" ({thirds} by third of the prediction)" if thirds else ""
        print(
            f"{fleet} {head}: {'; '.join(parts)} (weights {share}); {cover['level']:.0%} interval covers "
            f"{cover['coverage']:.1%}{thirds}, width {cover['width']:.1f} {dataset.asset_class.life.unit}, "
            f"{cover['badly_covered']:.1%} of machines mostly outside"
        )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
