"""Statistics of waveform snapshots against scipy's."""

import numpy as np
import pytest
from scipy import stats

from data.asset_class import Channel
from features import waveform
from tests.features.machines import SHAKE

SPEC = Channel.model_validate(SHAKE)  # two axes of 64 samples within ±50
AXES, SAMPLES = 2, 64


def statistics(samples, spec=SPEC):
    """By statistic: [K,axes]."""
    values = waveform.statistics(samples, spec).reshape(len(samples), len(waveform.STATISTICS), AXES)
    return {name: values[:, i] for i, name in enumerate(waveform.STATISTICS)}


def noise(count=20, scale=5.0, offset=0.0):
    samples = np.random.default_rng(0).standard_t(5, (count, AXES, SAMPLES)) * scale / 3 + offset
    return np.clip(samples, -50, 50).astype(np.float32)


@pytest.mark.parametrize("offset", [0, 9.81])
def test_statistics_are_those_of_scipy(offset):
    samples = noise(offset=offset)
    got, x = statistics(samples), samples.astype(np.float64)
    rms = x.std(axis=-1)  # of the alternating part: gravity is no vibration
    np.testing.assert_allclose(got["rms"], rms, rtol=1e-5)
    peak = np.abs(x - x.mean(axis=-1, keepdims=True)).max(axis=-1)
    np.testing.assert_allclose(got["peak"], peak, rtol=1e-5)
    np.testing.assert_allclose(got["crest_factor"], peak / rms, rtol=1e-5)
    np.testing.assert_allclose(got["kurtosis"], stats.kurtosis(x, axis=-1, fisher=False), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-7, 1e-4])
def test_kurtosis_does_not_depend_on_the_unit(scale):
    got = statistics(noise(scale=scale))
    np.testing.assert_allclose(got["kurtosis"], statistics(noise(scale=1))["kurtosis"], rtol=1e-4)


def test_a_sine():
    t = np.arange(SAMPLES) / SAMPLES
    samples = np.stack([3 * np.sin(2 * np.pi * 4 * t), np.sin(2 * np.pi * 8 * t)])[None].astype(np.float32)
    got = statistics(samples)
    np.testing.assert_allclose(got["rms"], [[3 / np.sqrt(2), 1 / np.sqrt(2)]], rtol=1e-5)
    np.testing.assert_allclose(got["crest_factor"], np.sqrt([[2, 2]]), rtol=1e-2)
    np.testing.assert_allclose(got["kurtosis"], [[1.5, 1.5]], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 51, -50.5])
def test_one_bad_sample_makes_its_axis_missing_and_no_other(bad):
    samples = noise(3)
    samples[1, 0, 17] = bad
    for values in statistics(samples).values():
        missing = np.isnan(values)
        assert missing[1, 0]
        assert missing.sum() == 1


def test_a_dead_sensor_has_finite_statistics():
    for values in statistics(np.zeros((1, AXES, SAMPLES), np.float32)).values():
        assert not values.any()


def test_no_snapshot():
    assert waveform.statistics(noise(0), SPEC).shape == (0, 8)


def test_names_are_in_the_order_of_the_columns():
    names = waveform.names("shake", SPEC)
    assert names == [f"shake.{s}.{a}" for s in ("rms", "peak", "crest_factor", "kurtosis") for a in "xy"]
    samples = noise(1)
    samples[0, 0] *= 5  # x shakes more than y
    values = dict(zip(names, waveform.statistics(np.clip(samples, -50, 50), SPEC)[0], strict=True))
    assert values["shake.rms.x"] > 2 * values["shake.rms.y"]
