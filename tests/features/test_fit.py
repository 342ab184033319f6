"""Fitting: regimes, expected values and projections come from the rows given, and from nothing else."""

import numpy as np
import pandas as pd
import pytest

from features.fit import fit_normalisation, fit_projections
from features.history import Table
from features.normalisation import Normalisation
from features.parameters import unfitted
from tests.features.machines import CLASSES, CONDITION, SENSOR, asset_class
from training import feature_table

NAMES = ("oil", "water")
ALONE = CLASSES["plain"]
GUIDED = asset_class(channels={"speed": CONDITION, "load": CONDITION, "oil": SENSOR, "water": SENSOR})
SET_POINTS = np.array([[10, 80], [50, 50], [90, 20]])
RNG = np.random.default_rng


def fitted(cls, values, conditions=None, healthy=None, **changes):
    if changes:
        cls = cls.model_copy(update={"features": cls.features.model_copy(update=changes)})
    healthy = np.ones(len(values), bool) if healthy is None else healthy
    conditions = None if conditions is None else conditions.astype(np.float32)
    return fit_normalisation(cls, NAMES, values.astype(np.float32), conditions, healthy, 0)


def at_set_points(rows=400, noise=0.1, seed=0):
    """Conditions at three set points, which of them, and sensors with a mean and a spread of their own at each."""
    rng = RNG(seed)
    which = rng.integers(0, 3, rows)
    values = np.array([[20, 100], [60, 0], [40, 50]])[which] + rng.normal(size=(rows, 2)) * [[1], [2], [4]][0]
    return SET_POINTS[which] + rng.normal(size=(rows, 2)) * noise, which, values


