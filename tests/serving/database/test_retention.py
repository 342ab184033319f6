"""Rows are thinned, then forgotten, by rules of their kind and class; what is young stays as it was."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update

from serving.database import bulk
from serving.database.retention import DAY, SECOND, Retention
from serving.database.settings import RetentionSettings, Rule
from serving.database.tables import (
    acks,
    dead_letters,
    events,
    messages,
    observations,
    prognoses,
    states,
    thinned,
    waveform_features,
    waveform_parts,
    waveforms,
)
from serving.registry.audit import Act
from serving.registry.owners import register

NOW = 1_000 * DAY


class FixedClock:
    def utc(self):
        return NOW

    def monotonic(self):
        return NOW


HOUR = 3600 * SECOND


@pytest.fixture
def machines(database):
    with database.write() as connection:
        for name, kind in (("p1", "pump"), ("p2", "pump"), ("t1", "turbofan")):
            register(connection, Act("test", 1), name, kind)
    return database


def run(database, *rules, **more):
    retention = Retention(database, RetentionSettings(rule=rules, **more), FixedClock())
    return retention.run_once()


def put(database, table, asset, times, **more):
    """Rows that were received when they were measured, numbered from 1."""
    count = len(times)
    columns = {"asset": [asset] * count, "t": list(times), "term": [0] * count, "number": list(range(1, count + 1))}
    columns |= {"t_rx": list(times), "model": [1] * count, "layout": [1] * count}
    if table is prognoses:
        columns |= {"rest": [b""] * count, "alarm": [0] * count}
    elif table is states:
        del columns["layout"]
        columns |= {"asset_class": ["pump"] * count, "body": [b""] * count}
    else:
        columns |= {"body": [b""] * count}
    with database.write() as connection:
        bulk.insert(connection, table, columns | more)


def times_of(database, table, asset):
    with database.read() as connection:
        return list(connection.execute(select(table.c.t).where(table.c.asset == asset).order_by(table.c.t)).scalars())


def count(database, table):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_old_rows_are_forgotten(machines):
    times = [NOW - age * DAY for age in (30, 12, 10, 9, 1)]
    put(machines, observations, 1, times)
    put(machines, observations, 2, [NOW - 400 * DAY])
    removed = run(machines, Rule("observation", 10))
    assert times_of(machines, observations, 1) == times[2:]
    assert times_of(machines, observations, 2) == []
    assert removed["observation"] == 3
    assert run(machines, Rule("observation", 10))["observation"] == 0


def test_what_comes_while_old_rows_are_forgotten_stays(machines, monkeypatch):
    """A machine that was silent for long is heard again between the look at its rows and their removal."""
    put(machines, observations, 1, [0, 10])
    real, new = Retention._transaction, []

    def transaction(self):
        if not new:
            new.append(NOW - DAY)
            put(machines, observations, 1, [NOW - DAY, 5], number=[3, 4], t_rx=[NOW - DAY] * 2)
            features = {"asset": [1], "t": [NOW - DAY], "term": [0], "number": [3], "channel": ["v"], "body": [b""]}
            with machines.write() as connection:
                bulk.insert(connection, waveform_features, features)
        return real(self)

    monkeypatch.setattr(Retention, "_transaction", transaction)
    assert run(machines, Rule("observation", days=30))["observation"] == 2
    assert times_of(machines, observations, 1) == [5, NOW - DAY]
    assert times_of(machines, waveform_features, 1) == [NOW - DAY]


def test_features_go_with_their_observations(machines):
    times = [NOW - 12 * DAY, NOW]
    put(machines, observations, 1, times)
    with machines.write() as connection:
        for number, t in enumerate(times, 1):
            row = {"asset": 1, "term": 0, "number": number, "channel": "shake", "t": t, "body": b""}
            connection.execute(insert(waveform_features).values(**row))
    assert run(machines, Rule("observation", 10))["features"] == 1
    assert times_of(machines, waveform_features, 1) == [NOW]


def test_a_class_with_a_rule_of_its_own(machines):
    for asset in (1, 3):
        put(machines, observations, asset, [NOW - 20 * DAY])
    run(machines, Rule("observation", 10), Rule("observation", 30, class_="turbofan"))
    assert times_of(machines, observations, 1) == []
    assert times_of(machines, observations, 3) == [NOW - 20 * DAY]


def test_time_in_cycles_ages_by_its_reception(machines):
    put(machines, observations, 3, [1 * SECOND, 2 * SECOND], t_rx=[NOW - 20 * DAY, NOW - DAY])
    run(machines, Rule("observation", 10))
    assert times_of(machines, observations, 3) == [2 * SECOND]


def test_of_each_hour_the_worst_remains(machines):
    start = NOW - 20 * DAY
    times = [start + minute * 60 * SECOND for minute in range(0, 180, 10)]
    alarms = [0] * 18
    alarms[2], alarms[3], alarms[4] = 1, 2, 2  # in the first hour
    put(machines, prognoses, 1, [*times, NOW], alarm=[*alarms, 0])
    rule = Rule("prognosis", 10, thin=3600, thin_days=30)
    assert run(machines, rule)["prognosis_thinned"] == 15
    assert times_of(machines, prognoses, 1) == [times[4], times[11], times[17], NOW]
    assert run(machines, rule)["prognosis_thinned"] == 0


def test_an_hour_that_is_not_over_waits(machines):
    """Whether its worst has come yet, nobody knows."""
    edge = NOW - 10 * DAY  # on a full hour
    times = [edge - 70 * 60 * SECOND, edge - 65 * 60 * SECOND, edge - 10 * 60 * SECOND, edge - 5 * 60 * SECOND]
    put(machines, prognoses, 1, [*times, edge + 1])
    run(machines, Rule("prognosis", 10 + 1 / 48, thin=3600, thin_days=30))  # half an hour later
    assert times_of(machines, prognoses, 1) == [times[1], *times[2:], edge + 1]


def test_thinned_rows_are_forgotten_at_last(machines):
    put(machines, prognoses, 1, [NOW - 40 * DAY, NOW - 20 * DAY, NOW - 20 * DAY + SECOND, NOW])
    run(machines, Rule("prognosis", 10, thin=3600, thin_days=30))
    assert times_of(machines, prognoses, 1) == [NOW - 20 * DAY + SECOND, NOW]


@given(
    st.lists(st.integers(0, 60 * 24), min_size=1, max_size=80, unique=True),
    st.sampled_from([600, 3600, 7000]),
    st.integers(0, 30),
    st.integers(1, 7),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_step_keeps_one_however_small_the_pieces(monkeypatch, machines, minutes, step, young, piece):
    monkeypatch.setattr("serving.database.retention._ROWS", piece)
    with machines.write() as connection:
        for table in (prognoses, thinned):
            connection.execute(delete(table))
    start = NOW - 20 * DAY
    times = [start + minute * 60 * SECOND for minute in sorted(minutes)]
    # The last `young` of them were received just now.
    received = [t if place < len(times) - young else NOW for place, t in enumerate(times)]
    alarm = [t // (60 * SECOND) % 3 for t in times]
    put(machines, prognoses, 1, times, t_rx=received, alarm=alarm)
    run(machines, Rule("prognosis", 10, thin=step, thin_days=30))
    left = times_of(machines, prognoses, 1)
    width = step * SECOND
    old = [t for t, rx in zip(times, received, strict=True) if rx < NOW]
    end = times[len(old)] if len(old) < len(times) else times[-1]
    end -= end % width
    expected = {}
    for t, level in zip(times, alarm, strict=True):
        key = t - t % width if t < end else t
        if key not in expected or (level, t) > expected[key]:
            expected[key] = (level, t)
    assert left == sorted(t for _, t in expected.values())


def test_waveforms_and_their_parts(machines):
    def waveform(number, age, body):
        row = {"asset": 1, "term": 0, "number": number, "channel": "shake", "t": 1, "t_rx": 1, "at": NOW - age * DAY}
        row |= {"model": 1, "axes": 1, "samples": 1, "encoding": "raw", "parts": 2, "size": 4, "sha256": "0"}
        with machines.write() as connection:
            connection.execute(insert(waveforms).values(**row, body=body))
            if body is None:
                key = {name: row[name] for name in ("asset", "term", "number", "channel")}
                connection.execute(insert(waveform_parts).values(**key, part=0, body=b"x"))

    waveform(1, 20, b"abcd")
    waveform(2, 5, b"abcd")
    waveform(3, 5, None)  # the rest of it never came
    waveform(4, 0.5, None)
    removed = run(machines, Rule("waveform", 10))
    assert (removed["waveform"], removed["part"]) == (2, 1)
    with machines.read() as connection:
        assert sorted(connection.execute(select(waveforms.c.number)).scalars()) == [2, 4]
        assert list(connection.execute(select(waveform_parts.c.number)).scalars()) == [4]


def test_a_waveform_that_gets_complete_meanwhile_stays(machines, monkeypatch):
    row = {"asset": 1, "term": 0, "number": 1, "channel": "shake", "t": 1, "t_rx": 1, "at": NOW - 2 * DAY, "model": 1}
    row |= {"axes": 1, "samples": 1, "encoding": "raw", "parts": 2, "size": 4, "sha256": "0"}
    with machines.write() as connection:
        connection.execute(insert(waveforms).values(**row, body=None))
    real = Retention._transaction

    def transaction(self):
        with machines.write() as connection:
            connection.execute(update(waveforms).values(body=b"abcd"))
        return real(self)

    monkeypatch.setattr(Retention, "_transaction", transaction)
    run(machines, Rule("waveform", 10))
    assert count(machines, waveforms) == 1


def test_what_has_no_machine(database, monkeypatch):
    monkeypatch.setattr("serving.database.retention._ROWS", 2)
    with database.write() as connection:
        for number, age in enumerate((20, 19, 18, 17, 1)):
            at = NOW - age * DAY
            key = {"gateway": 1, "epoch": number, "lane": 1}
            row = {"kind": "event", "t_rx": 1, "backfill": False, "synced": True, "rows": 1, "bytes": 1}
            connection.execute(insert(messages).values(**key, seq=1, at=at, **row))
            connection.execute(insert(acks).values(**key, upto=1, ranges=[], at=at))
            told = {"gateway": 1, "id": f"e{number}", "state": "noted", "t": 1, "code": "disk", "severity": "info"}
            connection.execute(insert(events).values(**told, detail="", counts={}, simulated=False, at=at))
            letter(connection, number, at)
    removed = run(database, Rule("message", 10), Rule("event", 10), Rule("dead_letter", 10))
    assert [removed[kind] for kind in ("message", "ack", "event", "dead_letter")] == [4] * 4
    assert [count(database, table) for table in (messages, acks, events, dead_letters)] == [1] * 4


def letter(connection, number, at, payload=b"x"):
    row = {"sha256": f"{number}", "reason": "json", "detail": "", "gateway": "g", "topic": "t", "content": ""}
    row |= {"payload": payload, "size": len(payload), "at": at, "last_at": at, "times": 1}
    connection.execute(insert(dead_letters).values(**row))


def test_dead_letters_do_not_fill_the_disk(database):
    with database.write() as connection:
        for number in range(5):
            letter(connection, number, NOW - DAY + number, bytes(400_000))
    assert run(database, dead_letters=1)["dead_letter"] == 3
    with database.read() as connection:
        assert sorted(connection.execute(select(dead_letters.c.sha256)).scalars()) == ["3", "4"]


def test_one_process_at_a_time(machines):
    """A second one leaves it to the first."""
    put(machines, observations, 1, [NOW - 20 * DAY])
    retention = Retention(machines, RetentionSettings(rule=(Rule("observation", 10),)), FixedClock())
    if machines.sqlite:
        return  # it has one writer at a time as it is
    with retention._transaction() as first:
        assert first is not None
        assert run(machines, Rule("observation", 10))["observation"] == 0
    assert run(machines, Rule("observation", 10))["observation"] == 1


def test_the_thread_goes_on_when_a_round_fails(machines, caplog, monkeypatch):
    put(machines, observations, 1, [NOW - 20 * DAY])
    settings = RetentionSettings(every=0.01, rule=(Rule("observation", 10),))
    retention = Retention(machines, settings, FixedClock())
    rounds = []

    def fail_once():
        rounds.append(1)
        if len(rounds) == 1:
            raise RuntimeError("once")
        return Retention.run_once(retention)

    monkeypatch.setattr(retention, "run_once", fail_once)
    retention.start()
    deadline = 20
    while retention.removed["observation"] < 1 and deadline > 0:
        deadline -= 0.01
        retention._stop.wait(0.01)
    retention.stop()
    assert retention.removed["observation"] == 1
    assert "a round of the retention failed" in caplog.text


def test_rules_that_make_no_sense():
    for wrong, said in (
        ({"kind": "prognosis", "days": 10, "thin": 60}, "thin and thin_days belong together"),
        ({"kind": "prognosis", "days": 10, "thin": 60, "thin_days": 5}, "is not above days"),
        ({"kind": "event", "days": 10, "thin": 60, "thin_days": 50}, "event is not thinned"),
        ({"kind": "event", "days": 10, "class_": "pump"}, "event is of no class"),
    ):
        with pytest.raises(ValueError, match=said):
            Rule(**wrong)
    with pytest.raises(ValueError, match="two rules are of one kind and class"):
        RetentionSettings(rule=(Rule("event", 1), Rule("event", 2)))


def test_defaults_hold_where_no_rule_is_given():
    kinds = [(rule.kind, rule.class_) for rule in RetentionSettings(rule=(Rule("event", 1),)).rules()]
    assert len(kinds) == len(set(kinds)) == 8
    assert Rule("event", 1) in RetentionSettings(rule=(Rule("event", 1),)).rules()
