import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.assembly import AGGREGATES, Rule, Rules, assemble_table
from edge_runtime.intake import assembler as module
from edge_runtime.intake.assembler import Assembler
from edge_runtime.intake.records import Records

NAN = math.nan


def rules_of(*channels, interval=10, max_gap=35):
    return Rules(interval, max_gap, tuple(channels))


def one(aggregate, max_age=10, late=0, **kwargs):
    return rules_of(Rule("a", aggregate, max_age, late), **kwargs)


class Machines:
    """An assembler, its clock, and what it has given, machine by machine."""

    def __init__(self, rules, machines=1):
        self.records = Records(len(rules.channels) + 2)
        self.assembler = Assembler(rules, machines, self.records, lambda: self.now)
        self.now = 0
        self.got = [[] for _ in range(machines)]

    def add(self, time, *values, machine=0):
        """A row; True if it was taken."""
        heard = sum(1 << i for i, value in enumerate(values) if not math.isnan(value))
        packed = self.records.pack(machine, time, 1000 + self.now, *values, NAN, NAN)
        return self.assembler.add(machine, time, packed, heard)

    def ready(self):
        """Newly closed: (time, readings…) of each observation."""
        return self._keep(self.assembler.ready())

    def flush(self):
        return self._keep(self.assembler.flush())

    def _keep(self, batches):
        new = []
        for closed in batches:
            assert len(set(closed.rows.tolist())) == len(closed.rows)
            for row, time, readings in zip(closed.rows.tolist(), closed.time.tolist(), closed.readings, strict=True):
                self.got[row].append((time, readings))
                new.append((time, *readings.tolist()))
        return new


def test_samples_of_an_open_window_may_come_in_any_order():
    machine = Machines(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)))
    machine.add(10, 1.0, NAN)
    machine.add(7, 2.0, NAN)
    machine.add(12, NAN, 3.0)
    assert machine.ready()[0][:2] == (10, 1.0)


def test_it_waits_for_a_slow_channel_no_longer_than_allowed():
    machine = Machines(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)))
    machine.add(9, 1.0, NAN)
    machine.add(10, 2.0, NAN)
    machine.now = 6
    assert machine.ready() == []
    assert machine.assembler.deadline == 7
    machine.now = 7
    assert [row[0] for row in machine.ready()] == [10]


def test_it_does_not_wait_once_all_have_spoken():
    machine = Machines(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=6)))
    machine.add(10, 2.0, NAN)
    assert machine.ready() == []
    machine.add(10, NAN, 3.0)
    assert machine.ready() == [(10, 2.0, 3.0)]


def test_all_windows_before_what_all_channels_have_said_close_at_once():
    machine = Machines(rules_of(Rule("a", "last", 10), Rule("b", "last", 10, late=60)))
    machine.add(5, 1.0, 2.0)
    machine.add(25, 3.0, NAN)
    assert machine.ready() == []
    machine.add(26, NAN, 4.0)
    assert [row[0] for row in machine.ready()] == [10, 20]
    machine.add(24, NAN, 5.0)
    machine.add(31, 6.0, 6.0)
    assert machine.ready() == [(30, 3.0, 4.0)]


def test_a_silent_machine_stops_after_max_gap_and_comes_back():
    machine = Machines(one("last"))
    assert machine.assembler.deadline is None
    machine.add(5, 1.0)
    machine.now = 10_000_000
    assert [row[0] for row in machine.ready()] == [10, 20, 30, 40]
    assert machine.assembler.deadline is None
    machine.add(10_000_001, 2.0)
    machine.now += 100
    assert [row[0] for row in machine.ready()][:2] == [10_000_010, 10_000_020]


def test_a_clock_set_back_does_not_stop_it():
    machine = Machines(one("last"))
    machine.add(5, 1.0)
    machine.now = -100
    assert machine.ready() == []
    machine.add(11, 1.0)
    assert [row[0] for row in machine.ready()] == [10]


def test_what_comes_after_its_observation_is_late_and_changes_nothing():
    machine = Machines(one("last"))
    assert machine.add(5, 1.0)
    assert machine.add(12, 3.0)
    assert machine.ready() == [(10, 1.0)]
    assert not machine.add(5, 2.0)
    assert not machine.add(6, 2.0)
    assert machine.flush() == [(20, 3.0)]


def test_a_machine_that_speaks_nonsense_about_time_disturbs_no_other():
    machines = Machines(one("mean"), 2)
    for time in range(1, 40):
        machines.now += 1
        machines.add(time, float(time))
        machines.add(10**15 - 1000 * time, 7.0, machine=1)
        machines.ready()
    assert [time for time, _ in machines.got[0]] == [10, 20, 30]
    assert [float(readings[0]) for _, readings in machines.got[0]] == [5.5, 15.5, 25.5]


def test_a_long_outage_closes_in_pieces():
    machine = Machines(one("last", max_gap=10_000))
    machine.add(5, 1.0)
    machine.add(5005, 2.0)
    pieces = []
    while piece := machine.ready():
        pieces.append(len(piece))
    assert pieces[0] == module.MOST_WINDOWS
    assert sum(pieces) == 500


