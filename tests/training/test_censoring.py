"""Censored machines: what their rows are expected to be, and how those whose label is known are weighed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from tests.training.tables import CAP, machines
from training import lstm
from training.censoring import FAR, expected_beyond, known_weights
from training.dataset import machine_weights


@pytest.mark.parametrize(
    ("mean", "bound", "spread"), [(0.5, 0.2, 0.1), (0.3, 0.5, 0.1), (0.8, 0.8, 0.2), (0.9, 0.5, 0.1)]
)
def test_a_bound_raises_the_prediction_as_much_as_the_mean_of_what_lasted(mean, bound, spread):
    y = np.random.default_rng(0).normal(mean, spread, 2_000_000)
    gain = np.minimum(y[y > bound], 1).mean() - np.minimum(y, 1).mean()
    assert expected_beyond(np.array([mean]), np.array([bound]), spread)[0][0] == pytest.approx(mean + gain, abs=2e-3)


@given(st.floats(-2, 2), st.floats(0, 0.999), st.floats(0.01, 1))
def test_lasting_longer_is_no_bad_news(mean, bound, spread):
    made = expected_beyond(np.array([mean]), np.array([bound]), spread)[0][0]
    assert made >= mean - 1e-9
    assert made <= max(mean, 1)
    assert made >= bound - FAR * spread
    assert expected_beyond(np.array([mean]), np.array([(1 + bound) / 2]), spread)[0][0] >= made - 1e-9


def test_tensorflow_expects_the_same():
    tf, _ = lstm._keras()
    mean, bound = (
        x.ravel().astype(np.float32) for x in np.meshgrid(np.linspace(-1, 1.5, 40), np.linspace(0, 0.99, 30))
    )
    theirs = lstm._expected_beyond(tf, tf.constant(mean), tf.constant(bound), tf.constant(np.float32(0.1)))
    for here, there in zip(expected_beyond(mean, bound, 0.1), theirs, strict=True):
        np.testing.assert_allclose(there.numpy(), here, atol=1e-3)


@pytest.mark.parametrize(("mean", "bound"), [(0.2, 0.1), (0.3, 0.3), (0.3, 0.5)])
def test_what_a_bound_says_is_the_curvature_of_its_likelihood(mean, bound):
    spread, step = 0.1, 1e-4
    far = [-np.log(ndtr((mean + shift - bound) / spread)) * spread**2 for shift in (-step, 0, step)]
    curvature = (far[0] - 2 * far[1] + far[2]) / step**2
    assert expected_beyond(np.array([mean]), np.array([bound]), spread)[1][0] == pytest.approx(curvature, rel=1e-3)


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
