"""What a twin remembers of its sensors, against arithmetic in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.step import StepFunction
from features.filters import FilterBank
from features.state import StateLayout
from features.trace import feature_graph
from tests.features.machines import CLASSES, asset_class, life, step_of

TAUS = [3, 9, 30]
BANK = FilterBank(asset_class(features={"time_constants": TAUS, "first": 5, "since_new": 200, "warm_up": 8}), 1)
SLOW = FilterBank(CLASSES["seconds, compensated"], 1)  # one observation is 1/3600 of a tick
STEPS = st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(0, 20, width=32), st.booleans()), min_size=1)


def filtered(values, dt=1.0, usable=True, bank=BANK):
    """Rows of the bank by name, [T] each, of one sensor that shows `values`; `dt` from the second one on."""
    layout, n = StateLayout(tuple(bank.slices)), len(values)
    state, seen = np.zeros((1, layout.size), np.float32), []
    steps = np.broadcast_to(dt, n).astype(np.float32).copy()
    steps[0] = 0
    for value, step, use in zip(values, steps, np.broadcast_to(usable, n), strict=True):
        z = np.array([[value if use else np.nan]], np.float32)
        passed = np.float32([[step / bank.asset_class.time.tick]])
        rows, _, new = bank(z, np.isnan(z), passed, layout.enter(state, np.zeros(1, np.float32)))
        state = layout.leave(new)
        seen.append(rows[0, :, 0])
    return dict(zip(bank.rows, np.array(seen).T, strict=True))


def reference(values, dt, usable, limit, stop=np.inf):
    """The average of the module's docstring in float64: time constant `limit`, nothing learned after `stop` ticks."""
    average = observed = unseen = 0.0
    made = []
    for k, (value, step, use) in enumerate(zip(values, dt, usable, strict=True)):
        unseen += step if k else 0
        if use:
            weight = 1.0 if observed == 0 else unseen
            if weight > 0 and observed < stop:
                average += (value - average) * weight / (min(observed, limit) + weight)
            observed += weight
            unseen = 0.0
        made.append(average)
    return made


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_averages_follow_the_formula(steps):
    values, dt, usable = zip(*steps, strict=True)
    rows = filtered(values, dt, usable)
    limits = {"ewma_3": 3, "ewma_9": 9, "ewma_30": 30, "mean_since_new": 200}
    for name, limit in limits.items():
        np.testing.assert_allclose(rows[name], reference(values, dt, usable, limit), atol=2e-5, err_msg=name)
    np.testing.assert_allclose(rows["first"], reference(values, dt, usable, 5, stop=5), atol=2e-5)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_a_trend_is_an_average_less_its_own_average(steps):
    values, dt, usable = zip(*steps, strict=True)
    rows = filtered(values, dt, usable)
    for tau in TAUS:
        average = rows[f"ewma_{tau}"]
        np.testing.assert_allclose(rows[f"trend_{tau}"], average - reference(average, dt, usable, tau), atol=4e-5)


def test_the_first_reading_is_its_own_average():
    rows = filtered([7.0])
    assert {name: row[0] for name, row in rows.items()} == {
        **dict.fromkeys(("last", "ewma_3", "ewma_9", "ewma_30", "mean_since_new", "first"), 7),
        **{f"trend_{tau}": 0 for tau in TAUS},
    }


def test_before_its_time_constant_an_average_is_the_mean():
    values = np.random.default_rng(0).normal(size=31)
    rows = filtered(values)
    mean = np.cumsum(values) / np.arange(1, 32)
    np.testing.assert_allclose(rows["ewma_30"], mean, atol=1e-6)
    np.testing.assert_allclose(rows["mean_since_new"], mean, atol=1e-6)
    np.testing.assert_allclose(rows["ewma_9"][:10], mean[:10], atol=1e-6)
    assert abs(rows["ewma_9"][20] - mean[20]) > 1e-3


def test_a_step_weighs_as_long_as_it_lasts():
    rows = filtered([0, 4, 8], dt=[0, 3, 2])
    assert rows["mean_since_new"].tolist() == pytest.approx([0, 4 * 3 / 4, (4 * 3 + 8 * 2) / 6])


def test_one_long_step_is_worth_many_short_ones():
    short = filtered([0, *[5] * 12])
    long = filtered([0, *[5] * 3], dt=[0, 4, 4, 4])
    for name in ("ewma_30", "mean_since_new"):
        assert short[name][-1] == pytest.approx(long[name][-1], rel=1e-6)


def test_a_reading_that_never_changes_is_every_average_and_no_trend():
    rows = filtered([2.5] * 100, dt=np.random.default_rng(0).choice([0, 0.3, 1, 40], 100))
    for name, row in rows.items():
        np.testing.assert_allclose(row, 0 if name.startswith("trend") else 2.5, atol=1e-6)