def test_all_machines_at_once_close_in_pieces_the_most_overdue_first(monkeypatch):
    monkeypatch.setattr(module, "MOST_CLOSING", 3 * (module.EACH + 1))
    machines = Machines(one("last"), 10)
    for machine in range(10):
        machines.add(9 - machine % 2, float(machine), machine=machine)
    machines.now = 5
    pieces = []
    while closed := machines.assembler.ready():
        pieces += [batch.rows.tolist() for batch in closed]
    assert pieces == [[0, 2, 4], [1, 6, 8], [3, 5, 7], [9]]
    assert machines.assembler.deadline == 1 + 10 + 1


# A row: machine, time, a value or nothing of each channel; its delay on the way depends on its slowest channel.
_value = st.one_of(st.just(NAN), st.floats(width=32, allow_nan=False))
_rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-20, 160), st.tuples(_value, _value, _value)), min_size=1, max_size=60
)
_rules = st.lists(
    st.tuples(st.sampled_from(AGGREGATES), st.sampled_from([4, 10, 25]), st.integers(0, 30)), min_size=3, max_size=3
)


def in_order_by_channel(rows):
    """Without the values that come after a later one of their channel."""
    newest, kept = {}, []
    for machine, time, values in rows:
        fits = [time >= newest.get((machine, i), time) for i in range(len(values))]
        newest |= {(machine, i): time for i, value in enumerate(values) if fits[i] and not math.isnan(value)}
        kept.append((machine, time, tuple(v if fit else NAN for v, fit in zip(values, fits, strict=True))))
    return kept


@settings(max_examples=150, deadline=None)
@given(_rows, _rules, st.sampled_from([3, 35]), st.booleans(), st.integers(0, 12), st.sampled_from([4, 2048]))
def test_a_recording_as_a_table_and_as_messages_gives_the_same_observations(rows, specs, max_gap, live, poll, most):
    rules = rules_of(*(Rule(f"c{i}", kind, age, late) for i, (kind, age, late) in enumerate(specs)), max_gap=max_gap)

    def arrives(row):
        return row[1] + (min((specs[i][2] for i in range(3) if not math.isnan(row[2][i])), default=0) if live else 0)

    arriving = in_order_by_channel(sorted(rows, key=arrives))
    machines, again = Machines(rules, 2), [0, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_ROWS", most)
        patch.setattr(module, "KEPT_ROWS", 2)
        in_order = arriving if most == 2048 else sorted(arriving, key=lambda row: row[1])
        for i, row in enumerate(in_order):
            if live and most == 2048:
                machines.now = arrives(row)
            if poll and i % poll == 0:
                machines.ready()
            if not all(map(math.isnan, row[2])) and not machines.add(row[1], *row[2], machine=row[0]):
                # All channels had spoken at the end of a window, or rows up to this time were added up.
                again[row[0]] += sum(not math.isnan(value) for value in row[2])
        while machines.ready():
            pass
        machines.flush()

    for machine, got in enumerate(machines.got):
        own = [row for row in in_order if row[0] == machine]
        if most == 4 and len({row[1] for row in own}) < len(own):
            continue
        table = np.array([row[2] for row in own], np.float32).reshape(-1, 3)
        expected = assemble_table(rules, np.array([row[1] for row in own], np.int64), table)
        last = max((row[1] for row in own if not all(map(math.isnan, row[2]))), default=0)
        count = len(expected.time)
        assert [time for time, _ in got][:count] == expected.time.tolist()
        assert all(np.array_equal(g[1], e, equal_nan=True) for g, e in zip(got, expected.readings, strict=False))
        assert all(time - rules.interval >= last for time, _ in got[count:])
        assert machines.assembler.duplicate[machine] + again[machine] == expected.duplicates


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 100), st.floats(width=32, allow_nan=False), st.integers(-50, 200)), max_size=30)
)
def test_nothing_that_arrives_raises_and_time_only_goes_on(arrivals):
    machine = Machines(one("rms", max_gap=30))
    for time, value, passed in arrivals:
        machine.now += passed
        machine.add(time, value)
        machine.ready()
    machine.flush()
    times = [time for time, _ in machine.got[0]]
    assert times == sorted(set(times))


def test_a_fast_stream_in_long_windows_is_added_up_on_the_way():
    rules = rules_of(*(Rule(kind, kind, 100_000) for kind in AGGREGATES), interval=100_000)
    rng = np.random.default_rng(2)
    table = rng.normal(size=(20_000, len(AGGREGATES))).astype(np.float32)
    machine = Machines(rules)
    for time, row in enumerate(table.tolist(), 1):
        machine.add(time, *row)
        window = machine.assembler.machines[0].window
        assert len(window.rows) < module.MOST_ROWS
    machine.flush()
    expected = assemble_table(rules, np.arange(1, 20_001), table)
    assert np.array_equal(machine.got[0][0][1], expected.readings[0])