def test_discrete_set_points_are_found_and_normalised_away():
    conditions, which, values = at_set_points()
    made = fitted(GUIDED, values, conditions)
    assert len(made.centres) == 3
    assert made.degree == 0
    np.testing.assert_allclose(np.sort(made.centres[:, 0]), [10, 50, 90], atol=0.2)
    z, outside = Normalisation(made)(values.astype(np.float32), conditions.astype(np.float32))
    for regime in range(3):
        np.testing.assert_allclose(z[which == regime].mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(z[which == regime].std(axis=0), 1, atol=0.01)
    assert (outside <= 1).all()
    far = np.float32([[50, 95]])
    assert Normalisation(made)(np.float32([[60, 0]]), far)[1] > 2


def test_conditions_that_vary_continuously_are_regressed_on():
    rng = RNG(1)
    conditions = rng.uniform(10, 90, (600, 2))
    speed, load = conditions.T / 100
    clean = np.column_stack([20 + 30 * speed**2 + 10 * speed * load, 60 - 40 * load])
    made = fitted(GUIDED, clean + rng.normal(size=(600, 2)), conditions)
    assert len(made.centres) == 1
    assert made.degree == 2
    z, outside = Normalisation(made)((clean + 1).astype(np.float32), conditions.astype(np.float32))
    assert np.sqrt(np.mean((z - 1) ** 2)) < 0.15
    assert (outside <= 1).all()


def test_conditions_that_do_not_vary_do_not_matter():
    rng = RNG(2)
    conditions = np.array([[50, 20]]) + rng.normal(size=(300, 2)) * 0.001
    made = fitted(GUIDED, rng.normal(size=(300, 2)) + 30, conditions)
    assert len(made.centres) == 1
    assert made.degree == 0


def test_the_number_of_regimes_can_be_said():
    conditions, _, values = at_set_points()
    made = fitted(GUIDED, values, conditions, regimes=2)
    assert made.centres.shape == (2, 2)
    assert len(fitted(GUIDED, values, conditions, regimes=1).centres) == 1


def test_rows_with_an_unknown_condition_are_left_out():
    conditions, _, values = at_set_points()
    spoiled, wild = conditions.copy(), values.copy()
    spoiled[::7, 1], wild[::7] = np.nan, 1e6
    made = fitted(GUIDED, wild, spoiled)
    keep = np.ones(len(values), bool)
    keep[::7] = False
    expected = fitted(GUIDED, values[keep], conditions[keep])
    np.testing.assert_allclose(np.sort(made.expected, axis=0), np.sort(expected.expected, axis=0), rtol=1e-5)


def test_only_healthy_rows_say_what_is_normal():
    values = RNG(3).normal(size=(300, 2))
    healthy = np.arange(300) < 150
    values[~healthy] += 50
    made = fitted(ALONE, values, healthy=healthy)
    np.testing.assert_allclose(made.expected[0], values[:150].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(made.spread[0], values[:150].std(axis=0), rtol=1e-4)
    assert made.notes == ()


def test_too_few_healthy_rows_are_said():
    values = RNG(3).normal(size=(300, 2))
    made = fitted(ALONE, values, healthy=np.arange(300) < 5)
    np.testing.assert_allclose(made.expected[0], values.mean(axis=0), rtol=1e-4)
    assert "5 healthy rows" in made.notes[0]


def test_a_regime_never_seen_healthy_is_judged_by_all_of_its_rows():
    conditions, which, values = at_set_points()
    made = fitted(GUIDED, values, conditions, healthy=which != 2)
    row = np.argmax(made.centres[:, 0])
    np.testing.assert_allclose(made.expected[row], values[which == 2].mean(axis=0), rtol=1e-4)
    assert "hardly seen while healthy" in made.notes[0]


def test_a_sensor_silent_in_one_regime_is_expected_at_its_mean_there():
    conditions, which, values = at_set_points()
    values[which == 2, 0] = np.nan
    made = fitted(GUIDED, values, conditions)
    row = np.argmax(made.centres[:, 0])
    assert made.expected[row, 0] == pytest.approx(np.nanmean(values[:, 0]), rel=1e-4)
    assert np.isfinite(made.spread).all()
    assert (made.spread > 0).all()


@pytest.mark.parametrize("constant", [0.0, 518.67, 1e-9])
def test_a_constant_sensor_is_dropped_and_named(constant):
    values = np.column_stack([RNG(4).normal(size=200) + 40, np.full(200, constant)])
    made = fitted(ALONE, values)
    assert made.sensors == ("oil",)
    assert made.expected.shape == (1, 1)
    assert "not used, do not vary while healthy: water" in made.notes


def test_a_silent_sensor_is_dropped_and_named():
    values = np.column_stack([np.full(200, np.nan), RNG(4).normal(size=200)])
    made = fitted(ALONE, values)
    assert made.sensors == ("water",)
    assert "not used, fewer than 25 usable healthy rows: oil" in made.notes


def test_a_fleet_without_any_living_sensor_is_refused():
    with pytest.raises(ValueError, match=r"fleet machine: no sensor varies while healthy"):
        fitted(ALONE, np.full((200, 2), 3.0))


def test_a_fleet_whose_conditions_are_never_known_is_refused():
    with pytest.raises(ValueError, match=r"no row has all operating conditions \['speed', 'load'\]"):
        fitted(GUIDED, np.zeros((200, 2)), np.full((200, 2), np.nan))


def wearing(machines=8, rows=60, seed=0, failing=True):
    """Smoothed sensors of machines that wear out: oil rises by 3 to failure, water is noise."""
    rng = RNG(seed)
    rul = np.tile(np.arange(rows - 1, -1, -1.0), machines)
    worn = 1 - rul / rows
    smooth = np.column_stack([3 * worn, 0 * worn]) + rng.normal(size=(len(rul), 2)) * 0.1
    at_failure = (rul == 0) & failing
    return smooth.astype(np.float32), rul.astype(np.float32), rul > 40, at_failure, np.ones(len(rul), np.float32)


def test_health_is_one_in_the_middle_of_the_healthy_and_zero_at_failure():
    smooth, rul, healthy, at_failure, weight = wearing()
    made = fit_projections(unfitted(NAMES, 0), smooth, rul, healthy, at_failure, weight)
    assert made.projections == ("ridge", "pc1", "pc2")
    health = (smooth @ made.weights[:, 0] - made.failed) / (made.healthy - made.failed)
    assert np.median(health[healthy]) == pytest.approx(1, abs=1e-4)
    assert np.median(health[at_failure]) == pytest.approx(0, abs=1e-4)
    assert made.notes == ()
    novelty = np.abs(smooth - made.middle) / made.reach
    assert novelty[:, 0].max() == pytest.approx(1, abs=1e-5)
    assert novelty[:, 1].max() < 0.5  # hardly moves: within a healthy standard deviation nothing is new


def test_every_projection_falls_as_life_runs_out():
    smooth, rul, *rest = wearing()
    made = fit_projections(unfitted(NAMES, 0), smooth, rul, *rest)
    falls = [np.cov(smooth @ made.weights[:, i], rul)[0, 1] for i in range(2)]
    assert min(falls) > 0


def test_rows_of_unknown_remaining_life_do_not_count():
    smooth, rul, healthy, at_failure, weight = wearing()
    more = np.concatenate([smooth, smooth[:100] + 50])
    unknown = np.concatenate([rul, np.full(100, np.nan, np.float32)])
    rest = [np.concatenate([x, np.zeros(100, x.dtype)]) for x in (healthy, at_failure, weight)]
    made = fit_projections(unfitted(NAMES, 0), more, unknown, *rest)
    expected = fit_projections(unfitted(NAMES, 0), smooth, rul, healthy, at_failure, weight)
    np.testing.assert_allclose(made.weights, expected.weights, rtol=1e-5)
    assert (made.healthy, made.failed) == pytest.approx((expected.healthy, expected.failed))


def test_a_fleet_that_never_failed_has_a_finite_health_and_says_why():
    made = fit_projections(unfitted(NAMES, 0), *wearing(failing=False))
    assert np.isfinite([made.healthy, made.failed]).all()
    assert made.healthy > made.failed
    assert any("no training machine was seen failing" in note for note in made.notes)


def test_health_that_does_not_fall_is_said_to_be_useless():
    smooth, rul, healthy, at_failure, weight = wearing()
    smooth[at_failure] = smooth[healthy].mean(axis=0) - [5, 0]  # at the very end they look better than new
    made = fit_projections(unfitted(NAMES, 0), smooth, rul, healthy, at_failure, weight)
    assert made.healthy > made.failed
    assert any("do not use it" in note for note in made.notes)


def test_fitting_on_some_machines_reads_no_row_of_the_others(monkeypatch):
    """`training.feature_table.fit` of two of four machines: what the others show changes nothing."""
    smooth, rul, healthy, at_failure, weight = wearing(machines=4)
    assets = np.repeat(["a", "b", "c", "d"], 60)
    rows = pd.DataFrame({"asset": assets, "healthy": healthy, "lower": rul, "exact": True, "at_failure": at_failure})
    rows["weight"] = weight
    seen = []

    def smoothed(_graph, whole, _wanted, label):  # noqa: ARG001 — called by keyword
        seen.append(list(whole.assets))
        mine = np.isin(assets, whole.assets)
        return Table(whole.assets, None, None, {"features": np.tile(smooth[mine], (1, 5))})

    monkeypatch.setattr(feature_table.history, "run", smoothed)
    monkeypatch.setattr(feature_table, "machine_weights", lambda own: own.weight.to_numpy())
    whole = feature_table.History(list("abcd"), dict.fromkeys("abcd", 60), {}, np.zeros((4, 0), np.float32))

    def fit_on(values, machines):
        clean = Table(list("abcd"), None, None, {"values": values})
        return feature_table.fit(ALONE, whole, clean, rows, machines, 0)

    values = (smooth + RNG(5).normal(size=smooth.shape)).astype(np.float32)
    changed = np.where(np.isin(assets, ["c", "d"])[:, None], values * 100 + 7, values).astype(np.float32)
    first, second = fit_on(values, ["a", "b"]), fit_on(changed, ["a", "b"])
    np.testing.assert_array_equal(first.expected, second.expected)
    np.testing.assert_array_equal(first.spread, second.spread)
    np.testing.assert_array_equal(first.weights, second.weights)
    assert (first.healthy, first.failed) == (second.healthy, second.failed)
    assert seen == [["a", "b"]] * 2
    assert not np.array_equal(fit_on(changed, ["a", "c"]).expected, first.expected)


def test_one_sensor_is_enough():
    smooth, *rest = wearing()
    made = fit_projections(unfitted(NAMES[:1], 0), smooth[:, :1], *rest)
    assert made.projections == ("ridge", "pc1")
    assert made.weights.shape == (1, 2)
    assert (made.weights < 0).all(), "both fall as it wears"
