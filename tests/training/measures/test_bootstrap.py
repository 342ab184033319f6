"""Resampling machines: against what can be worked out, and never more certain than the machines allow."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import metrics
from training.dataset import machine_weights
from training.measures import bootstrap
from training.measures.bootstrap import Resampling
from training.measures.figures import Figures


@pytest.mark.parametrize("module", ["bootstrap", "figures", "prognostics", "remaining_life"])
def test_examples(module):
    import importlib

    failed, tried = doctest.testmod(importlib.import_module(f"training.measures.{module}"))
    assert tried > 0
    assert failed == 0


def test_two_machines_are_drawn_as_whole_machines():
    """Each of the four draws (aa, ab, ba, bb) a quarter of the time: the mean is 0, 0.5 or 1, whatever the rows."""
    draws = Resampling.of(["a"] * 99 + ["b"])
    x = np.repeat([0.0, 1.0], [99, 1])
    weight = np.repeat([1 / 99, 1.0], [99, 1])
    values, count = np.unique(draws.mean(x, weight).round(9), return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert count / bootstrap.RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.05)
    assert set(draws.total(np.repeat([0.0, 3.0], [99, 1])).round(9)) == {0, 3, 6}


def test_the_interval_is_that_of_many_fleets():
    """Of means of normal machines: ± 1.96 / √n; with 40 machines it holds the truth nearly as often as it says."""
    rng = np.random.default_rng(0)
    asset = np.array([f"M-{i}" for i in range(40)])
    found = [bootstrap.bounds(Resampling.of(asset).mean(rng.normal(size=40))) for _ in range(1000)]
    assert np.mean([high - low for low, high in found]) == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.1)
    assert np.mean([low < 0 < high for low, high in found]) == pytest.approx(0.94, abs=0.025)


def test_the_same_machines_give_the_same():
    x = np.arange(9.0)
    asset = list("aabbccdde")
    np.testing.assert_array_equal(Resampling.of(asset).mean(x), Resampling.of(asset).mean(x))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=2, max_size=30), st.data())
def test_pr_auc_by_weight_is_pr_auc(rows, data):
    machine, outcome, probability = (np.array(x) for x in zip(*rows, strict=True))
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)), float)[machine]
    weight = np.linspace(0.5, 2, len(rows))
    value = metrics.pr_auc_by_weight(outcome.astype(float), probability / 5, weight)(times)
    drawn = times > 0
    if not drawn.any():
        assert value is None
        return
    expected = metrics.pr_auc(outcome[drawn].astype(float), probability[drawn] / 5, (weight * times)[drawn])
    assert value == (None if expected is None else pytest.approx(expected))


def put(kind, values, machines, *more):
    figures = Figures()
    getattr(bootstrap, kind)(figures, "x", machines, np.array(values), *more, "nothing is known")
    return figures.values["ci"]["x"], figures.reasons.get("ci.x")


def test_what_cannot_be_said_is_null_with_its_reason():
    assert put("put", [1.0, 2.0], 1) == (None, bootstrap.ONE)
    assert put("put", [np.nan, np.nan, 1.0], 3) == (None, "nothing is known")
    assert put("put", [2.0] * 9, 3) == (None, bootstrap.ALIKE)
    assert put("put", np.arange(101.0), 3) == (pytest.approx([2.5, 97.5]), None)


def test_all_of_five_and_none_of_five_are_no_certainty():
    """Clopper-Pearson: 0.025 ** (1 / 5)."""
    (low, high), _ = put("put_share", [1.0] * 9, 5)
    assert (low, high) == (pytest.approx(0.4782, abs=1e-4), 1)
    (low, high), _ = put("put_share", [0.0] * 9, 5)
    assert (low, high) == (0, pytest.approx(0.5218, abs=1e-4))
    assert put("put_share", [0.5] * 9, 5) == (None, bootstrap.ALIKE)


def test_no_false_alarm_is_not_none_ever():
    """Poisson: e^−3.69 = 0.025."""
    (low, high), _ = put("put_rate", [0.0] * 9, 5, 2.0)
    assert (low, high) == (0, pytest.approx(3.689 / 2, abs=1e-3))
    assert put("put_rate", [0.0, 2.0] * 50, 5, 2.0)[0] == [0, 2]


def test_a_null_needs_a_reason_and_a_figure_a_number():
    with pytest.raises(ValueError, match="say why"):
        Figures().set("rul.rmse", None)
    with pytest.raises(ValueError, match="nan"):
        Figures().set("rul.rmse", float("nan"))


def test_machines_weigh_equally_in_every_draw():
    """A machine that reports a hundred times moves a resampled mean no more than another."""
    import pandas as pd

    rows = pd.DataFrame({"asset": ["a"] * 100 + ["b", "c"]})
    x = np.repeat([1.0, 0.0, 0.0], [100, 1, 1])
    found = Resampling.of(rows.asset).mean(x, machine_weights(rows))
    assert found.mean() == pytest.approx(1 / 3, abs=0.03)
