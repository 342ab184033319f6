"""Fitting the constants of the step function on training machines: regimes, expected values, health-index
projections.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from data.asset_class import AssetClass
from data.errors import DataError
from features.array import Float32
from features.normalisation import polynomial
from features.parameters import Parameters

Bool = npt.NDArray[np.bool_]

MIN_HEALTHY_ROWS = 50  # below it, all rows stand in for the healthy ones
SET_POINT = 0.05  # conditions that stay within this share of their extent around k points are k regimes
CONSTANT = 1e-6  # a sensor whose spread is below this share of its size does not vary
PRINCIPAL_COMPONENTS = 2
RIDGE = 10.0
MIN_REGIME_ROWS = 20
LEAST_REACH = 1.0  # healthy standard deviations that a smoothed sensor may at least move without being called novel


def fit_normalisation(
    asset_class: AssetClass,
    sensors: tuple[str, ...],
    values: Float32,
    conditions: Float32 | None,
    healthy: Bool,
    seed: int,
) -> Parameters:
    """Regimes and expected values from rows of training machines: `values` [R,S], `conditions` [R,K], `healthy` [R].

    Operating conditions that sit at a few set points are regimes, each with its own mean; conditions that vary
    continuously are regressed on, by a polynomial of degree 2. Sensors that do not vary are left out.
    """
    notes = []
    x = np.zeros((len(values), 0), np.float32) if conditions is None else conditions
    known: Bool = np.asarray(np.isfinite(x).all(axis=1))
    reference = healthy & known
    if reference.sum() < MIN_HEALTHY_ROWS:
        notes.append(f"only {reference.sum()} healthy rows: normalised on all {known.sum()} rows instead")
        reference = known
    if not reference.any():
        raise DataError(f"fleet {asset_class.fleet}: no row has all operating conditions {asset_class.conditions}")
    extent = _extent(asset_class, x[known])
    labels, centres = _regimes(asset_class, x[known], extent, seed)
    all_labels = np.zeros(len(x), np.int64)
    all_labels[known] = labels
    for g in range(len(centres)):
        if len(centres) > 1 and (reference & (all_labels == g)).sum() < MIN_REGIME_ROWS:
            reference = reference | (known & (all_labels == g))
            notes.append(f"operating regime {g + 1} was hardly seen while healthy: normalised on all of its rows")
    discrete = len(centres) > 1 or _is_set_point(x[known], labels, extent)
    degree = 0 if discrete or not x.shape[1] else 2
    half = np.stack([_half_width(x[known][labels == g], centres[g], extent) for g in range(len(centres))])
    if len(centres) > 1:
        basis = np.eye(len(centres), dtype=np.float32)[all_labels]
    elif degree:
        basis = polynomial(((x - centres) / half).astype(np.float32), degree)
    else:
        basis = np.ones((len(x), 1), np.float32)

    expected, spread = [], []
    use: list[str] = []
    silent: list[str] = []
    constant: list[str] = []
    for i, sensor in enumerate(sensors):
        rows = reference & np.isfinite(values[:, i])
        if rows.sum() < MIN_HEALTHY_ROWS // 2:
            silent.append(sensor)
            continue
        coefficients, deviation = _expected(basis[rows], values[rows, i], all_labels[rows], len(centres))
        if not deviation.max() > CONSTANT * max(abs(float(np.median(values[rows, i]))), 1e-12):
            constant.append(sensor)
            continue
        use.append(sensor)
        expected.append(coefficients)
        spread.append(np.maximum(deviation, deviation.max() * 1e-3))
    if silent:
        notes.append(f"not used, fewer than {MIN_HEALTHY_ROWS // 2} usable healthy rows: {', '.join(silent)}")
    if constant:
        notes.append(f"not used, do not vary while healthy: {', '.join(constant)}")
    if not use:
        raise DataError(f"fleet {asset_class.fleet}: no sensor varies while healthy: there is nothing to learn from")
    return Parameters(
        sensors=tuple(use),
        centres=centres.astype(np.float32),
        half_widths=half.astype(np.float32),
        scale=extent.astype(np.float32),
        degree=degree,
        expected=np.stack(expected, axis=1).astype(np.float32),
        spread=np.stack(spread, axis=1).astype(np.float32),
        projections=(),
        weights=np.zeros((len(use), 0), np.float32),
        healthy=1.0,
        failed=0.0,
        middle=np.zeros(len(use), np.float32),
        reach=np.ones(len(use), np.float32),
        notes=tuple(notes),
    )


def fit_projections(
    parameters: Parameters, smooth: Float32, rul: Float32, healthy: Bool, at_failure: Bool, weight: Float32
) -> Parameters:
    """Health-index projections from smoothed normalised sensors [R,S], and the extent of these.

    The first is a ridge regression of the capped remaining life `rul` [R] (NaN: unknown) and carries `health`; the
    others are principal components. `weight` [R] weighs machines equally. `at_failure` marks each failed life's last
    row.
    """
    known = np.isfinite(rul)
    if not known.any():
        raise DataError("no row of the training machines has a known remaining life: failures are needed to learn from")
    ridge = Ridge(alpha=RIDGE).fit(smooth[known], rul[known] / rul[known].max(), sample_weight=weight[known])
    components = min(PRINCIPAL_COMPONENTS, smooth.shape[1])
    pca = PCA(components, random_state=0).fit(smooth[known])
    # The sign of a principal component is arbitrary: let it fall as life runs out, so that folds agree.
    signs = [np.sign(np.cov(smooth[known] @ row, rul[known])[0, 1]) or 1.0 for row in pca.components_]
    weights = np.column_stack([ridge.coef_, *(s * row for s, row in zip(signs, pca.components_, strict=True))])
    index = smooth @ ridge.coef_
    good = index[healthy & known] if (healthy & known).any() else index[rul >= np.nanmax(rul)]
    notes = parameters.notes
    bad = index[at_failure]
    if not len(bad):
        bad = index[rul <= np.nanmin(rul)]
        notes = (*notes, "no training machine was seen failing: health is 0 at the least remaining life on record")
    healthy_level, failed_level = float(np.median(good)), float(np.median(bad))
    if not healthy_level > failed_level:
        notes = (*notes, "health does not fall towards failure on the training machines: do not use it")
        healthy_level = failed_level + max(abs(failed_level), 1.0)
    low, high = smooth.min(axis=0), smooth.max(axis=0)
    return replace(
        parameters,
        middle=((low + high) / 2).astype(np.float32),
        reach=np.maximum((high - low) / 2, LEAST_REACH).astype(np.float32),
        projections=("ridge", *(f"pc{i + 1}" for i in range(components))),
        weights=weights.astype(np.float32),
        healthy=healthy_level,
        failed=failed_level,
        notes=notes,
    )


def _extent(asset_class: AssetClass, x: Float32) -> npt.NDArray[np.float64]:
    """The distance that counts as one for each condition: what the data span, at least 1 % of the declared range."""
    ranges = [asset_class.channels[name].range for name in asset_class.conditions]
    declared = np.array([high - low for low, high in ranges])
    return np.maximum(np.ptp(x, axis=0) if len(x) else 0, 0.01 * declared)


def _regimes(
    asset_class: AssetClass, x: Float32, extent: npt.NDArray[np.float64], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Regime of each row and centres [G,K]: the fewest set points that explain the conditions, else one regime."""
    wanted = asset_class.features.regimes
    one = np.zeros(len(x), np.int64), ((x.min(axis=0) + x.max(axis=0)) / 2)[None].astype(np.float64)
    if not x.shape[1] or wanted == 1:
        return one
    distinct = len(np.unique(np.round(x / extent, 3), axis=0))
    for count in range(1, asset_class.features.max_regimes + 1) if wanted == "auto" else [int(wanted)]:
        if count > distinct:
            break
        if count == 1:
            labels, centres = one
        else:
            means = KMeans(count, n_init=5, random_state=seed).fit(x / extent)
            labels, centres = means.labels_.astype(np.int64), means.cluster_centers_ * extent
        rare = np.bincount(labels, minlength=count).min() < MIN_REGIME_ROWS
        if wanted != "auto" or (not rare and _is_set_point(x, labels, extent)):
            return labels, centres
    return one


