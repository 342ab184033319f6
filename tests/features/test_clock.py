"""When a twin learns, how old its machine is, and whether it has seen enough."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.event import Event
from features.clock import Clock
from features.state import StateLayout
from tests.features.machines import CLASSES, asset_class, life

HOURLY = asset_class(
    time={"unit": "s", "interval": 60, "tick": 3600, "max_gap": 7200},
    life=life(unit="h"),
    features={"warm_up": 8},
)
STATISTICS = asset_class(
    time={"unit": "s", "interval": 60, "tick": 3600, "max_gap": 7200},
    life=life(unit="h"),
    features={"warm_up": 8, "since_new": 200},
)
NAMES = ("ticks", "step", "age", "since_new", "warming_up")


def watch(cls, dt, event=None, age=None, usable=None, state=None):
    """Signals [T] by name of one machine, and its last state. Each argument is one value a step; `dt` counts them."""
    clock, n = Clock(cls), len(dt)
    layout = StateLayout(tuple(clock.slices))
    columns = [dt, event or [0] * n, age or [np.nan] * n, [True] * n if usable is None else usable]
    state = np.zeros((1, layout.size), np.float32) if state is None else state
    seen = []
    for step, code, years, any_usable in zip(*columns, strict=True):
        begins = code == Event.NEW_LIFE
        signals, new = clock(
            np.float32([[0 if begins else step]]),
            np.array([[begins]]),
            np.float32([[years]]),
            np.float32([[any_usable]]),
            layout.enter(state, np.float32([code])),
        )
        state = layout.leave(new)
        seen.append({name: getattr(signals, name).item() for name in NAMES})
    return {name: [each[name] for each in seen] for name in seen[0]}, state


def test_a_twin_learns_at_once_and_then_once_a_tick():
    signals, _ = watch(HOURLY, [0, *[60] * 180])
    assert np.flatnonzero(signals["ticks"]).tolist() == [0, 60, 120, 180]
    assert [signals["step"][k] for k in (0, 60, 120)] == pytest.approx([1, 1, 1], abs=1e-5)


@given(st.lists(st.floats(-149, 149, width=32), min_size=30, max_size=30))
@settings(max_examples=40, deadline=None)
def test_jitter_below_a_quarter_of_an_interval_delays_no_tick(jitter):
    cls = asset_class(time={"unit": "s", "interval": 600, "tick": 3600, "max_gap": 7200}, life=life(unit="h"))
    times = np.arange(31) * 600.0 + [0, *jitter]
    signals, _ = watch(cls, [0, *np.diff(times)])
    assert np.flatnonzero(signals["ticks"]).tolist() == [0, 6, 12, 18, 24, 30]


def test_where_every_observation_is_a_tick_early_ones_count_too():
    signals, _ = watch(CLASSES["plain"], [0, 0.9, 0.5, 0.4, 0.2, 3])
    assert signals["ticks"] == [1, 1, 1, 0, 1, 1]
    assert signals["step"] == pytest.approx([1, 0.9, 0.5, 0.4, 0.6, 3])


def test_a_long_silence_makes_a_long_step():
    signals, _ = watch(HOURLY, [0, 36000])
    assert signals["step"][1] == 10


def test_age_is_unknown_until_it_is_said_or_a_life_begins():
    signals, _ = watch(HOURLY, [0, 3600, 3600, 3600, 3600], age=[np.nan, np.nan, 50, np.nan, np.nan])
    assert signals["age"] == [0, 0, 50, 51, 52]
    assert signals["since_new"] == [0, 0, 1, 1, 1]
    signals, _ = watch(HOURLY, [0, 3600, 3600, 3600], event=[0, 0, Event.NEW_LIFE, 0])
    assert signals["age"] == [0, 0, 0, 1]
    assert signals["since_new"] == [0, 0, 1, 1]


def test_statistics_since_new_are_never_those_of_a_life_watched_in_part():
    signals, _ = watch(STATISTICS, [0, 3600, 3600, 3600, 3600], age=[np.nan, np.nan, 50, np.nan, np.nan])
    assert signals["age"] == [0, 0, 50, 51, 52]
    assert signals["since_new"] == [0] * 5
    signals, _ = watch(STATISTICS, [0, 3600, 3600, 3600], event=[0, 0, Event.NEW_LIFE, 0])
    assert signals["since_new"] == [0, 0, 1, 1]


@pytest.mark.parametrize(("age", "watched"), [(0, 1), (2, 1), (2.1, 0), (1000, 0), (np.nan, 0)])
def test_a_life_counts_as_watched_if_a_quarter_of_the_warm_up_was_missed_at_most(age, watched):
    signals, _ = watch(STATISTICS, [0, 3600], age=[age, np.nan])
    assert signals["since_new"] == [watched, watched]
    signals, _ = watch(HOURLY, [0, 3600], age=[age, np.nan])
    assert signals["since_new"] == [not np.isnan(age)] * 2, "without such statistics the age is all that is needed"


def test_what_is_said_of_the_age_wins_over_what_was_counted():
    signals, _ = watch(HOURLY, [0, 3600, 3600, 3600], event=[Event.NEW_LIFE, 0, 0, 0], age=[np.nan, np.nan, 7, np.nan])
    assert signals["age"] == [0, 1, 7, 8]


@pytest.mark.parametrize("age", [np.inf, -np.inf, -3, 3e38])
def test_an_age_that_cannot_be_is_unknown(age):
    with np.errstate(over="ignore"):
        signals, state = watch(HOURLY, [0, 3600, 3600], age=[age, np.nan, age])
    assert signals["age"] == [0, 0, 0]
    assert np.isfinite(state).all()


def test_a_replaced_sensor_leaves_the_age_alone():
    signals, _ = watch(HOURLY, [0, 3600, 3600], age=[30, np.nan, np.nan], event=[0, Event.SENSOR_REPLACED, 0])
    assert signals["age"] == [30, 31, 32]


def test_warming_up_falls_with_the_time_watched():
    signals, _ = watch(HOURLY, [0, *[3600] * 9])
    assert signals["warming_up"] == pytest.approx([1 - min(k, 8) / 8 for k in range(10)])


def test_a_gap_starts_the_warming_up_again():
    signals, _ = watch(HOURLY, [0, *[3600] * 8, 7201, 3600])
    assert signals["warming_up"][8:] == pytest.approx([0, 1, 7 / 8])
    signals, _ = watch(HOURLY, [0, *[3600] * 8, 7200])
    assert signals["warming_up"][9] == 0


def test_nothing_is_watched_while_nothing_usable_comes():
    signals, _ = watch(HOURLY, [0, 3600, 3600, 3600], usable=[False, False, True, False])
    assert signals["warming_up"] == pytest.approx([1, 1, 7 / 8, 7 / 8])


def test_ten_years_of_seconds_do_not_wear_out_the_age():
    """Machines of every age up to ten years, watched for 5,000 s at 1 Hz: each ages by 5,000 s, exactly."""
    cls, steps = CLASSES["seconds, compensated"], 5000
    years = np.linspace(0, 10, 41).astype(np.float32)
    hours = (years * np.float32(8766)).astype(np.float32)
    clock, none = Clock(cls), np.zeros((len(years), 1), np.float32)
    new = {each.name: none for each in clock.slices}
    _, new = clock(none, none > 0, hours[:, None], none + 1, new)
    for _ in range(steps):
        _, new = clock(none + 1, none > 0, none * np.nan, none + 1, new)
    age = new["clock.age"].astype(np.float64) + new["clock.age_low"]
    start = (hours * np.float32(3600)).astype(np.float64)
    np.testing.assert_array_equal(age[:, 0] - start, steps)
    assert (new["clock.watched"] <= cls.features.warm_up).all()


def test_seconds_are_counted_beyond_194_days_where_every_second_is_a_tick_too():
    cls = asset_class(time={"unit": "s", "interval": 1, "tick": 1, "max_gap": 60}, life=life(unit="d"))
    _, state = watch(cls, [0, *[1] * 9], age=[300, *[np.nan] * 9])
    slices = StateLayout(tuple(Clock(cls).slices)).enter(state, np.zeros(1, np.float32))
    assert float(slices["clock.age"].item()) + slices["clock.age_low"].item() == 300 * 86400 + 9


def test_the_feature_age_keeps_float32_precision_after_ten_years():
    cls = CLASSES["seconds, compensated"]
    ten_years = 10 * 8766.0  # hours, ticks of this class
    signals, _ = watch(cls, [0, *[1] * 100], age=[ten_years, *[np.nan] * 100])
    assert signals["age"][-1] == pytest.approx(ten_years + 100 / 3600, abs=2**-7)  # a float32's step there


@pytest.mark.parametrize(("interval", "tick"), [(1 / 60, 14400), (0.01, 14400), (0.01, 86400), (1, 86400)])
def test_a_twin_warms_up_at_any_rate(interval, tick):
    """The last 3,000 steps of a warm-up of 40 ticks, each far below what float32 adds to 36."""
    time = {"unit": "s", "interval": interval, "tick": tick, "max_gap": 20_000}
    cls = asset_class(time=time, life=life(unit="h"), features={"warm_up": 40})
    clock, none = Clock(cls), np.zeros((1, 1), np.float32)
    new = {each.name: none for each in clock.slices} | {"clock.watched": none + 36}
    for _ in range(3000):
        _, new = clock(none + np.float32(interval), none > 0, none * np.nan, none + 1, new)
    watched = new["clock.watched"].astype(np.float64) + new["clock.watched_low"]
    assert watched.item() - 36 == pytest.approx(3000 * interval / tick, rel=1e-3)
    _, new = clock(none + 19_000, none > 0, none * np.nan, none + 1e9, new | {"clock.watched": none + 40})
    assert (new["clock.watched"].item(), new["clock.watched_low"].item()) == (40, 0)
    _, new = clock(none + 20_001, none > 0, none * np.nan, none + 1, new | {"clock.watched_low": none + 1e-6})
    assert (new["clock.watched"].item(), new["clock.watched_low"].item()) == (0, 0)
