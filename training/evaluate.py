"""Stage `evaluate`: one look at the test machines, through the trained models themselves.

python -m training.evaluate <fleet>

Writes predictions.parquet (what the models say at every tick of every test machine: what export must reproduce; where a
class has a head for it, also as if nobody knew the ages) and evaluation.json (the figures). Which rows count, and how,
stands in each function.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from data import command, paths
from data.asset_class import AssetClass
from data.splits import Splits, read_splits
from training import metrics, predictions, unknown_age
from training.calibrate import out_of_fold
from training.calibration import RUL_MODELS, Calibration
from training.dataset import FINAL, Dataset, machine_weights
from training.prognosis import Said, prognose

PER_MODEL = (*RUL_MODELS, "blend")


class Figures:
    """Nested figures; what cannot be computed is null, with the reason under `reasons`."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def set(self, name: str, value: float | None, reason: str = "") -> None:
        *sections, last = name.split(".")
        at = self.values
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
        if value is None:
            self.reasons[name] = reason


def native(asset_class: AssetClass, calibration: Calibration, rows: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """The prognosis of each row from what the models themselves said: `said` has lstm, the heads and score."""

    def column(name: str) -> np.ndarray:
        return said[name].to_numpy(np.float32)[:, None]

    heads = list(calibration.heads)
    by_head = {head: column(head) for head in heads}
    only = by_head[heads[0]]
    path = -np.log2(said.score.to_numpy(np.float64)).astype(np.float32)[:, None]
    models = Said(column("lstm"), by_head.get("aged", only), by_head.get("free", only), path)
    since_new = rows.since_new.to_numpy(np.float32)[:, None]
    warming_up, novelty = (rows[name].to_numpy(np.float32)[:, None] for name in ("warming_up", "novelty"))
    made = prognose(asset_class, calibration, models, since_new, warming_up, novelty)
    table = pd.DataFrame(
        {
            "rul": made.rul[:, 0],
            "rul_lower": made.lower[:, 0],
            "rul_upper": made.upper[:, 0],
            "failure_probability": made.failure_probability[:, 0],
            "anomaly_score": made.anomaly_score[:, 0],
            "unfamiliar": made.unfamiliar[:, 0],
        },
        index=rows.index,
    )
    for i, name in enumerate(RUL_MODELS):
        table[f"rul_{name}"] = made.rul_model[:, i]
    return pd.concat([rows.rename(columns={"rul": "true_rul"}), table], axis=1)


def at_cuts(table: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    """The one row at which each held-out life is scored: the last tick not after its cut."""
    chosen = []
    for (asset, life), nanos in splits.cuts.items():
        own = table[(table.asset == asset) & (table.life == life) & (table.time <= nanos)]
        if len(own):
            chosen.append(own.index[-1])
    return table.loc[chosen]


def rul_figures(figures: Figures, scored: pd.DataFrame, training: pd.DataFrame) -> None:
    """`rul.*`: every held-out life once, at its cut; labels capped (`rmse`) and as they are (`rmse_uncapped`)."""
    names = ["rmse", "rmse_uncapped", "nasa_score", "nasa_score_uncapped", *(f"per_model.{m}.rmse" for m in PER_MODEL)]
    if scored.empty:
        for name in [*names, "null.mean", "null.age"]:
            figures.set(f"rul.{name}", None, "no held-out life has a known end and a row after warm-up")
        return
    capped, raw, said = (scored[name].to_numpy(np.float64) for name in ("lower", "true_rul", "rul"))
    figures.set("rul.rmse", metrics.rmse(capped, said))
    figures.set("rul.rmse_uncapped", metrics.rmse(raw, said))
    figures.set("rul.nasa_score", metrics.nasa_score(capped, said))
    figures.set("rul.nasa_score_uncapped", metrics.nasa_score(raw, said))
    for model in PER_MODEL:
        column = "rul" if model == "blend" else f"rul_{model}"
        figures.set(f"rul.per_model.{model}.rmse", metrics.rmse(capped, scored[column].to_numpy(np.float64)))
    known = training[training.exact & training.warm]
    mean = np.average(known.lower, weights=machine_weights(known))
    figures.set("rul.null.mean", metrics.rmse(capped, np.full(len(capped), mean)))
    aged = known[known.age.notna()]
    if aged.empty or scored.age.isna().all():
        figures.set("rul.null.age", None, "the age of the machines is not known")
        return
    by_age = IsotonicRegression(increasing=False, out_of_bounds="clip")
    by_age.fit(aged.age, aged.lower, sample_weight=machine_weights(aged))
    # a machine of unknown age is predicted by the mean
    guessed = np.where(scored.age.isna(), mean, by_age.predict(scored.age.fillna(0.0)))
    figures.set("rul.null.age", metrics.rmse(capped, guessed))


def all_row_figures(figures: Figures, table: pd.DataFrame, cap: float) -> None:
    """`rul.all_rows.*`: every tick after warm-up whose capped label is known, machines weighted equally."""
    judged = table[table.exact & table.warm]
    if judged.empty:
        for name in ("rmse", "coverage", "width", "open"):
            figures.set(f"rul.all_rows.{name}", None, "no test row after warm-up has a known label")
        return
    weight = machine_weights(judged)
    upper = np.minimum(judged.rul_upper, cap)
    inside = (judged.lower >= judged.rul_lower - 1e-6) & (judged.lower <= upper + 1e-6)
    value, se = metrics.grouped_rmse(judged.lower.to_numpy(), judged.rul.to_numpy(), judged.asset.to_numpy())
    figures.set("rul.all_rows.rmse", value)
    figures.set("rul.all_rows.se", se if np.isfinite(se) else None, "one test machine")
    figures.set("rul.all_rows.coverage", float(np.average(inside, weights=weight)))
    figures.set("rul.all_rows.width", float(np.average(upper - judged.rul_lower, weights=weight)))
    figures.set("rul.all_rows.open", float(np.average(np.isinf(judged.rul_upper), weights=weight)))


def failure_figures(figures: Figures, table: pd.DataFrame, calibration: Calibration) -> None:
    """`failure.*`: every tick after warm-up whose outcome within the horizon is known, machines weighted equally."""
    figures.set("failure.horizon", calibration.horizon)
    known = table[table.failed_within.notna() & table.warm]
    if known.empty:
        for name in ("pr_auc", "null_pr_auc", "brier", "null_brier"):
            figures.set(f"failure.{name}", None, "no test row after warm-up has a known outcome within the horizon")
        return
    outcome, weight = known.failed_within.to_numpy(), machine_weights(known)
    probability = known.failure_probability.to_numpy(np.float64)
    figures.set("failure.pr_auc", metrics.pr_auc(outcome, probability, weight), "all test outcomes are the same")
    figures.set("failure.null_pr_auc", float(np.average(outcome, weights=weight)))
    figures.set("failure.brier", metrics.brier(outcome, probability, weight))
    figures.set("failure.null_brier", metrics.brier(outcome, np.full(len(known), calibration.prior), weight))


def count_figures(figures: Figures, table: pd.DataFrame, scored: pd.DataFrame) -> None:
    """`n.*`: how much the figures rest on."""
    lives = table.groupby(["asset", "life"]).size()
    figures.set("n.machines", int(table.asset.nunique()))
    figures.set("n.lives", len(lives))
    figures.set("n.lives_scored", len(scored))
    figures.set("n.lives_left_out", len(lives) - len(scored))
    figures.set("n.rows", len(table))
    figures.set("n.failures", int(table[table.true_rul.notna()].groupby(["asset", "life"]).ngroups))


def run(fleet: str) -> None:
    dataset = Dataset.of(fleet)
    calibration = Calibration.load(paths.artifact(fleet, "calibration.json"))
    splits = read_splits(paths.artifact(fleet, "splits.json"))
    families = [predictions.read(fleet, name) for name in ("lstm", "xgboost", "isolation_forest")]
    rows = dataset.test.assign(novelty=dataset.part(FINAL).novelty[dataset.test.index])
    said = pd.concat(families, axis=1).loc[rows.index]
    table = native(dataset.asset_class, calibration, rows, said)
    scored = at_cuts(table, splits)
    figures = Figures()
    rul_figures(figures, scored, out_of_fold(dataset))
    all_row_figures(figures, table, calibration.cap)
    failure_figures(figures, table, calibration)
    count_figures(figures, table, scored)
    cross = json.loads(paths.artifact(fleet, "cross_validation.json").read_text())
    head = dataset.heads[0]
    figures.set("rul.cv.rmse", cross[head]["blend"]["rmse"])
    figures.set("rul.cv.se", cross[head]["blend"]["se"] or None, "one training machine")
    if len(dataset.heads) > 1:
        without = native(dataset.asset_class, calibration, rows.assign(since_new=False), said)
        made = list(without.columns[rows.columns.size :])
        table = table.join(without[made].add_prefix(unknown_age.PREFIX))
    table["scored"] = table.index.isin(scored.index)
    table.to_parquet(paths.artifact(fleet, "predictions.parquet"), index=False)
    text = json.dumps({**figures.values, "reasons": figures.reasons}, indent=1)
    paths.artifact(fleet, "evaluation.json").write_text(text + "\n")
    rul = figures.values["rul"]
    if rul["rmse"] is not None:
        print(
            f"{fleet}: test RMSE {rul['rmse']:.2f} {dataset.asset_class.life.unit} over {len(scored)} lives "
            f"(mean {rul['null']['mean']:.2f}; cross-validated {rul['cv']['rmse']:.2f} ± {rul['cv']['se'] or 0:.2f})"
        )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
