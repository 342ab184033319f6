"""Calibration: the blend, intervals that hold what they promise, probabilities, the anomaly scale; with little data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.tables import CAP, HORIZON, machines
from training import calibrate, metrics
from training.calibration import RUL_MODELS, Calibration
from training.dataset import machine_weights
from training.params import PrognosisParams

PARAMS = PrognosisParams(interval=0.9, bins=4)
KNOTS = np.linspace(0, CAP, 33)


def made(table, heads=("aged", "free"), params=PARAMS):
    return calibrate.calibrate(table, list(heads), CAP, HORIZON, params)


@given(st.integers(0, 2**32 - 1), st.floats(-1, 3), st.floats(0, 30))
@settings(max_examples=30, deadline=None)
def test_the_blend_is_never_worse_than_its_best_member(seed, tilt, noise):
    table = machines(5, seed, noise)
    table["lstm"] = np.clip(tilt * table.lstm + (1 - tilt) * 50, 0, CAP)
    weights = calibrate.blend(table, "aged")
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0
    judged = table[table.exact & table.warm]
    weight = machine_weights(judged)
    predicted = calibrate.blended(judged, "aged", weights, CAP)
    best = min(metrics.rmse(judged.lower, judged[name], weight) for name in ("lstm", "aged"))
    assert metrics.rmse(judged.lower, predicted, weight) <= best + 1e-6


def test_members_that_complement_each_other_share_the_blend():
    table = machines()
    error = np.random.default_rng(1).normal(0, 10, len(table))
    table["lstm"], table["aged"] = table.lower + error, table.lower - error
    weights = calibrate.blend(table, "aged")
    assert weights["lstm"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("constant", [0.0, 50.0, CAP])
def test_members_that_always_say_the_same(constant):
    table = machines(6).assign(lstm=constant, aged=constant, free=constant)
    calibration = made(table)
    for head in calibration.heads.values():
        assert sum(head.weights.values()) == pytest.approx(1)
        assert np.isfinite([*head.lower, *head.upper, *head.failure]).all()


def coverage(table, predicted, params):
    """Of intervals calibrated on half of the machines, among the rows of the others."""
    ours = (table.asset.str[2:].astype(int) % 2 == 0).to_numpy()
    ends = calibrate.interval(table[ours], predicted[ours], CAP, params)
    theirs = table[~ours & (table.exact & table.warm).to_numpy()]
    p = predicted[theirs.index]
    low, high = (p + end for end in ends.at(p))
    inside = (theirs.lower >= low - 1e-9) & (theirs.lower <= high + 1e-9)
    return np.average(inside, weights=machine_weights(theirs))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_intervals_hold_their_share_of_machines_never_seen(level):
    """Exchangeable machines; the guarantee is marginal, so over many draws."""
    held = []
    for seed in range(12):
        table = machines(40, seed)
        held.append(coverage(table, table.aged.to_numpy(), PrognosisParams(interval=level, bins=4)))
    assert np.mean(held) >= level - 0.03
    assert np.mean(held) <= level + 0.12  # and are not wide for nothing


def test_intervals_hold_where_most_predictions_are_the_cap():
    """Lives many times as long as the cap: nearly all bins lie close to it, and each has an interval of its own."""
    held = []
    for seed in range(4):
        table = machines(24, seed, length=(1500, 2500))
        rng = np.random.default_rng(seed)
        table["aged"] = np.where(table.rul < CAP, np.clip(table.lower + rng.normal(0, 2, len(table)), 0, CAP), CAP)
        table["aged"] = np.clip(table.aged - 0.5 * np.abs(rng.normal(size=len(table))), 0, CAP)
        figures = calibrate.cross_validated(table, ["aged"], made(table), PrognosisParams(interval=0.9, bins=8))
        held.append(figures["aged"]["interval"]["coverage"])
    assert np.mean(held) >= 0.87


def test_what_is_stated_of_the_interval_is_what_the_graph_tells():
    """The ends are exact at the bins' centres and where they meet 0 and the cap, straight between."""
    table = machines(20)
    predicted = table.aged.to_numpy()
    ends = calibrate.interval(table, predicted, CAP, PARAMS)
    knots = calibrate.knots_of(CAP, [ends])
    assert np.diff(knots).min() >= CAP / calibrate.FINEST * (1 - 1e-9)
    assert (knots[0], knots[-1]) == (0, CAP)
    for sign, end in zip((0, 1), ends.at(predicted), strict=True):
        told = np.interp(predicted, knots, np.clip(knots + ends.at(knots)[sign], 0, CAP))
        assert np.abs(told - np.clip(predicted + end, 0, CAP)).max() < 0.05


