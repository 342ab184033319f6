"""Summaries against sums done one by one in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane
from edge_runtime.contract.tables import outgoing, unpack
from edge_runtime.upstream.summary import Summary, SummarySettings
from tests.edge_runtime.upstream.made import CHANNELS, SECOND, batch, outputs

ASSETS = ("m0", "m1", "m2", "m3")
HOUR = 3600 * SECOND


def summary(assets=ASSETS, **changes):
    options = {"every": 3600.0, "grace": 60.0} | {k: changes.pop(k) for k in ("every", "grace") if k in changes}
    return Summary("tiny", CHANNELS, assets, ("health", "alarm"), SummarySettings(**options), **changes)


def update(sums, one, numbers, said, term=0):
    count = len(one.rows)
    numbers = np.broadcast_to(np.asarray(numbers, np.int64), count)
    sums.update(one.rows, one.time, one.t_rx, np.full(count, term), numbers, one.readings, said)


def test_an_interval_is_summed_up_when_the_clock_has_passed_it():
    sums = summary()
    first, second = batch([0, 2], HOUR), batch([0], 2 * HOUR - 1)
    update(sums, first, 1, outputs(2, alarm=2.0))
    update(sums, second, 2, outputs(1))
    assert sums.take(2 * HOUR + 59 * SECOND) is None
    rows = sums.take(2 * HOUR + 60 * SECOND)
    assert [rows.keys.name(i) for i in range(2)] == ["m0", "m2"]
    assert rows.start.tolist() == [HOUR, HOUR]
    assert rows.end.tolist() == [2 * HOUR, 2 * HOUR]
    assert rows.count.tolist() == [2, 1]
    assert rows.keys.number.tolist() == [2, 1]
    assert rows.keys.t.tolist() == [2 * HOUR - 1, HOUR]
    assert rows.alarm.tolist() == [2, 2]
    assert rows.outputs["alarm"].tolist() == [0, 2]  # the last, not the worst
    assert sums.take(2 * HOUR + 61 * SECOND) is None


def test_machines_with_nothing_new_are_skipped_and_counted():
    sums = summary()
    sums.take(HOUR)
    update(sums, batch([1], HOUR + 1), 1, outputs(1))
    assert len(sums.take(2 * HOUR + 60 * SECOND).keys) == 1
    assert sums.counts["skipped"] == 3
    assert sums.counts["rows"] == 1


def test_a_backlog_gives_one_row_an_interval():
    sums = summary()
    for hour in range(5):
        for part in (1, 2):
            update(sums, batch([3], hour * HOUR + part), 2 * hour + part, outputs(1))
    rows = sums.take(5 * HOUR)
    assert (rows.start // HOUR).tolist() == [0, 1, 2, 3]
    assert rows.count.tolist() == [2] * 4
    assert (sums.take(6 * HOUR).start // HOUR).tolist() == [4]


def test_what_comes_after_an_interval_was_told_makes_a_second_row():
    sums = summary()
    update(sums, batch([0], 10), 1, outputs(1))
    assert sums.take(HOUR + 60 * SECOND).count.tolist() == [1]
    update(sums, batch([0], 20), 2, outputs(1))
    rows = sums.take(2 * HOUR + 60 * SECOND)
    assert (rows.start.tolist(), rows.count.tolist(), rows.keys.number.tolist()) == ([0], [1], [2])


def test_classes_that_count_cycles_go_by_the_time_of_arrival():
    sums = summary(by_arrival=True)
    for cycle in (1, 2):
        one = batch([0], cycle)
        one.t_rx[:] = 5 * HOUR + cycle
        update(sums, one, cycle, outputs(1))
    rows = sums.take(6 * HOUR + 60 * SECOND)
    assert (rows.start.tolist(), rows.count.tolist(), rows.keys.t.tolist()) == ([5 * HOUR], [2], [2])


def test_a_clock_that_was_set_back_ends_intervals_again():
    sums = summary()
    sums.take(400_000 * HOUR)  # before the clock was set
    update(sums, batch([0], 10 * HOUR + 5), 1, outputs(1))
    assert sums.take(11 * HOUR) is None
    assert sums.take(12 * HOUR).start.tolist() == [10 * HOUR]
    assert sums.counts["skipped"] == 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_whatever_the_clock_says_each_observation_is_in_one_row(steps):
    sums, told = summary(every=10.0, grace=0.0), 0
    for number, (machine, time, utc) in enumerate(steps):
        update(sums, batch([machine], time * SECOND), number, outputs(1))
        ended, rows = sums.has_ended(utc * SECOND), sums.take(utc * SECOND)
        assert ended is (rows is not None)
        told += 0 if rows is None else int(rows.count.sum())
        assert sums.take(utc * SECOND) is None
    rows = sums.take(1000 * SECOND)
    assert told + (0 if rows is None else int(rows.count.sum())) == len(steps)


def test_it_travels_as_a_block():
    sums = summary()
    update(sums, batch([0, 1, 2, 3], 5), 1, outputs(4))
    rows = sums.take(2 * HOUR)
    message = outgoing(rows, Lane.LIVE, 7)
    again = unpack("summary", message.body, message.size)
    assert np.array_equal(again.mean, rows.mean, equal_nan=True)
    assert np.array_equal(again.flags, rows.flags)


@pytest.mark.parametrize("change", [{"every": 60.0}, {"by_arrival": True}])
def test_a_checkpoint_of_other_intervals_is_not_taken(change):
    assert not summary(**change).restore(summary().state())


def test_machines_are_found_again_by_name():
    sums = summary(("a", "b"))
    update(sums, batch([0, 1], 5), [3, 4], outputs(2))
    later = summary(("new", "b"))
    assert later.restore(sums.state())
    assert later.counts["forgotten"] == 1
    rows = later.take(2 * HOUR)
    assert (rows.keys.assets, rows.keys.number.tolist()) == (("b",), [4])


def test_a_checkpoint_does_not_forget_what_was_not_taken():
    sums = summary()
    update(sums, batch([0], 5), 1, outputs(1))
    update(sums, batch([0], HOUR), 2, outputs(1))
    with pytest.raises(ValueError, match="take them"):
        sums.state()
    sums.discard()
    sums.state()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_it_is_what_plain_python_sums_up(seed, restarts):
    random = np.random.default_rng(seed)
    sums, seen, rows, number, now = summary(every=10.0, grace=0.0), {}, [], [0] * 4, 0
    for _ in range(random.integers(1, 30)):
        now += int(random.integers(1, 5 * SECOND))
        machines = np.sort(random.choice(4, random.integers(1, 5), replace=False))
        one, said = batch(machines, now, random=random), outputs(len(machines), random=random)
        said["alarm"] = random.integers(0, 4, len(machines)).astype(np.float32)
        for i, machine in enumerate(machines):
            number[machine] += 1
            seen.setdefault((f"m{machine}", now // (10 * SECOND)), []).append(
                (one.readings[i], said["alarm"][i], said["quality"][i].astype(int), said["health"][i], number[machine])
            )
        update(sums, one, [number[machine] for machine in machines], said)
        if random.random() < 0.3:
            rows.append(sums.take(now))
            if restarts:
                state, sums = sums.state(), summary(every=10.0, grace=0.0)
                assert sums.restore(state)
    rows.append(sums.take(now + 20 * SECOND))
    told = 0
    for block in filter(None, rows):
        for i in range(len(block.keys)):
            told += 1
            own = seen[block.keys.name(i), int(block.start[i]) // (10 * SECOND)]
            readings = np.array([readings for readings, *_ in own], np.float64)
            given_ = ~np.isnan(readings)
            assert block.count[i] == len(own)
            assert block.received[i].tolist() == given_.sum(axis=0).tolist()
            for channel in range(2):
                values = readings[given_[:, channel], channel]
                got = [block.minimum[i, channel], block.mean[i, channel], block.maximum[i, channel]]
                if len(values):
                    assert got == pytest.approx([values.min(), values.mean(), values.max()], rel=1e-6, abs=1e-6)
                else:
                    assert np.isnan(got).all()
            assert block.alarm[i] == max(alarm for _, alarm, *_ in own)
            bits = [sum(int(f) >> bit & 1 for _, _, flags, *_ in own for f in flags) for bit in range(8)]
            assert block.flags[i].tolist() == bits
            assert (block.outputs["health"][i], block.keys.number[i]) == own[-1][3:]
    assert told == len(seen)
