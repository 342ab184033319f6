"""Stage `calibrate`: blend, intervals, failure probability and anomaly scale, from out-of-fold predictions alone.

python -m training.calibrate <fleet>
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.isotonic import IsotonicRegression

from data import command, paths
from training import metrics, predictions
from training.calibration import RUL_MODELS, Calibration, Head
from training.dataset import Dataset, machine_weights
from training.params import PrognosisParams, read_params

KNOTS = 33  # of the curves over predicted remaining life
RANKS = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0])


def out_of_fold(dataset: Dataset) -> pd.DataFrame:
    """Training rows with what each family said of them out of fold: columns lstm, aged, free, path."""
    families = [predictions.read(dataset.fleet, name) for name in ("lstm", "xgboost", "isolation_forest")]
    table = pd.concat([dataset.rows, *families], axis=1)
    table["path"] = -np.log2(table.score)
    return table[table.fold >= 0].reset_index(drop=True)


def by_family(table: pd.DataFrame, head: str) -> np.ndarray:
    """f64[R, families] predictions of remaining life in the order of RUL_MODELS."""
    return table[["lstm", head]].to_numpy(np.float64)


def blend(table: pd.DataFrame, head: str) -> dict[str, float]:
    """Weights of the families, not negative, sum 1, that minimise the square error with machines weighted equally."""
    judged = table[table.exact & table.warm]
    said, root = by_family(judged, head), np.sqrt(machine_weights(judged))
    # Write the blend as the last family plus shares of the differences to it: the sum is 1 by construction.
    difference = (said[:, :-1] - said[:, -1:]) * root[:, None]
    rest = (judged.lower.to_numpy() - said[:, -1]) * root
    shares, _ = nnls(difference, rest)
    shares = shares / max(shares.sum(), 1.0)
    return dict(zip(RUL_MODELS, [*shares.tolist(), 1.0 - float(shares.sum())], strict=True))


def blended(table: pd.DataFrame, head: str, weights: dict[str, float], cap: float) -> np.ndarray:
    return np.clip(by_family(table, head) @ np.array([weights[name] for name in RUL_MODELS]), 0, cap)


def interval(
    table: pd.DataFrame, predicted: np.ndarray, knots: np.ndarray, params: PrognosisParams
) -> tuple[np.ndarray, np.ndarray]:
    """From the prediction to the ends of the interval at `knots`: binned cross-conformal quantiles of the residuals.

    Bins of predicted life hold equal weight; machines are weighted equally; the level is raised by the share of one
    machine, as in split conformal prediction (Vovk et al. 2005; Barber et al. 2021 for the cross-validated form).
    """
    judged = (table.exact & table.warm).to_numpy()
    own = table[judged]
    p, weight = predicted[judged], machine_weights(own)
    residual = own.lower.to_numpy() - p
    machines = own.asset.nunique()
    tail = (1 - min(params.interval * (1 + 1 / machines), 1.0)) / 2
    edges = np.unique(metrics.weighted_quantile(p, np.linspace(0, 1, params.bins + 1), weight))
    if len(edges) < 3:
        edges = np.array([p.min() - 1, p.max()])
    index = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, len(edges) - 2)
    centres, lower, upper = [], [], []
    for b in np.unique(index):
        inside = index == b
        centres.append(np.average(p[inside], weights=weight[inside]))
        low, high = metrics.weighted_quantile(residual[inside], np.array([tail, 1 - tail]), weight[inside])
        lower.append(min(low, 0.0))
        upper.append(max(high, 0.0))
    return np.interp(knots, centres, lower), np.interp(knots, centres, upper)


def failure_curve(table: pd.DataFrame, predicted: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Probability of failing within the horizon at `knots`: isotonic in the predicted life, never quite 0 or 1."""
    judged = (table.failed_within.notna() & table.warm).to_numpy()
    own = table[judged]
    fitted = IsotonicRegression(increasing=False, out_of_bounds="clip", y_min=0, y_max=1)
    fitted.fit(predicted[judged], own.failed_within, sample_weight=machine_weights(own))
    least = 0.5 / own.asset.nunique()
    return np.clip(fitted.predict(knots), least, 1 - least)


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
    knots = np.linspace(0, cap, KNOTS)
    made = {}
    for head in heads:
        weights = blend(table, head)
        predicted = blended(table, head, weights, cap)
        lower, upper = interval(table, predicted, knots, params)
        made[head] = Head(weights, lower.tolist(), upper.tolist(), failure_curve(table, predicted, knots).tolist())
    known = table[table.failed_within.notna() & table.warm]
    odd, ranks = anomaly_scale(table)
    return Calibration(
        cap=cap,
        horizon=horizon,
        level=params.interval,
        knots=knots.tolist(),
        heads=made,
        prior=float(np.average(known.failed_within, weights=machine_weights(known))),
        anomaly_path=odd.tolist(),
        anomaly_rank=ranks.tolist(),
    )


def cross_validated(table: pd.DataFrame, heads: list[str], calibration: Calibration, params: PrognosisParams) -> dict:
    """Figures per head: RMSE of each family and of the blend with standard errors; coverage and width of the interval.

    Coverage is of intervals calibrated on the other folds.
    """
    cap, knots = calibration.cap, np.array(calibration.knots)
    judged = (table.exact & table.warm).to_numpy()
    label, machine = table.lower.to_numpy(), table.asset.to_numpy()
    figures: dict = {}
    for head in heads:
        weights = calibration.heads[head].weights
        predicted = blended(table, head, weights, cap)
        said = {name: by_family(table, head)[:, i] for i, name in enumerate(RUL_MODELS)} | {"blend": predicted}
        figures[head] = {"weights": weights}
        for name, values in said.items():
            value, se = metrics.grouped_rmse(label[judged], values[judged], machine[judged])
            figures[head][name] = {"rmse": value, "se": se}
        inside, width = np.zeros(len(table)), np.zeros(len(table))
        for fold in table.fold.unique():
            here = (table.fold == fold).to_numpy()
            lower, upper = interval(table[~here], predicted[~here], knots, params)
            low = np.maximum(predicted[here] + np.interp(predicted[here], knots, lower), 0)
            high = np.minimum(predicted[here] + np.interp(predicted[here], knots, upper), cap)
            inside[here] = (label[here] >= low - 1e-9) & (label[here] <= high + 1e-9)
            width[here] = high - low
        weight = machine_weights(table[judged])
        figures[head]["interval"] = {
            "level": params.interval,
            "coverage": float(np.average(inside[judged], weights=weight)),
            "width": float(np.average(width[judged], weights=weight)),
        }
    return figures


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
        print(
            f"{fleet} {head}: {'; '.join(parts)} (weights {share}); {cover['level']:.0%} interval covers "
            f"{cover['coverage']:.1%}, width {cover['width']:.1f} {dataset.asset_class.life.unit}"
        )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
