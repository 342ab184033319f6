"""Censored machines: what their rows are expected to be, and how those whose label is known are weighed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.tables import CAP, machines
from training.censoring import BANDWIDTH, Precedents, known_weights
from training.dataset import machine_weights

units = st.floats(0, 1)


@st.composite
def precedents(draw):
    """Few or many, in no order; predictions need not have anything to do with what came."""
    count = draw(st.integers(1, 20))
    some = st.lists(units, min_size=count, max_size=count)
    predicted, remaining, weight = (np.array(draw(some)) for _ in range(3))
    return predicted, remaining, 0.1 + weight


@given(precedents(), units, st.floats(0, 0.9), st.lists(units, min_size=1, max_size=9))
def test_what_is_expected_is_a_mean_of_what_came_of_those_that_lasted_as_long(seen, said, lasted, ahead):
    predicted, remaining, weight = seen
    ahead, remaining = np.sort(ahead), 2 * remaining
    expected = Precedents.of(predicted, remaining, weight).expected(said, lasted, ahead)
    came = np.minimum(remaining[remaining > lasted, None] + ahead, 1)
    if not len(came):
        assert np.isnan(expected).all()
        return
    assert (expected >= came.min(axis=0) - 1e-9).all()
    assert (expected <= came.max(axis=0) + 1e-9).all()
    assert (np.diff(expected) >= -1e-12).all()


def test_those_count_of_which_about_the_same_was_predicted():
    predicted = np.array([0.1, 0.5 - BANDWIDTH, 0.5, 0.5 + BANDWIDTH, 0.9])
    seen = Precedents.of(predicted, np.array([2.0, 0.5, 0.4, 0.6, 0.0]), np.ones(5))
    kernel = np.exp([-0.5, 0.0, -0.5])
    assert seen.expected(0.5, 0.0, np.zeros(1)) == pytest.approx(np.average([0.5, 0.4, 0.6], weights=kernel), abs=1e-3)


def test_many_healthy_machines_do_not_draw_others_up():
    """What came is what was predicted, and the more was predicted the more rows there are."""
    predicted = 1 - np.random.default_rng(0).exponential(0.1, 20_000)
    seen = Precedents.of(predicted, predicted, np.ones(20_000))
    for said in (0.5, 0.6, 0.7):
        assert seen.expected(said, -1.0, np.zeros(1)) == pytest.approx(said, abs=6e-3)  # a kernel alone: 0.04 above


def test_the_likest_counts_where_none_is_alike():
    seen = Precedents.of(np.array([0.9, 0.2]), np.array([0.8, 0.3]), np.ones(2))
    assert seen.expected(-50.0, 0.0, np.zeros(1)) == pytest.approx(0.3)


def test_without_censoring_machines_weigh_the_same():
    rows = machines(6)
    np.testing.assert_allclose(known_weights(rows), machine_weights(rows))


def test_the_weights_of_known_rows_by_hand():
    """Four machines of one row: seen to fail at 1 and 3, still running at 2, known to reach the cap."""
    rows = pd.DataFrame({"asset": list("abcd"), "lower": [1.0, 2.0, 3.0, 4.0], "exact": [True, False, True, True]})
    # of the three at risk at 2 one goes out of sight: rows known beyond it stand for 3/2 rows each
    np.testing.assert_allclose(known_weights(rows), [1, 0, 1.5, 1.5])
    # up to 2 every outcome is known
    np.testing.assert_allclose(known_weights(rows, limit=2.0), [1, 1, 1, 1])


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 1))
def test_weighted_rows_have_the_mean_of_all(seed, share):
    """Machines that go out of sight at moments that have nothing to do with their failure."""
    rng = np.random.default_rng(seed)
    life = rng.uniform(0, 1.3 * CAP, 4000)
    sight = np.where(rng.random(4000) < share, rng.uniform(0.2, 2, 4000) * CAP, np.inf)
    lower = np.minimum(np.minimum(life, sight), CAP)
    rows = pd.DataFrame({"asset": np.arange(4000), "lower": lower, "exact": (life <= sight) | (sight >= CAP)})
    weight = known_weights(rows)
    assert np.average(lower, weights=weight) == pytest.approx(np.minimum(life, CAP).mean(), abs=3.5)
    assert weight.sum() / 4000 == pytest.approx(1, abs=0.1)