def _is_set_point(x: Float32, labels: npt.NDArray[np.int64], extent: npt.NDArray[np.float64]) -> bool:
    """Whether the conditions of every regime stay close to one point."""
    spread = [np.std(x[labels == g] / extent, axis=0).max(initial=0) for g in np.unique(labels)]
    return bool(max(spread) <= SET_POINT)


def _half_width(
    x: Float32, centre: npt.NDArray[np.float64], extent: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    reach = np.abs(x - centre).max(axis=0) if len(x) else np.zeros_like(centre)
    return np.maximum(1.1 * reach, 0.02 * extent)


def _expected(
    basis: Float32, x: Float32, labels: npt.NDArray[np.int64], regimes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coefficients [Q] of the expected value of `x` and the deviation from it in each regime [G]."""
    coefficients, *_ = np.linalg.lstsq(basis.astype(np.float64), x.astype(np.float64), rcond=None)
    if regimes > 1:
        coefficients[~basis.any(axis=0)] = x.mean()  # regimes in which the sensor gave nothing
    rest = x - basis @ coefficients
    overall = float(np.std(rest))
    inside = [rest[labels == g] for g in range(regimes)]
    deviation = [float(np.std(r)) if len(r) >= MIN_REGIME_ROWS else overall for r in inside]
    return coefficients, np.array(deviation)
