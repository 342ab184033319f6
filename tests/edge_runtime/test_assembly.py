import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.assembly import AGGREGATES, Assembler, Rule, Rules, assemble_table
from edge_runtime.contract.quality import Quality
from edge_runtime.manifest import Channel, Time

NAN = math.nan


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


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


# A sample: channel, time, value; its delay on the way depends on the channel.
_samples = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-20, 160), st.floats(width=32, allow_nan=False)), min_size=1, max_size=40
)
_rules = st.lists(
    st.tuples(st.sampled_from(AGGREGATES), st.sampled_from([4, 10, 25]), st.integers(0, 30)), min_size=3, max_size=3
)


@settings(max_examples=300)
@given(_samples, _rules, st.sampled_from([3, 35]), st.booleans(), st.integers(0, 12))
def test_a_recording_as_a_table_and_as_messages_gives_the_same_observations(samples, specs, max_gap, live, poll):
    channels = (Rule(f"c{i}", kind, age, late) for i, (kind, age, late) in enumerate(specs))
    rules = rules_of(*channels, max_gap=max_gap)
    delay = [late if live else 0 for _, _, late in specs]
    arriving = sorted(samples, key=lambda sample: sample[1] + delay[sample[0]])

    rows = np.full((len(arriving), 3), NAN, np.float32)
    for row, (channel, _, value) in zip(rows, arriving, strict=True):
        row[channel] = value
    expected = assemble_table(rules, np.array([sample[1] for sample in arriving]), rows)

    clock, got = Clock(), []
    assembler = Assembler(rules, clock)
    for i, (channel, time, value) in enumerate(arriving):
        if live:
            clock.now = time + delay[channel]
        if poll and i % poll == 0:
            got += assembler.ready()
        assembler.add(f"c{channel}", time, value)
    got += assembler.ready()
    got += assembler.flush()

    last = max(sample[1] for sample in samples)
    assert [o.time for o in got][: len(expected.time)] == expected.time.tolist()
    assert np.array_equal(np.array([o.readings for o in got])[: len(expected.time)], expected.readings, equal_nan=True)
    assert all(o.time - rules.interval >= last for o in got[len(expected.time) :])
    assert assembler.counts["duplicate"] == expected.duplicates
    assert assembler.counts["late"] == 0


_garbage = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.floats(),
    st.integers(),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=1),
)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.just("a"), _garbage),
            st.one_of(st.integers(-(2**70), 2**70), st.integers(0, 100), _garbage),
            st.one_of(st.floats(), _garbage),
            st.integers(-50, 200),
        ),
        max_size=30,
    )
)
def test_nothing_that_arrives_raises_or_is_lost_uncounted(arrivals):
    clock = Clock()
    assembler = Assembler(rules_of(Rule("a", "rms", 10), max_gap=30), clock)
    times = []
    for channel, time, value, passed in arrivals:
        clock.now += passed
        assembler.add(channel, time, value)
        times += [o.time for o in assembler.ready()]
    times += [o.time for o in assembler.flush()]
    assert times == sorted(set(times))
    assert assembler.counts.total() == len(arrivals)


def test_late_duplicate_and_unusable_samples_are_told_apart():
    assembler = Assembler(one("last"), Clock())
    assert assembler.add("a", 5, 1.0) == Quality(0)
    assert assembler.add("a", 5, 2.0) is Quality.DUPLICATE
    assert assembler.add("a", 12, 3.0) == Quality(0)
    assert [o.readings.tolist() for o in assembler.ready()] == [[1.0]]
    assert assembler.add("a", 5, 2.0) is Quality.DUPLICATE
    assert assembler.add("a", 6, 2.0) is Quality.LATE
    assert assembler.add("a", 13, "high") is Quality.MISSING
    assert assembler.add("b", 13, 1.0) is Quality.MISSING
    assert assembler.counts == {"accepted": 2, "duplicate": 2, "late": 1, "unusable": 1, "unknown": 1}


def test_samples_of_an_open_window_may_come_in_any_order():
    assembler = Assembler(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)), Clock())
    for time, value in ((10, 1.0), (7, 2.0)):
        assembler.add("a", time, value)
    assembler.add("b", 12, 3.0)
    assert [o.readings.tolist()[0] for o in assembler.ready()] == [1.0]


def test_it_waits_for_a_slow_channel_no_longer_than_allowed():
    clock = Clock()
    assembler = Assembler(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)), clock)
    assembler.add("a", 9, 1.0)
    assembler.add("a", 10, 2.0)
    clock.now = 6
    assert assembler.ready() == []
    clock.now = 7
    assert [o.time for o in assembler.ready()] == [10]


def test_it_does_not_wait_once_all_have_spoken():
    assembler = Assembler(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)), Clock())
    assembler.add("a", 10, 2.0)
    assert assembler.ready() == []
    assembler.add("b", 10, 3.0)
    assert [o.readings.tolist() for o in assembler.ready()] == [[2.0, 3.0]]


def test_a_silent_machine_stops_after_max_gap_and_comes_back():
    clock = Clock()
    assembler = Assembler(one("last"), clock)
    assembler.add("a", 5, 1.0)
    clock.now = 10_000_000
    assert [o.time for o in assembler.ready()] == [10, 20, 30, 40]
    assembler.add("a", 10_000_001, 2.0)
    clock.now += 100
    assert [o.time for o in assembler.ready()][:2] == [10_000_010, 10_000_020]


def test_a_clock_set_back_does_not_stop_it():
    clock = Clock()
    assembler = Assembler(one("last"), clock)
    assembler.add("a", 5, 1.0)
    clock.now = -100
    assert assembler.ready() == []
    assembler.add("a", 11, 1.0)
    assert [o.time for o in assembler.ready()] == [10]
