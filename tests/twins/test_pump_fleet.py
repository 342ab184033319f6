"""The simulated fleet: the same for a seed, plausible, and in keeping with the class file."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from data.class_file import load
from twins import SIMULATORS, pump_fleet
from twins.pump_fleet import INSTRUMENTS, MODES, STEP, draw_pump, run_to_failure, simulate_pumps


@pytest.fixture(scope="module")
def fleet():
    return list(simulate_pumps(40, seed=3))


@pytest.fixture(scope="module")
def pump_class():
    return load("pump")


def same(a, b):
    assert (a.asset, a.kind, a.end, a.new, a.settings, a.fault) == (b.asset, b.kind, b.end, b.new, b.settings, b.fault)
    np.testing.assert_array_equal(a.time, b.time)
    np.testing.assert_array_equal(a.age, b.age)
    for name, values in {**a.channels, **a.damage}.items():
        np.testing.assert_array_equal(values, {**b.channels, **b.damage}[name])


def test_a_seed_gives_one_fleet_and_a_larger_fleet_begins_with_the_smaller(fleet):
    few = list(simulate_pumps(5, seed=3))
    for a, b in zip(few, fleet, strict=False):
        same(a, b)
    other = next(iter(simulate_pumps(1, seed=4)))
    assert other.end != fleet[0].end


def test_fleets_need_a_machine():
    with pytest.raises(ValueError, match="machines = 0"):
        next(simulate_pumps(0, seed=1))


def test_records_are_well_formed(fleet):
    for record in fleet:
        rows = len(record.time)
        assert record.time.dtype == np.int64
        assert np.all(np.diff(record.time) > 0)
        assert np.all(record.time % (STEP * 10**9) == 0)
        assert record.age.shape == (rows,)
        assert set(record.channels) == set(INSTRUMENTS)
        assert all(v.shape == (rows,) and v.dtype == np.float32 for v in record.channels.values())
        assert all(v.shape == (rows,) and v.dtype == np.float32 for v in record.damage.values())
        assert record.end == record.time[-1]
        assert np.isnan(record.age).all() != record.new
        if record.new:
            assert record.age[0] == 0
            np.testing.assert_allclose(np.diff(record.age) * 3.6e12, np.diff(record.time))


def test_a_life_ends_in_failure_when_a_damage_reaches_one(fleet):
    for record in fleet:
        worst = np.max([record.damage[mode] for mode in MODES], axis=0)
        assert np.all(worst[:-1] < 1)
        assert (worst[-1] == 1) == (record.kind == "failure")
        assert record.damage[record.fault][-1] == worst[-1]


def test_lives_last_weeks_to_months(fleet):
    days = np.array([record.age[-1] / 24 for record in fleet if record.kind == "failure" and record.new])
    assert days.min() > 15
    assert days.max() < 150
    assert 40 < np.median(days) < 80


def test_all_stories_occur(fleet):
    assert Counter(r.kind for r in fleet).keys() == {"failure", "censored", "repair"}
    assert Counter(r.fault for r in fleet if r.kind == "failure").keys() == set(MODES)
    assert 0 < sum(not r.new for r in fleet) < 12
    assert 0 < sum(r.kind == "censored" for r in fleet) < 12


def test_a_repaired_pump_lives_on_as_new(fleet):
    for record, following in pairwise(fleet):
        if record.kind == "repair":
            assert following.asset == record.asset
            assert following.time[0] > record.end
            assert following.new
            assert following.settings == record.settings
            assert max(values[0] for values in following.damage.values()) == 0


def test_some_values_and_some_rows_are_missing(fleet):
    lost = np.mean([np.isnan(list(record.channels.values())).mean() for record in fleet])
    assert 0.003 < lost < 0.03
    gaps = np.concatenate([np.diff(record.time) for record in fleet])
    assert 0 < (gaps > STEP * 10**9).mean() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_outages_spare_the_first_and_last_row(seed, monkeypatch):
    monkeypatch.setattr(pump_fleet, "OUTAGES", 0.0)
    whole = next(simulate_pumps(1, seed))
    monkeypatch.setattr(pump_fleet, "OUTAGES", 3.0)
    holed = next(simulate_pumps(1, seed))
    assert len(holed.time) < 0.6 * len(whole.time)
    assert (holed.time[0], holed.end, holed.kind) == (whole.time[0], whole.end, whole.kind)


def test_true_values_lie_within_the_declared_ranges(pump_class):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        pump = draw_pump(rng)
        life = run_to_failure(rng, pump, level=(0.76, 0.94)[seed % 2], start=1_460_000)
        assert life.failed
        for name, values in life.signals.items():
            low, high = pump_class.channels[name].range
            assert low < values.min() <= values.max() < high, name


def test_only_faults_leave_the_declared_ranges(fleet, pump_class):
    for name in pump_class.scalars:
        low, high = pump_class.channels[name].range
        values = np.concatenate([record.channels[name] for record in fleet])
        assert 0 < np.mean((values < low) | (values > high)) < 0.002, name


def test_instruments_and_class_file_agree(fleet, pump_class):
    source = pump_class.source
    assert source.simulator in SIMULATORS
    assert pump_class.simulated
    assert "(simulated)" in pump_class.title
    assert pump_class.time.interval == STEP
    assert pump_class.scalars == list(INSTRUMENTS)
    for name, instrument in INSTRUMENTS.items():
        assert pump_class.channels[name].range == (instrument.low, instrument.high)
    for record in fleet:
        assert record.settings.keys() == pump_class.settings.keys()
        for name, value in record.settings.items():
            low, high = pump_class.settings[name].range
            assert low <= value <= high


def test_derived_channels_of_healthy_pumps_lie_within_their_ranges(fleet, pump_class):
    healthy = next(record for record in fleet if record.new and len(record.time) > 2000)
    values = {name: np.nanmedian(channel[:500]) for name, channel in healthy.channels.items()} | healthy.settings
    found = {
        name: eval(derived.formula, {"__builtins__": {}}, values)  # the formulas are ours
        for name, derived in pump_class.derived.items()
    }
    for name, value in found.items():
        assert pump_class.derived[name].range[0] < value < pump_class.derived[name].range[1]
    assert 0.5 < found["efficiency"] < 0.78
    assert found["efficiency"] * values["power"] == pytest.approx(found["hydraulic_power"])
    assert found["flow_coefficient"] == pytest.approx(1, abs=0.15)
    assert found["head_coefficient"] == pytest.approx(1, abs=0.15)