def test_intervals_are_wider_where_errors_are():
    table = machines(30)
    rng, near = np.random.default_rng(1), table.lower < 30
    table["aged"] = np.clip(table.lower + np.where(near, 1, 10) * rng.normal(size=len(table)), 0, CAP)
    ends = calibrate.interval(table, table.aged.to_numpy(), CAP, PARAMS)
    assert (ends.lower <= 0).all()
    assert (ends.upper >= 0).all()
    lower, upper = ends.at(np.array([10, 60]))
    width = upper - lower
    assert width[1] > 2 * width[0]


def test_higher_levels_have_wider_intervals():
    table = machines(30)
    widths = []
    for level in (0.5, 0.8, 0.95):
        ends = calibrate.interval(table, table.aged.to_numpy(), CAP, PrognosisParams(interval=level, bins=4))
        lower, upper = ends.at(KNOTS)
        widths.append((upper - lower).mean())
    assert widths == sorted(widths)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_failure_falls_with_the_predicted_life(seed, count):
    table = machines(count, seed, noise=30)
    curve = calibrate.failure_curve(table, table.aged.to_numpy(), KNOTS, HORIZON)
    assert (np.diff(curve) <= 0).all()
    assert curve.min() > 0
    assert curve.max() < 1


def test_failure_probability_is_calibrated():
    table = machines(60, noise=15)
    curve = calibrate.failure_curve(table, table.aged.to_numpy(), KNOTS, HORIZON)
    known = table[table.warm]
    said, weight = np.interp(known.aged, KNOTS, curve), machine_weights(known)
    assert np.average(said, weights=weight) == pytest.approx(np.average(known.failed_within, weights=weight), abs=0.02)
    prior = np.average(known.failed_within, weights=weight)
    brier = metrics.brier(known.failed_within, said, weight)
    assert brier < metrics.brier(known.failed_within, np.full(len(known), prior), weight) / 2


def test_the_anomaly_scale_ranks_among_healthy_rows():
    table = machines(40)
    paths, ranks = calibrate.anomaly_scale(table)
    assert (np.diff(paths) > 0).all()
    assert (np.diff(ranks) < 0).all()
    own = table[table.healthy & table.warm]
    score = np.interp(own.path, paths, ranks)
    weight = machine_weights(own)
    assert np.average(score > 0.9, weights=weight) == pytest.approx(0.1, abs=0.01)
    worn = table[table.lower < 10]
    assert np.interp(worn.path, paths, ranks).mean() > 0.95


def test_an_anomaly_scale_of_rows_all_alike():
    table = machines(5).assign(path=1.2)
    paths, ranks = calibrate.anomaly_scale(table)
    assert np.interp([1.2, 1.1], paths, ranks).tolist() == [0, 1]


def test_one_machine_is_enough_to_go_on():
    calibration = made(machines(1))
    for head in calibration.heads.values():
        assert np.isfinite([*head.lower, *head.upper, *head.failure]).all()


def test_censored_machines_count_where_their_label_is_known():
    table = machines(10, length=(260, 300), censored=range(10))
    assert (table[table.exact].lower == CAP).all()
    calibration = made(table)
    assert calibration.prior == 0  # none was seen to fail
    assert max(calibration.heads["aged"].failure) <= 0.5 / 10 + 1e-9  # but none is never
    with_failures = pd.concat([table, machines(10, seed=1).assign(asset=lambda t: "F" + t.asset)], ignore_index=True)
    assert made(with_failures).prior > 0


def test_figures_of_cross_validation():
    table = machines(24)
    calibration = made(table)
    figures = calibrate.cross_validated(table, ["aged", "free"], calibration, PARAMS)
    for head, weights in ((head, calibration.heads[head].weights) for head in ("aged", "free")):
        own = figures[head]
        assert own["weights"] == weights
        assert own["blend"]["rmse"] <= min(own[name]["rmse"] for name in RUL_MODELS) + 1e-9
        assert own["interval"]["coverage"] == pytest.approx(0.9, abs=0.1)
        assert 0 < own["interval"]["width"] < CAP
    assert figures["free"]["xgboost"]["rmse"] > figures["aged"]["xgboost"]["rmse"]
    assert figures["free"]["lstm"] == figures["aged"]["lstm"]


def test_thirds_of_predictions_that_are_mostly_alike_are_not_told():
    """Where lives are many times as long as the cap, most predictions are the cap: there is no middle third."""
    table = machines(8, length=(700, 900))
    for name in ("aged", "free", "lstm"):
        table[name] = table.lower - (table.rul < 50)
    figures = calibrate.cross_validated(table, ["aged"], made(table), PARAMS)
    assert figures["aged"]["interval"]["thirds"] is None
    figures = calibrate.cross_validated(machines(8), ["aged"], made(machines(8)), PARAMS)
    assert len(figures["aged"]["interval"]["thirds"]) == 3


def test_a_calibration_comes_back_from_its_file(tmp_path):
    calibration = made(machines(6))
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
