"""Figures of the remaining life: errors under both label protocols, intervals, α-λ accuracy, prognostic horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from training import metrics
from training.calibration import RUL_MODELS
from training.dataset import machine_weights
from training.measures import bootstrap, prognostics
from training.measures.bootstrap import Resampling
from training.measures.figures import Figures

PER_MODEL = (*RUL_MODELS, "blend")
CLOSE = 1e-6  # to an end of the interval counts as inside
ERRORS = {"rmse": metrics.rmse, "nasa_score": metrics.nasa_score, "mae": metrics.mae}
WIDTHS = ("width", "open", "closed_width")
NONE_BELOW = "no held-out life was scored where it had less than the cap left"
NO_CUT = "no held-out life has a known end and a row after warm-up"
ALIKE = "too many predictions are alike to be cut in three"
NO_LABEL = "no row after warm-up has a known label"


def inside(rows: pd.DataFrame, cap: float) -> np.ndarray:
    """bool[R]: whether the capped truth lies in the interval."""
    upper = np.minimum(rows.rul_upper, cap)
    return ((rows.lower >= rows.rul_lower - CLOSE) & (rows.lower <= upper + CLOSE)).to_numpy()


def at_cut(figures: Figures, prefix: str, scored: pd.DataFrame, cap: float) -> None:
    """`<prefix>.{rmse,mae,nasa_score}`, each also `…_uncapped`, and `<prefix>.interval.*`: every held-out life once.

    `<prefix>.below_cap.{rmse,mae}` are of those with less than the `cap` left, where there is something to tell.
    """
    errors = [f"{name}{protocol}" for name in ERRORS for protocol in ("", "_uncapped")]
    intervals = [f"interval.{name}" for name in ("coverage", *WIDTHS)]
    below_cap(figures, f"{prefix}.below_cap", scored[scored.lower < cap])
    if scored.empty:
        figures.unknown(prefix, [*errors, *intervals], NO_CUT)
        figures.unknown(f"ci.{prefix}", [*errors, "interval.coverage"], NO_CUT)
        return
    draws, said = Resampling.of(scored.asset), scored.rul.to_numpy(np.float64)
    for protocol, column in (("", "lower"), ("_uncapped", "true_rul")):
        truth = scored[column].to_numpy(np.float64)
        resampled = {
            "rmse": np.sqrt(draws.mean((said - truth) ** 2)),
            "nasa_score": draws.total(metrics.nasa_terms(truth, said)),
            "mae": draws.mean(np.abs(said - truth)),
        }
        for name, measure in ERRORS.items():
            figures.set(f"{prefix}.{name}{protocol}", measure(truth, said))
            bootstrap.put(figures, f"{prefix}.{name}{protocol}", draws.machines, resampled[name], NO_CUT)
    held = inside(scored, cap)
    figures.set(f"{prefix}.interval.coverage", float(held.mean()))
    bootstrap.put_share(figures, f"{prefix}.interval.coverage", draws.machines, draws.mean(held), NO_CUT)
    widths(figures, f"{prefix}.interval", scored, np.ones(len(scored)), cap)


def below_cap(figures: Figures, prefix: str, scored: pd.DataFrame) -> None:
    """`<prefix>.{rmse,mae}` of lives `scored` where they had less than the cap left: far from it errors are small,
    for whoever says the cap is right, and they dilute the average."""
    truth, said = scored.lower.to_numpy(np.float64), scored.rul.to_numpy(np.float64)
    draws = Resampling.of(scored.asset)
    resampled = {"rmse": np.sqrt(draws.mean((said - truth) ** 2)), "mae": draws.mean(np.abs(said - truth))}
    for name, values in resampled.items():
        figures.set(f"{prefix}.{name}", ERRORS[name](truth, said) if len(scored) else None, NONE_BELOW)
        bootstrap.put(figures, f"{prefix}.{name}", draws.machines, values, NONE_BELOW)


def widths(figures: Figures, prefix: str, rows: pd.DataFrame, weight: np.ndarray, cap: float) -> None:
    """`<prefix>.{width,open,closed_width}`: an interval that is open at the top is as wide as up to the `cap`, which
    is what it can say at most; `open` is the share of such, `closed_width` the width of the others."""
    width = (np.minimum(rows.rul_upper, cap) - rows.rul_lower).to_numpy(np.float64)
    is_open = np.isinf(rows.rul_upper).to_numpy()
    figures.set(f"{prefix}.width", float(np.average(width, weights=weight)))
    figures.set(f"{prefix}.open", float(np.average(is_open, weights=weight)))
    closed = None if is_open.all() else float(np.average(width[~is_open], weights=weight[~is_open]))
    figures.set(f"{prefix}.closed_width", closed, "every interval is open at the top")


def families(figures: Figures, scored: pd.DataFrame) -> None:
    """`rul.per_model.<family>.rmse`: at the cuts, capped."""
    for model in PER_MODEL:
        column = "rul" if model == "blend" else f"rul_{model}"
        value = metrics.rmse(scored.lower.to_numpy(), scored[column].to_numpy(np.float64)) if len(scored) else None
        figures.set(f"rul.per_model.{model}.rmse", value, NO_CUT)


def nulls(figures: Figures, scored: pd.DataFrame, training: pd.DataFrame) -> None:
    """`rul.null.{mean,age}`, also `…_uncapped`: RMSE at the cuts of who reads no sensor, from the training rows.

    One says the mean label, the other the mean label at the machine's age (where it knows that; else the mean).
    """
    for protocol, column, label in (("", "lower", "lower"), ("_uncapped", "true_rul", "rul")):
        if scored.empty:
            figures.unknown("rul.null", [f"mean{protocol}", f"age{protocol}"], NO_CUT)
            continue
        truth = scored[column].to_numpy(np.float64)
        known = training[training.exact & training.warm & training[label].notna()]
        mean = np.average(known[label], weights=machine_weights(known))
        figures.set(f"rul.null.mean{protocol}", metrics.rmse(truth, np.full(len(truth), mean)))
        aged = known[known.age.notna()]
        if aged.empty or scored.age.isna().all():
            figures.set(f"rul.null.age{protocol}", None, "the age of the machines is not known")
            continue
        by_age = IsotonicRegression(increasing=False, out_of_bounds="clip")
        by_age.fit(aged.age, aged[label], sample_weight=machine_weights(aged))
        guessed = np.where(scored.age.isna(), mean, by_age.predict(scored.age.fillna(0.0)))
        figures.set(f"rul.null.age{protocol}", metrics.rmse(truth, guessed))


@dataclass(frozen=True)
class _Judged:
    """The rows after warm-up whose capped label is known; machines weighted equally."""

    rows: pd.DataFrame
    weight: np.ndarray
    held: np.ndarray
    draws: Resampling

    @classmethod
    def of(cls, rows: pd.DataFrame, cap: float) -> _Judged:
        own = rows[rows.exact & rows.warm]
        return cls(own, machine_weights(own), inside(own, cap), Resampling.of(own.asset))


def all_rows(figures: Figures, prefix: str, rows: pd.DataFrame, cap: float) -> None:
    """`<prefix>.*`: every tick after warm-up whose capped label is known (uncapped: whose failure is), machines
    weighted equally. Rows of unknown label are left out; `n.rows_left_out` counts them.
    """
    names = ["rmse", "rmse_uncapped", "mae", "coverage", *WIDTHS, "thirds", "badly_covered"]
    judged = _Judged.of(rows, cap)
    if judged.rows.empty:
        figures.unknown(prefix, [*names, "se"], NO_LABEL)
        figures.unknown(f"ci.{prefix}", ["rmse", "mae", "coverage"], NO_LABEL)
        return
    own, weight, draws = judged.rows, judged.weight, judged.draws
    truth, said = own.lower.to_numpy(), own.rul.to_numpy(np.float64)
    value, se = metrics.grouped_rmse(truth, said, own.asset.to_numpy())
    figures.set(f"{prefix}.rmse", value)
    figures.set(f"{prefix}.se", se if np.isfinite(se) else None, "one machine")
    figures.set(f"{prefix}.mae", metrics.mae(truth, said, weight))
    figures.set(f"{prefix}.coverage", float(np.average(judged.held, weights=weight)))
    widths(figures, prefix, own, weight, cap)
    figures.set(f"{prefix}.thirds", *thirds(said, judged.held, weight))
    share = pd.Series(judged.held).groupby(own.asset.to_numpy()).mean()
    figures.set(f"{prefix}.badly_covered", float((share < 0.5).mean()))
    bootstrap.put(figures, f"{prefix}.rmse", draws.machines, np.sqrt(draws.mean((said - truth) ** 2, weight)), NO_LABEL)
    bootstrap.put(figures, f"{prefix}.mae", draws.machines, draws.mean(np.abs(said - truth), weight), NO_LABEL)
    bootstrap.put_share(figures, f"{prefix}.coverage", draws.machines, draws.mean(judged.held, weight), NO_LABEL)
    failed = own[own.true_rul.notna()]
    told = failed.true_rul.to_numpy(), failed.rul.to_numpy(np.float64), machine_weights(failed)
    figures.set(f"{prefix}.rmse_uncapped", metrics.rmse(*told) if len(failed) else None, "no failure is known")


def thirds(said: np.ndarray, held: np.ndarray, weight: np.ndarray) -> tuple[list[float] | None, str]:
    """Coverage where the least, the middle and the most life is predicted, a third of the weight each.

    An interval may hold on average and yet fail where it matters, close to the failure. Null with its reason where the
    predictions cannot be cut in three (most of them are the same).

    >>> thirds(np.array([1.0, 2, 3]), np.array([False, True, True]), np.ones(3))
    ([0.0, 1.0, 1.0], '')
    """
    cuts = metrics.weighted_quantile(said, np.array([1 / 3, 2 / 3]), weight)
    third = np.searchsorted(cuts, said, side="left")
    if len(np.unique(third)) < 3:
        return None, ALIKE
    return [float(np.average(held[third == i], weights=weight[third == i])) for i in range(3)], ""


def early_enough(figures: Figures, prefix: str, rows: pd.DataFrame, tick: float, cap: float) -> None:
    """`<prefix>.{alpha_lambda,alpha_lambda_uncapped}.at_<λ in %>` with `lives_at_<λ>`, and
    `<prefix>.prognostic_horizon.{median,lives}`; see `training.measures.prognostics`.
    """
    lives = prognostics.lives(rows)
    for share in prognostics.LAMBDAS:
        percent = round(100 * share)
        reason = f"no record with a known failure reaches {percent} % of the way from the first prognosis to it"
        for protocol in ("", "_uncapped"):
            value, count = prognostics.share_accurate(lives, share, tick, capped=not protocol)
            figures.set(f"{prefix}.alpha_lambda{protocol}.at_{percent}", value, reason)
            figures.set(f"{prefix}.alpha_lambda{protocol}.lives_at_{percent}", count)
    reach, count = prognostics.median_horizon(lives, tick, cap)
    figures.set(f"{prefix}.prognostic_horizon.median", reach, "no record reaches its failure")
    figures.set(f"{prefix}.prognostic_horizon.lives", count)
