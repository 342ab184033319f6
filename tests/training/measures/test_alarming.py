"""Alarms against failures: what counts as announced, false and undecided, and what other limits give."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.training.tables import asset_class
from training.measures import alarming
from training.measures.figures import Figures
from training.measures.tally import LifeAlarms, tally

LIKELY = {"level": 2, "signal": "failure_probability", "above": 0.5, "dead_band": 0.2, "on_delay": 2}
SOON = {"level": 3, "signal": "failure_probability", "above": 0.8}


def of(*lives):
    """Machines that failed, watched every cycle to the end with these levels."""
    return [
        LifeAlarms(f"M-{i}", 0, True, np.arange(len(level) - 1.0, -1, -1), np.array(level, np.int8))
        for i, level in enumerate(lives)
    ]


def test_alarms_are_announcements_false_or_undecided():
    def life(failed, to_end, level):
        return LifeAlarms("A", 0, failed, np.array(to_end, float), np.array(level, np.int8))

    lives = [
        life(True, [50, 40, 30, 20, 12, 5, 0], [0, 1, 0, 0, 2, 2, 2]),  # one false alarm, then 12 before the failure
        life(True, [50, 40, 30, 20, 12, 5, 0], [0, 0, 0, 0, 0, 0, 0]),  # missed
        life(True, [50, 40, 30], [0, 2, 2]),  # the record ends long before the failure: undecided
        life(True, [50, 40, 30], [0, 2, 0]),  # it ended before the record did: false
        life(False, [50, 40, 30, 20, 12, 5, 0], [0, 2, 0, 0, 0, 1, 1]),  # still running: one false, one undecided
    ]
    counted = tally(lives, 1, horizon=10, cap=1000)
    assert (counted.due, counted.warnings, counted.false_alarms, counted.undecided) == (2, [12.0], 3, 2)
    assert counted.far == 45 + 45 + 20 + 20 + 45
    assert counted.far_in_alarm == (10 + 7) + 0 + 10 + 10 + 10
    severe = tally(lives, 2, horizon=10, cap=1000)
    assert (severe.warnings, severe.false_alarms, severe.undecided) == ([12.0], 2, 1)


@given(arrays(np.int8, st.integers(1, 40), elements=st.integers(0, 3)), st.booleans(), st.integers(0, 50))
def test_every_alarm_is_counted_once_and_a_higher_level_sees_less(level, failed, ahead):
    life = LifeAlarms("A", 0, failed, np.arange(len(level), 0.0, -1) + ahead, level)
    counted = [tally([life], least, horizon=10, cap=1000) for least in (1, 2, 3)]
    for least, each in zip((1, 2, 3), counted, strict=True):
        seen = life.to_end[-1] <= 10
        near = sum(last <= 10 or last == life.to_end[-1] for _, last in life.episodes(least))
        assert each.false_alarms + near == len(life.episodes(least))
        assert len(each.warnings) == (failed and seen and near > 0)
        assert each.undecided == (0 if failed and seen else near)
        assert 0 <= each.far_in_alarm <= each.far <= max(life.to_end[0] - 10, 0)
    for lower, higher in pairwise(counted):
        assert len(higher.warnings) <= len(lower.warnings)
        assert higher.far_in_alarm <= lower.far_in_alarm


def test_an_alarm_that_is_always_on_announces_nothing():
    """It began with more left than the cap, where lives are not told apart."""
    on = LifeAlarms("A", 0, True, np.arange(50.0, -1, -1), np.ones(51, np.int8))
    counted = tally([on], 1, horizon=10, cap=20)
    assert (counted.warnings, counted.false_alarms, counted.due) == ([], 1, 1)
    assert counted.far_in_alarm == counted.far == 40
    assert tally([on], 1, horizon=10, cap=50).warnings == [50]


def test_figures_of_alarms_by_hand():
    """Horizon 20, cap 100, cycles: M-0 has 80 far cycles, one false alarm and is announced 10 before; M-1 is missed."""
    level = np.zeros(101, np.int8)
    level[[10, 11, *range(90, 101)]] = 2
    figures, cls = Figures(), asset_class(alarms={"likely": LIKELY})
    alarming.alarming(figures, "alarms", "cv", cls, of(level, np.zeros(101, np.int8)))
    found = figures.values["alarms"]["level_2"]["cv"]
    assert found == {
        "due": 2, "announced": 0.5, "median_lead": 10, "false_alarms": 1, "undecided": 0, "watched": 160,
        "in_alarm": 2 / 160, "false_alarms_per_1000_cycles": 1000 / 160,
    }  # fmt: skip
    low, high = figures.values["ci"]["alarms"]["level_2"]["cv"]["false_alarms_per_1000_cycles"]
    assert (low, high) == (0, 1000 / 80)  # draws of two machines: none, one or both of them the first


def test_time_in_which_a_record_is_silent_is_not_watched():
    """100 cycles, 9,000 of silence (the class allows 20), 100 cycles: two false alarms in 198 cycles, not in 9,199."""
    to_end = np.concatenate([np.arange(9400.0, 9300, -1), np.arange(300.0, 200, -1)])
    level = np.zeros(200, np.int8)
    level[[10, 99]] = 2
    figures, cls = Figures(), asset_class(alarms={"likely": LIKELY})
    lives = [LifeAlarms(name, 0, False, to_end, level) for name in ("A", "B")]
    alarming.alarming(figures, "alarms", "cv", cls, lives)
    found = figures.values["alarms"]["level_2"]["cv"]
    assert (found["watched"], found["in_alarm"]) == (2 * 198, 1 / 198)
    assert found["false_alarms_per_1000_cycles"] == 2 * 1000 / 198
    assert alarming.curve(cls, {0.5: lives}).rate.tolist() == [2 * 1000 / 198]


def test_many_lives_of_few_machines_are_few():
    """All announced, but of four machines: the exact interval is that of four, not of twenty."""
    level = np.array([0] * 40 + [2] * 11, np.int8)
    lives = [LifeAlarms(f"M-{i}", k, True, np.arange(50.0, -1, -1), level) for i in range(4) for k in range(5)]
    figures = Figures()
    alarming.alarming(figures, "alarms", "cv", asset_class(alarms={"likely": LIKELY}), lives)
    low, high = figures.values["ci"]["alarms"]["level_2"]["cv"]["announced"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / 4)), 1.0)


def test_what_alarms_cannot_tell_is_null_with_its_reason():
    figures, cls = Figures(), asset_class(alarms={"likely": LIKELY})
    life = LifeAlarms("A", 0, False, np.arange(10.0, -1, -1), np.zeros(11, np.int8))
    alarming.alarming(figures, "alarms", "test", cls, [life])
    found = figures.values["alarms"]["level_2"]["test"]
    for name in ("announced", "median_lead", "false_alarms_per_1000_cycles", "in_alarm"):
        assert found[name] is None
        assert figures.reasons[f"alarms.level_2.test.{name}"]


def test_other_limits_keep_delays_and_a_dead_band_that_ends():
    cls = asset_class(alarms={"soon": SOON, "likely": LIKELY})
    assert alarming.action(cls)[0] == "likely"
    other = alarming.at_thresholds(cls)
    assert [alarm.above for alarm in other.alarms.values()] == alarming.thresholds(cls) == list(alarming.THRESHOLDS)
    assert {alarm.on_delay for alarm in other.alarms.values()} == {2}
    assert other.alarms["at_0"].dead_band == 0.025
    assert other.alarms["at_9"].dead_band == 0.2
    own = alarming.at_thresholds(asset_class(alarms={"likely": LIKELY | {"above": 0.3}}))
    assert {alarm.above: alarm.dead_band for alarm in own.alarms.values()}[0.3] == 0.2  # its own row is its own alarm
    assert alarming.action(asset_class()) is None
    assert alarming.thresholds(asset_class(alarms={"at": LIKELY | {"above": 0.33}}))[4] == 0.33


def test_the_curve_says_what_each_limit_gives():
    level = np.zeros(101, np.int8)
    level[90:] = 2
    never = np.zeros(101, np.int8)
    made = alarming.curve(asset_class(alarms={"likely": LIKELY}), {0.5: of(level, level), 0.9: of(level, never)})
    assert made.threshold.tolist() == [0.5, 0.9]
    assert made.declared.tolist() == [True, False]
    assert made.announced.tolist() == [1, 0.5]
    assert made.median_lead.tolist() == [10, 10]
    assert made.rate.tolist() == [0, 0]
    assert made.due.tolist() == [pytest.approx(2)] * 2
