import math

import numpy as np
import pytest

from edge_runtime.assembly import AGGREGATES, Rule, Rules, assemble_table
from edge_runtime.manifest import Channel, Time

NAN = math.nan


def rules_of(*channels, interval=10, max_gap=35):
    return Rules(interval, max_gap, tuple(channels))


def one(aggregate, max_age=10, **kwargs):
    return rules_of(Rule("a", aggregate, max_age), **kwargs)


def table(rules, rows):
    """Rows (time, value, …), one value a channel."""
    rows = np.array(rows, np.float64).reshape(-1, 1 + len(rules.channels))
    result = assemble_table(rules, rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float32))
    return [(int(t), *r) for t, r in zip(result.time, result.readings.tolist(), strict=True)]


def test_windows_are_right_closed_and_aligned_to_the_epoch():
    assert table(one("count"), [(-3, 1), (0, 1), (1, 1), (9, 1), (10, 1), (11, 1)]) == [(0, 2), (10, 3), (20, 1)]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("last", 4), ("mean", 3), ("rms", math.sqrt(29 / 3)), ("min", 2), ("max", 4), ("count", 3)],
)
def test_aggregates(aggregate, expected):
    assert table(one(aggregate), [(1, 2), (9, 4), (2, 3)]) == [(10, pytest.approx(expected))]


def test_values_are_held_while_younger_than_max_age():
    assert str(table(one("last", max_age=20), [(5, 1), (38, 2)])) == str([(10, 1.0), (20, 1.0), (30, NAN), (40, 2.0)])
    assert str(table(one("last", max_age=4), [(5, 1), (18, 2)])) == str([(10, NAN), (20, 2.0)])


def test_a_count_is_zero_only_where_the_machine_spoke():
    rules = rules_of(Rule("a", "count", 10), Rule("b", "last", 10))
    assert str(table(rules, [(5, 1, 1), (15, NAN, 2), (35, 1, NAN)])) == str(
        [(10, 1.0, 1.0), (20, 0.0, 2.0), (30, NAN, NAN), (40, 1.0, NAN)]
    )


def test_silence_gives_empty_observations_until_max_gap():
    times = [row[0] for row in table(one("last"), [(5, 1), (995, 2)])]
    assert times == [10, 20, 30, 40, 1000]


def test_the_first_of_two_samples_with_one_time_wins_channel_by_channel():
    rules = rules_of(Rule("a", "last", 10), Rule("b", "last", 10))
    rows = np.array([[5, NAN, 1], [5, 2, 3], [5, 4, 5]])
    result = assemble_table(rules, rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float32))
    assert result.readings.tolist() == [[2, 1]]
    assert result.duplicates == 3


@pytest.mark.parametrize("rows", [[], [(5, NAN)]])
def test_nothing_received_gives_no_observation(rows):
    assert table(one("last"), rows) == []


def test_a_channel_may_be_silent_for_ever():
    rules = rules_of(*(Rule(kind, kind, 10) for kind in AGGREGATES))
    assert str(table(rules, [(5, 1, *[NAN] * 5)])) == str([(10, 1.0, NAN, NAN, NAN, NAN, 0.0)])


def test_rules_come_from_the_contract():
    channel = Channel("flow", "flow", "L/min", (0, 1), aggregate="rms", late=2.5)
    rules = Rules.of(Time("s", 60, 600, 3600), [("flow", channel)])
    assert rules == Rules(60 * 10**9, 3600 * 10**9, (Rule("flow", "rms", 60 * 10**9, 2_500_000_000),))
    with pytest.raises(ValueError, match="channel 'flow': aggregate 'median' is none of last, mean"):
        Rules.of(Time("s", 60, 600, 3600), [("flow", Channel("flow", "flow", "1", (0, 1), aggregate="median"))])