def test_a_trend_has_the_sign_of_the_change():
    rising, falling = filtered(np.linspace(0, 5, 60)), filtered(np.linspace(0, -5, 60))
    for tau in TAUS:
        assert rising[f"trend_{tau}"][-1] > 0.05
        assert falling[f"trend_{tau}"][-1] < -0.05


def test_the_baseline_since_new_freezes():
    rows = filtered([1, 2, 3, 4, 5, 100, -100])
    assert rows["first"].tolist() == pytest.approx([1, 1.5, 2, 2.5, 3, 3, 3])


def test_what_cannot_be_used_changes_nothing_and_the_next_weighs_for_it():
    rows = filtered([1, 9, 9, 4], usable=[True, False, False, True])
    for row in rows.values():
        assert row[0] == row[1] == row[2]
    assert rows["mean_since_new"][3] == pytest.approx((1 * 1 + 4 * 3) / 4)


def test_only_classes_whose_age_may_be_known_have_rows_since_new():
    features = {"time_constants": [9, 3], "first": 5, "since_new": 200}
    bank = FilterBank(asset_class(features=features, life=life("none")), 2)
    assert bank.rows == ["last", "ewma_3", "ewma_9", "trend_3", "trend_9"]
    assert BANK.rows[BANK.free_rows :] == ["mean_since_new", "first"]
    assert BANK.rows[BANK.health_row] == "ewma_9"


def test_averages_are_pairs_only_where_a_step_is_too_small_for_one_float():
    assert SLOW.compensated
    assert not BANK.compensated
    assert not any(each.name.endswith("_low") for each in BANK.slices)


def test_the_mean_over_thousands_of_small_steps_is_the_mean():
    """The time observed and the averages are pairs of floats: 1/3600 tick at a time they lose nothing."""
    rng = np.random.default_rng(0)
    values = (rng.normal(size=4000) + 3).astype(np.float32)
    rows = filtered(values, dt=1, bank=SLOW)
    weights = np.r_[3600, np.ones(len(values) - 1)]  # the first stands for one tick
    mean = np.average(values.astype(np.float64), weights=weights)
    for name in ("ewma_3", "ewma_30", "mean_since_new"):
        assert rows[name][-1] == pytest.approx(mean, abs=1e-6)


def test_ten_years_of_seconds_do_not_wear_out_an_average():
    """Twins that have run for ten years, by the graph in onnxruntime, against float64 over the next three hours.

    After ten years every accumulator is at its bound: the time observed at the longest time constant, the averages at
    the level of the readings. A step of 1 s moves the slowest average by 1.4e-6 of the distance: a float32 alone loses
    that.
    """
    step = step_of("seconds, compensated")
    run, bank, made = StepFunction(feature_graph(step).SerializeToString()), step.filters, step.parameters
    steps, machines, sensors = 10_000, 3, len(made.sensors)
    level = np.linspace(-40, 90, machines, dtype=np.float32)
    readings = np.repeat(level[:, None], sensors, axis=1)
    inputs = {
        "readings": readings,
        "dt": np.full(machines, 50_000, np.float32),
        "event": np.zeros(machines, np.float32),
        "age": np.full(machines, np.nan, np.float32),
        "settings": np.zeros((machines, 0), np.float32),
        "state": np.zeros((machines, run.state_size), np.float32),
    }
    for _ in range(6312):  # ten years, 50,000 s at a time
        inputs["state"] = run(inputs, ["tick"])["state_out"]
    names = [name.partition(".")[::2] for name in step.names]
    columns = {row: [i for i, (_, r) in enumerate(names) if r == row][:sensors] for row in bank.rows}
    z = ((readings - made.expected) / made.spread).astype(np.float64)
    ten_years = run(inputs, ["features"])["features"]
    for row in ("ewma_3", "ewma_30", "mean_since_new", "first"):
        np.testing.assert_allclose(ten_years[:, columns[row]], z, rtol=1e-6, atol=1e-6)

    inputs |= {"readings": readings + np.float32(1), "dt": np.ones(machines, np.float32)}
    for _ in range(steps):
        inputs["state"] = run(inputs, ["tick"])["state_out"]
    said = run(inputs | {"dt": np.zeros(machines, np.float32)}, ["features"])["features"]
    moved_z = ((inputs["readings"] - made.expected) / made.spread).astype(np.float64)
    for row, tau in (("ewma_3", 3), ("ewma_30", 30), ("mean_since_new", 200)):
        share = 1 - (1 + 1 / (3600 * tau)) ** -steps  # implicit Euler
        expected = z + (moved_z - z) * share
        np.testing.assert_allclose(said[:, columns[row]], expected, rtol=1e-6, atol=1e-6, err_msg=row)
    np.testing.assert_allclose(said[:, columns["first"]], z, rtol=1e-6, atol=1e-6)
