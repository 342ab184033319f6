"""Stage `evaluate`: one look at the test machines, through the trained models themselves.

python -m training.evaluate <fleet>

Writes predictions.parquet (what the models say at every tick of every test machine: what export must reproduce; where
a class has a head for it, also as if nobody knew the ages), evaluation.json (the figures, see `training.measures`: of
test machines and, under `cv`, of training machines by what the other folds taught) and thresholds.csv (what other
limits of the failure probability would have given on training machines); adds to looks.jsonl what was looked at, when.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import pandas as pd

from data import command, paths
from data.asset_class import AssetClass
from data.splits import Splits, read_splits
from training import looks, predictions, tracking, unknown_age
from training.alarm_evaluation import alarm_figures, watch
from training.calibrate import out_of_fold
from training.calibration import Calibration
from training.dataset import FINAL, Dataset
from training.measures import remaining_life
from training.measures.failure import failure
from training.measures.figures import Figures
from training.native import calibrations_by_fold, native, out_of_fold_prognosis
from training.params import read_params

WITHOUT_AGE = ".without_age"  # suffix of figures
FAMILIES = ("lstm", "xgboost", "isolation_forest")
NO_HEAD = "the class requires the age (life.age): it has no head without"


def at_cuts(table: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    """The one row at which each held-out life is scored: the last tick not after its cut."""
    chosen = []
    for (asset, life), nanos in splits.cuts.items():
        own = table[(table.asset == asset) & (table.life == life) & (table.time <= nanos)]
        if len(own):
            chosen.append(own.index[-1])
    return table.loc[chosen]


def held_out_figures(
    figures: Figures, suffix: str, table: pd.DataFrame, splits: Splits, cls: AssetClass, prior: float
) -> None:
    """`rul<suffix>.*` and `failure<suffix>.*` of test machines; `suffix` is empty or that of the head without age."""
    tick = cls.time.tick / cls.time_units_per_life_unit
    remaining_life.at_cut(figures, f"rul{suffix}", at_cuts(table, splits), cls.labels.cap)
    remaining_life.all_rows(figures, f"rul{suffix}.all_rows", table, cls.labels.cap)
    remaining_life.early_enough(figures, f"rul{suffix}", table, tick, cls.labels.cap)
    failure(figures, f"failure{suffix}", table, prior)


def cross_validated_figures(
    figures: Figures, suffix: str, table: pd.DataFrame, cross: dict[str, Any], cls: AssetClass, prior: float
) -> None:
    """`rul<suffix>.cv.*` and `failure<suffix>.cv.*`: every tick of the training machines.

    RMSE, its standard error and the interval are those of cross_validation.json; `all_rows` and the rest are of
    prognoses whose blend and calibration, too, are of the other folds.
    """
    tick = cls.time.tick / cls.time_units_per_life_unit
    figures.set(f"rul{suffix}.cv.rmse", cross["blend"]["rmse"])
    figures.set(f"rul{suffix}.cv.se", cross["blend"]["se"] or None, "one training machine")
    for name, value in cross["interval"].items():
        figures.set(f"rul{suffix}.cv.interval.{name}", value, remaining_life.ALIKE)
    remaining_life.all_rows(figures, f"rul{suffix}.cv.all_rows", table, cls.labels.cap)
    remaining_life.early_enough(figures, f"rul{suffix}.cv", table, tick, cls.labels.cap)
    failure(figures, f"failure{suffix}.cv", table, prior)


def without_age_figures(figures: Figures) -> None:
    """The main figures without age, of a class that has no head for it."""
    errors = [f"{name}{protocol}" for name in remaining_life.ERRORS for protocol in ("", "_uncapped")]
    intervals = [f"{of}.{name}" for of in ("interval", "cv.interval") for name in ("coverage", "width")]
    figures.unknown(f"rul{WITHOUT_AGE}", [*errors, *intervals, "cv.rmse", "cv.se"], NO_HEAD)
    figures.unknown(f"failure{WITHOUT_AGE}", ["pr_auc", "brier", "cv.pr_auc", "cv.brier"], NO_HEAD)


def count_figures(
    figures: Figures, table: pd.DataFrame, scored: pd.DataFrame, training: pd.DataFrame, cap: float
) -> None:
    """`n.*`: how much the figures rest on; under `n.cv` those of training machines."""
    lives = table.groupby(["asset", "life"]).size()
    figures.set("n.lives_scored", len(scored))
    figures.set("n.lives_below_cap", int((scored.lower < cap).sum()))
    figures.set("n.lives_left_out", len(lives) - len(scored))
    for prefix, rows, known in (("n", table, "true_rul"), ("n.cv", training, "rul")):
        figures.set(f"{prefix}.machines", int(rows.asset.nunique()))
        figures.set(f"{prefix}.lives", rows.groupby(["asset", "life"]).ngroups)
        figures.set(f"{prefix}.rows", len(rows))
        figures.set(f"{prefix}.rows_left_out", int((rows.warm & ~rows.exact).sum()))  # their label is not known
        figures.set(f"{prefix}.failures", rows[rows[known].notna()].groupby(["asset", "life"]).ngroups)


def log_look(figures: Figures, dataset: Dataset) -> None:
    """Write this look down; `n.look` is its number, `n.looks` how many different ones there have been."""
    fleet, now = dataset.fleet, datetime.now(timezone.utc).isoformat(timespec="seconds")
    parts = looks.parts(fleet, dataset.heads, asdict(read_params()), tracking.data_hash(fleet))
    rmse = figures.values["rul"]["rmse"]
    look, had = looks.record(paths.artifact(fleet, looks.FILE), parts, now, tracking.commit(), rmse)
    figures.set("n.look", look.look)
    figures.set("n.looks", len(had))
    with tracking.run(fleet, "evaluation", {}) as mlflow:
        mlflow.set_tags({"look": look.look, "choices": look.choices})
        if rmse is not None:
            mlflow.log_metric("rul.rmse", rmse)
    print(f"{fleet}: look {look.look} at the test machines: {looks.remarks(had)[look.look - 1]}")


def evaluate(dataset: Dataset) -> tuple[Figures, pd.DataFrame, pd.DataFrame]:
    """The figures, what is said of every test row, and `alarming.curve`."""
    fleet, cls, heads = dataset.fleet, dataset.asset_class, dataset.heads
    final = Calibration.load(paths.artifact(fleet, "calibration.json"))
    splits = read_splits(paths.artifact(fleet, "splits.json"))
    cross = json.loads(paths.artifact(fleet, "cross_validation.json").read_text())
    families = [predictions.read(fleet, name) for name in FAMILIES]
    said = pd.concat([dataset.rows[["asset", "row", "fold"]], *families], axis=1)
    test = dataset.test.assign(novelty=dataset.part(FINAL).novelty[dataset.test.index])
    training = out_of_fold(dataset)
    calibrations = calibrations_by_fold(cls, training, heads, read_params().prognosis)

    figures = Figures()
    table = native(cls, final, test, said.loc[test.index])
    unknown = native(cls, final, test.assign(since_new=False), said.loc[test.index])
    scored = at_cuts(table, splits)
    figures.set("failure.horizon", final.horizon)
    figures.set("failure.prior", final.prior)
    for suffix, judged in {"": table, WITHOUT_AGE: unknown}.items():
        if suffix and cls.life.age == "required":
            without_age_figures(figures)
            continue
        held_out_figures(figures, suffix, judged, splits, cls, final.prior)
        own = training.assign(since_new=False) if suffix else training
        by_others = out_of_fold_prognosis(cls, calibrations, own, own)
        cross_validated_figures(figures, suffix, by_others, cross[heads[-1 if suffix else 0]], cls, final.prior)
    remaining_life.nulls(figures, scored, training)
    remaining_life.families(figures, scored)
    count_figures(figures, table, scored, training, cls.labels.cap)
    suffixes = {"": False} | ({WITHOUT_AGE: True} if len(heads) > 1 else {})
    curve = alarm_figures(figures, watch(dataset, calibrations, final, said), suffixes)
    if len(heads) > 1:
        table = table.join(unknown[list(unknown.columns[test.columns.size :])].add_prefix(unknown_age.PREFIX))
    return figures, table.assign(scored=table.index.isin(scored.index)), curve


def run(fleet: str) -> None:
    dataset = Dataset.of(fleet)
    figures, table, curve = evaluate(dataset)
    log_look(figures, dataset)
    table.to_parquet(paths.artifact(fleet, "predictions.parquet"), index=False)
    curve.to_csv(paths.artifact(fleet, "thresholds.csv"), index=False, float_format="%.6g", lineterminator="\n")
    text = json.dumps({**figures.values, "reasons": figures.reasons}, indent=1)
    paths.artifact(fleet, "evaluation.json").write_text(text + "\n")
    rul = figures.values["rul"]
    if rul["rmse"] is not None:
        unit, lives = dataset.asset_class.life.unit, int(table.scored.sum())
        print(
            f"{fleet}: test RMSE {rul['rmse']:.2f} {unit} over {lives} lives "
            f"(mean {rul['null']['mean']:.2f}; cross-validated {rul['cv']['rmse']:.2f} ± {rul['cv']['se'] or 0:.2f})"
        )


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
