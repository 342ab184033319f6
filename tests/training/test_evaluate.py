"""Figures: what counts, by which rule, and null with a reason where nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from data.splits import Splits
from tests.training.tables import CAP, HORIZON, asset_class, machines
from training import evaluate, metrics
from training.calibrate import calibrate
from training.evaluate import Figures
from training.measures import remaining_life
from training.measures.failure import failure
from training.native import calibrations_by_fold, native, out_of_fold_prognosis
from training.params import PrognosisParams

FIXED = [
    *(
        f"rul.{name}"
        for name in (
            "rmse",
            "rmse_uncapped",
            "nasa_score",
            "nasa_score_uncapped",
            "mae",
            "mae_uncapped",
            "null.mean",
            "null.mean_uncapped",
            "null.age",
            "null.age_uncapped",
            "interval.coverage",
            "interval.width",
            "below_cap.rmse",
            "below_cap.mae",
        )
    ),
    *(f"rul.per_model.{name}.rmse" for name in ("lstm", "xgboost", "blend")),
    *(f"failure.{name}" for name in ("pr_auc", "brier", "null_brier")),
]


def value(figures, name):
    at = figures.values
    for part in name.split("."):
        at = at[part]
    return at


@pytest.fixture(scope="module")
def calibration():
    return calibrate(machines(20), ["aged", "free"], CAP, HORIZON, PrognosisParams())


def predicted(rows, calibration):
    """Rows of test machines with a prognosis, as stage `evaluate` has them."""
    return native(asset_class(), calibration, rows.drop(columns=["lstm", "aged", "free", "score"]), rows)


def all_figures(table, scored, calibration, training=None):
    figures, training = Figures(), machines(20) if training is None else training
    remaining_life.at_cut(figures, "rul", scored, CAP)
    remaining_life.nulls(figures, scored, training)
    remaining_life.families(figures, scored)
    remaining_life.all_rows(figures, "rul.all_rows", table, CAP)
    remaining_life.early_enough(figures, "rul", table, 1.0, CAP)
    failure(figures, "failure", table, calibration.prior)
    figures.set("failure.horizon", calibration.horizon)
    evaluate.count_figures(figures, table, scored, training, CAP)
    return figures


def test_figures_of_machines_that_failed(calibration):
    table = predicted(machines(10, seed=5), calibration)
    scored = table[table.row == 50]
    figures = all_figures(table, scored, calibration)
    assert not figures.reasons
    for name in FIXED:
        assert np.isfinite(value(figures, name))
    assert value(figures, "rul.rmse") == metrics.rmse(scored.lower.to_numpy(), scored.rul.to_numpy(float))
    assert value(figures, "rul.rmse_uncapped") > value(figures, "rul.rmse")  # some have more life left than the cap
    assert value(figures, "rul.rmse") < value(figures, "rul.null.mean")
    assert value(figures, "rul.per_model.blend.rmse") == value(figures, "rul.rmse")
    assert value(figures, "failure.brier") < value(figures, "failure.null_brier")
    assert value(figures, "rul.all_rows.coverage") > 0.8
    assert value(figures, "rul.interval.coverage") > 0.6
    assert min(value(figures, "rul.all_rows.thirds")) > 0.6
    assert value(figures, "rul.prognostic_horizon.lives") == 10
    near = scored[scored.lower < CAP]
    assert 0 < len(near) < 10
    assert value(figures, "rul.below_cap.mae") == metrics.mae(near.lower.to_numpy(), near.rul.to_numpy(float))
    assert value(figures, "rul.below_cap.rmse") == metrics.rmse(near.lower.to_numpy(), near.rul.to_numpy(float))
    counts = figures.values["n"]
    assert counts["cv"]["machines"] == 20
    assert {name: counts[name] for name in counts if name != "cv"} == {
        "machines": 10, "lives": 10, "lives_scored": 10, "lives_below_cap": len(near), "lives_left_out": 0,
        "rows": len(table), "rows_left_out": 0, "failures": 10,
    }  # fmt: skip


def test_an_interval_that_is_open_counts_up_to_the_cap():
    rows = pd.DataFrame({"rul_lower": [0.0, CAP - 10, CAP - 30], "rul_upper": [8.0, np.inf, np.inf]})
    figures = Figures()
    remaining_life.widths(figures, "two", rows, np.array([1.0, 1, 2]), CAP)
    remaining_life.widths(figures, "open", rows[1:], np.ones(2), CAP)
    assert figures.values["two"] == {"width": (8 + 10 + 2 * 30) / 4, "open": 0.75, "closed_width": 8}
    assert figures.values["open"] == {"width": 20, "open": 1, "closed_width": None}
    assert figures.reasons["open.closed_width"] == "every interval is open at the top"


def test_intervals_from_resampling_surround_their_figure(calibration):
    table = predicted(machines(10, seed=5), calibration)
    figures = all_figures(table, table[table.row == 50], calibration)
    for name in ("rul.rmse", "rul.below_cap.mae", "rul.mae_uncapped", "rul.nasa_score", "rul.all_rows.rmse",
                 "rul.all_rows.coverage", "failure.pr_auc", "failure.brier"):  # fmt: skip
        low, high = value(figures, f"ci.{name}")
        assert low < value(figures, name) < high, name


def test_out_of_fold_prognoses_owe_nothing_to_their_own_machines():
    """Whatever the machines of a fold say of themselves, what is said of them stays."""
    training, params = machines(12), PrognosisParams()
    altered = training.copy()
    own = (altered.fold == 2).to_numpy()
    altered.loc[own, ["lower", "rul", "failed_within"]] = [CAP, CAP, 0.0]
    said = []
    for table in (training, altered):
        by_fold = calibrations_by_fold(asset_class(), table, ["aged", "free"], params)
        said.append(out_of_fold_prognosis(asset_class(), by_fold, table, table))
        assert said[-1].index.equals(table.index)
    prognosis = ["rul", "rul_lower", "rul_upper", "failure_probability", "anomaly_score"]
    pd.testing.assert_frame_equal(said[0].loc[own, prognosis], said[1].loc[own, prognosis])
    assert not np.allclose(said[0].loc[~own, "rul_lower"], said[1].loc[~own, "rul_lower"])


def test_machines_that_still_run_give_nulls_with_reasons(calibration):
    table = predicted(machines(4, seed=5, length=(30, 60), censored=range(4)), calibration)
    figures = all_figures(table, table[:0], calibration)
    for name in FIXED:
        assert value(figures, name) is None or name in ("failure.brier", "failure.null_brier")
        if value(figures, name) is None:
            assert figures.reasons[name]
    assert value(figures, "rul.prognostic_horizon.median") is None
    assert figures.reasons["ci.rul.rmse"] == figures.reasons["rul.rmse"]
    assert value(figures, "rul.all_rows.rmse") is None
    assert value(figures, "failure.horizon") == HORIZON
    assert figures.values["n"]["failures"] == 0
    assert figures.values["n"]["lives_left_out"] == 4


def test_rows_before_warm_up_count_for_nothing(calibration):
    rows = machines(4, seed=5).assign(warm=False)
    table = predicted(rows, calibration)
    figures = all_figures(table, table[:0], calibration)
    assert value(figures, "failure.brier") is None
    assert "warm-up" in figures.reasons["failure.brier"]
    assert "warm-up" in figures.reasons["rul.all_rows.rmse"]


def test_where_no_age_is_known_there_is_no_null_from_age(calibration):
    table = predicted(machines(4, seed=5).assign(age=np.nan), calibration)
    figures = all_figures(table, table[table.row == 50], calibration)
    assert value(figures, "rul.null.age") is None
    assert "age" in figures.reasons["rul.null.age"]
    assert np.isfinite(value(figures, "rul.null.mean"))


def test_a_single_machine_has_no_standard_error(calibration):
    table = predicted(machines(1, seed=5), calibration)
    figures = all_figures(table, table[table.row == 50], calibration)
    for name in ("rul.all_rows.se", "ci.rul.rmse", "ci.rul.all_rows.coverage", "ci.failure.pr_auc"):
        assert value(figures, name) is None
        assert "one machine" in figures.reasons[name]


def test_machines_weigh_the_same_however_often_they_report(calibration):
    table = predicted(machines(6, seed=5), calibration)
    often = pd.concat([table, table[table.asset == "M-0"]], ignore_index=True)
    once, twice = Figures(), Figures()
    failure(once, "failure", table, calibration.prior)
    failure(twice, "failure", often, calibration.prior)
    assert once.values["failure"] == pytest.approx(twice.values["failure"])
    assert value(once, "ci.failure.brier") == pytest.approx(value(twice, "ci.failure.brier"))


def test_a_life_is_scored_at_the_last_tick_not_after_its_cut(calibration):
    table = predicted(machines(3, seed=5), calibration)
    table = table[table.row % 10 == 0]
    splits = Splits(0, {}, {("M-0", 0): 57 * 10**9, ("M-1", 0): 40 * 10**9, ("M-2", 0): -1})
    scored = evaluate.at_cuts(table, splits)
    assert list(zip(scored.asset, scored.row, strict=True)) == [("M-0", 50), ("M-1", 40)]


def test_machines_of_unknown_age_get_the_other_head(calibration):
    rows = machines(3, seed=5).assign(warming_up=0.0)
    known, unknown = (predicted(rows.assign(since_new=new), calibration) for new in (True, False))
    np.testing.assert_allclose(known.rul_xgboost, rows.aged, rtol=1e-6)
    np.testing.assert_allclose(unknown.rul_xgboost, rows.free, rtol=1e-6)
    np.testing.assert_allclose(known.rul_lstm, rows.lstm, rtol=1e-6)
