"""Measures: against their definitions."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training import metrics

NUMBERS = st.floats(-200, 200, width=32)


def test_examples():
    assert doctest.testmod(metrics).failed == 0


def test_rmse_weighs_rows_as_told():
    assert metrics.rmse(np.zeros(2), np.array([0.0, 4.0])) == pytest.approx(np.sqrt(8))
    assert metrics.rmse(np.zeros(2), np.array([0.0, 4.0]), np.array([3.0, 1.0])) == 2


def test_grouped_rmse_weighs_machines_equally():
    label, machine = np.zeros(101), np.array(["long"] * 100 + ["short"])
    predicted = np.where(machine == "long", 0.0, 2.0)
    value, se = metrics.grouped_rmse(label, predicted, machine)
    assert value == pytest.approx(np.sqrt(2))
    assert se == pytest.approx(np.std([0, 4], ddof=1) / np.sqrt(2) / (2 * value))


def test_the_standard_error_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    machine = np.repeat(np.arange(50), 20)

    def draw():
        error = rng.normal(size=50)[machine] + rng.normal(size=1000)
        return metrics.grouped_rmse(np.zeros(1000), error, machine)

    values, errors = np.array([draw() for _ in range(300)]).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_of_one_machine_there_is_no_standard_error():
    value, se = metrics.grouped_rmse(np.zeros(3), np.ones(3), np.array(["a"] * 3))
    assert value == 1
    assert np.isnan(se)


@given(arrays(np.float64, st.integers(1, 20), elements=NUMBERS))
def test_nasa_score_is_the_formula(d):
    expected = sum(np.exp(-x / 13) - 1 if x < 0 else np.exp(x / 10) - 1 for x in d)
    label = np.full(len(d), 50.0)
    assert metrics.nasa_score(label, label + d) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_nasa_score_punishes_late_more_than_early_and_stays_finite():
    label = np.array([50.0])
    assert metrics.nasa_score(label, label) == 0
    assert metrics.nasa_score(label, label + 20) > metrics.nasa_score(label, label - 20) > 0
    assert np.isfinite(metrics.nasa_score(label, label + 1e6))


def test_pr_auc():
    outcome, weight = np.array([0, 0, 1, 1]), np.ones(4)
    assert metrics.pr_auc(outcome, np.array([0.1, 0.2, 0.8, 0.9]), weight) == 1
    assert metrics.pr_auc(outcome, np.full(4, 0.5), weight) == 0.5  # knowing nothing: the share of failures
    assert metrics.pr_auc(np.zeros(4), np.full(4, 0.5), weight) is None


def test_brier():
    outcome, weight = np.array([0.0, 1.0]), np.array([1.0, 3.0])
    assert metrics.brier(outcome, np.array([0.5, 0.5]), weight) == 0.25
    assert metrics.brier(outcome, np.array([0.0, 1.0]), weight) == 0
    assert metrics.brier(outcome, np.array([0.4, 1.0]), weight) == pytest.approx(0.16 / 4)
    assert metrics.brier(np.ones(2), np.full(2, 1.0000001), weight) == 0  # float32 may round above 1


@given(st.lists(st.tuples(NUMBERS, st.floats(0.01, 10)), min_size=1, max_size=30), st.floats(0, 1))
def test_weighted_quantile_has_its_share_below(pairs, q):
    x, weight = np.array(pairs).T
    found = metrics.weighted_quantile(x, q, weight)
    assert found in x
    assert weight[x <= found].sum() >= (q - 1e-9) * weight.sum()
    assert weight[x < found].sum() <= (q + 1e-9) * weight.sum()
