import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.assembly import assemble_table
from edge_runtime.intake import snapshots
from edge_runtime.sources.source import Arrival, WaveformArrival
from tests.edge_runtime.intake.plant import AS_THEY_COME, CYCLES, MINUTES, SECOND, START, Plant

NAN = math.nan
ALL = {"flow": 1.0, "speed": 2, "trips": 3.0}


# ---------------------------------------------------------------------- each message an observation


def test_each_message_is_an_observation_where_nothing_is_assembled():
    plant = Plant(time=AS_THEY_COME)
    plant.add("a", 1, ALL)
    plant.add("b", 1, {"speed": 5})
    plant.add("a", 2, ALL | {"flow": 7})
    first, second = plant.round()
    assert first.rows.tolist() == [0, 1]
    assert second.rows.tolist() == [0]
    assert str(first.readings.tolist()) == "[[1.0, 2.0, 3.0], [nan, 5.0, nan]]"
    assert first.t_rx.tolist() == [START, START]
    assert (first.readings.dtype, first.time.dtype, first.event.dtype) == (np.float32, np.int64, np.float32)
    assert first.event.tolist() == [0, 0]
    assert np.isnan(first.age).all()
    assert plant.intake.next_deadline() is None


def test_what_is_not_later_is_refused_and_its_receipt_given_back():
    plant = Plant(time=AS_THEY_COME)
    for seconds in (5, 5, 4, 6):
        plant.add("a", seconds, ALL)
    plant.round()
    plant.add("a", 6, ALL)
    plant.round()
    assert [row[0] for row in plant.observed()] == [5, 6]
    assert plant.intake.counts == {"duplicate": 2, "late": 1}
    assert (plant.intake.duplicate.tolist(), plant.intake.late.tolist()) == ([2, 0], [1, 0])
    assert sorted(plant.back) == [1, 2, 3, 4, 5]


def test_the_first_few_unknown_names_are_logged_once_each(caplog):
    plant = Plant(time=AS_THEY_COME)
    for seconds in range(1, 4):
        plant.add("a", seconds, ALL | {"flwo": 1.0})
    plant.add_waveform("a", 4, 0.0, channel="shape")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "source '?' sends an unknown channel 'flwo': the class does not have it: did you mean 'flow'?",
        "source '?' sends an unknown waveform 'shape': the class does not have it: did you mean 'shake'?",
    ]
    caplog.clear()
    for number in range(900):
        plant.add("a", 5 + number, ALL | {f"x{number}" * 100: 1.0})
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5
    assert told[-1] == "source '?' sends more unknown names of the kind 'channel': they are only counted"
    assert all(len(line) < 250 for line in told)
    assert plant.intake.counts["unknown_channel"] == 904


def test_receipts_go_with_the_last_batch():
    plant = Plant(time=AS_THEY_COME)
    plant.add("a", 1, ALL)
    plant.add("a", 2, ALL, receipt=False)
    plant.add("a", 3, ALL)
    assert [len(batch.receipts) for batch in plant.round()] == [0, 0, 2]


def test_cycles_are_never_assembled_and_have_no_calendar():
    plant = Plant(time=CYCLES | {"assemble": True})
    plant.add_at("a", 3 * SECOND, ALL | {"event": 1, "age": 2.5})
    plant.add_at("a", 10**17, ALL)
    plant.round()
    assert [batch.time.tolist() for batch in plant.batches] == [[3 * SECOND], [10**17]]
    assert [batch.event.tolist() for batch in plant.batches] == [[1], [0]]
    assert plant.batches[0].age.tolist() == [2.5]


# ---------------------------------------------------------------------- windows


def test_observations_are_assembled_and_samples_journalled():
    plant = Plant()
    plant.add("a", 10, {"flow": 1, "speed": 100})
    plant.add("a", 30, {"flow": 3, "trips": 1})
    plant.add("b", 30, {"speed": 7})
    assert plant.round() == []
    (samples,) = plant.journal
    assert samples.rows.tolist() == [0, 0, 1]
    assert str(samples.values[1].tolist()) == "[3.0, nan, 1.0, nan, nan]"
    assert plant.back == [1, 2, 3]
    plant.clock.turn(31)
    (batch,) = plant.round()
    assert batch.time.tolist() == [START + 60 * SECOND] * 2
    assert str(batch.readings.tolist()) == "[[2.0, 100.0, 1.0], [nan, 7.0, 0.0]]"


def test_the_deadline_is_when_the_next_window_closes():
    plant = Plant()
    assert plant.intake.next_deadline() is None
    plant.add("a", 50, ALL)
    plant.add("b", 40, ALL)
    deadline = plant.intake.next_deadline()
    assert deadline == plant.clock.monotonic() + 10 * SECOND + 1
    plant.clock.now += 10 * SECOND
    assert plant.round() == []
    plant.clock.now += 1
    assert [batch.rows.tolist() for batch in plant.round()] == [[0]]
    assert plant.intake.next_deadline() == deadline + 10 * SECOND


def test_a_late_sample_is_counted_by_machine_and_changes_nothing():
    plant = Plant()
    plant.add("a", 10, {"flow": 1})
    plant.add("a", 70, {"flow": 5})
    plant.round()
    plant.add("a", 20, {"flow": 100})
    plant.add("a", 80, {"flow": 7})
    plant.add("a", 80, {"flow": 9})
    plant.add("a", 130, {"flow": 7})
    plant.round()
    assert [row[:2] for row in plant.observed()] == [(60, 1), (120, 6)]
    assert plant.intake.counts == {"late": 1, "duplicate": 1}
    assert (plant.intake.late.tolist(), plant.intake.duplicate.tolist()) == ([1, 0], [1, 0])
    assert plant.back == [1, 2, 3, 4, 5, 6] or sorted(plant.back) == [1, 2, 3, 4, 5, 6]


_number = st.one_of(st.floats(width=32), st.integers(-1000, 1000), st.none(), st.booleans(), st.just("7"))
_message = st.tuples(
    st.sampled_from("ab"),
    st.integers(0, 900),
    st.dictionaries(st.sampled_from(["flow", "speed", "trips", "noise"]), _number, max_size=4),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_message, min_size=1, max_size=40), st.integers(0, 7))
def test_messages_give_what_their_table_gives(messages, poll):
    messages = sorted(messages, key=lambda message: message[1])
    plant = Plant()
    for i, (asset, seconds, values) in enumerate(messages):
        if poll and i % poll == 0:
            plant.round()
        plant.add(asset, seconds, values)
    plant.clock.turn(2000)
    while plant.round():
        pass
    for asset in "ab":
        rows = [
            (seconds, *(usable(values.get(name)) for name in plant.intake.channels))
            for own, seconds, values in messages
            if own == asset
        ]
        table = np.array(rows, np.float64).reshape(-1, 4)
        times = START + table[:, 0].astype(np.int64) * SECOND
        expected = assemble_table(plant.intake.rules, times, table[:, 1:].astype(np.float32))
        got = plant.observed(asset)
        want = [
            ((t - START) / SECOND, *r) for t, r in zip(expected.time.tolist(), expected.readings.tolist(), strict=True)
        ]
        assert str(got[: len(want)]) == str(want)  # after them come those of the silence at the end
        assert sorted(plant.back) == list(range(1, len(messages) + 1))


def usable(value):
    return value if isinstance(value, float | int) and not isinstance(value, bool) else NAN


# ---------------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize("time", [MINUTES, AS_THEY_COME])
@pytest.mark.parametrize(
    ("values", "counted", "kept"),
    [
        ({"flow": None, "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": True, "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": "12", "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": [1], "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": NAN, "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": 10**400, "speed": 1}, {"not_a_number": 1}, [NAN, 1]),
        ({"flow": math.inf, "speed": 1}, {}, [math.inf, 1]),
        ({"flow": -1e300, "speed": 1}, {}, [-math.inf, 1]),
        ({"flow": np.float32(2), "speed": np.int16(1)}, {}, [2, 1]),
        ({"noise": 3, "speed": 1}, {"unknown_channel": 1}, [NAN, 1]),
        ({"noise": 3}, {"unknown_channel": 1, "empty": 1}, None),
        ({}, {"empty": 1}, None),
        ([1, 2], {"empty": 1}, None),
        ("flow", {"empty": 1}, None),
        (None, {"empty": 1}, None),
        ({"speed": 1, "event": 3}, {"unknown_event": 1}, [NAN, 1]),
        ({"speed": 1, "event": 0.5}, {"unknown_event": 1}, [NAN, 1]),
        ({"speed": 1, "age": -1}, {"impossible_age": 1}, [NAN, 1]),
        ({"speed": 1, "age": math.inf}, {"impossible_age": 1}, [NAN, 1]),
        ({"speed": 1, "age": "old"}, {"not_a_number": 1}, [NAN, 1]),
    ],
)
def test_values_are_refused_one_by_one(time, values, counted, kept):
    plant = Plant(time=time)
    for seconds in (5, 6):  # the second of its kind may go a shorter way
        plant.add("a", seconds, values)
    plant.clock.turn(60)
    plant.round()
    assert plant.intake.counts == {reason: 2 * count for reason, count in counted.items()}
    assert plant.back == [1, 2]
    if kept is None:
        assert plant.batches == []
    else:
        assert str(plant.observed()[-1][1:3]) == str(tuple(map(float, kept)))


def test_no_event_is_nothing_where_samples_are_assembled():
    plant = Plant(time=MINUTES)
    for seconds in (5, 6):
        plant.add("a", seconds, {"event": 0})
    plant.add("a", 7, {"event": 2})
    plant.round()
    assert plant.intake.counts == {"empty": 2}
    assert plant.back == [1, 2, 3]


@pytest.mark.parametrize("channels", [MINUTES, AS_THEY_COME])
@pytest.mark.parametrize(
    ("asset", "time", "reason"),
    [
        ("c", START, "unknown_asset"),
        (None, START, "unknown_asset"),
        (["a"], START, "unknown_asset"),
        ("a", "now", "unusable_time"),
        ("a", float(START), "unusable_time"),
        ("a", True, "unusable_time"),
        ("a", None, "unusable_time"),
        ("a", 2**70, "unusable_time"),
        ("a", START // 10**6, "before_1990"),
        ("a", START // 10**9, "before_1990"),
        ("a", START + 1000 * SECOND + 1, "future"),
        ("a", START + 10**17, "future"),
    ],
)
def test_messages_without_a_machine_or_a_time_are_refused(channels, asset, time, reason):
    plant = Plant(time=channels)
    plant.add_at(asset, time, ALL)
    plant.intake.add_waveform(WaveformArrival(asset, "shake", time, np.zeros((1, 4), np.float32), "source", 2))
    plant.round()
    assert plant.intake.counts == {reason: 2}
    assert plant.back == [1, 2]
    assert plant.batches == []


def test_a_future_time_is_fine_up_to_the_limit():
    plant = Plant(time=AS_THEY_COME)
    plant.add_at("a", START + 1000 * SECOND, ALL)
    assert len(plant.round()) == 1


_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
_names = st.sampled_from(["flow", "speed", "trips", "event", "age", "shake", ""])
_arrivals = st.one_of(
    st.builds(
        Arrival,
        st.one_of(st.sampled_from("ab"), _anything),
        st.one_of(st.integers(START - 200 * SECOND, START + 100 * SECOND), _anything),
        st.one_of(st.dictionaries(st.one_of(_names, st.text(max_size=2)), _anything, max_size=5), _anything),
        st.just("source"),
        st.just(True),
    ),
    st.builds(
        WaveformArrival,
        st.one_of(st.sampled_from("ab"), _anything),
        st.one_of(st.just("shake"), _anything),
        st.one_of(st.integers(START - 200 * SECOND, START + 100 * SECOND), _anything),
        st.one_of(st.just(np.ones((1, 4), np.float32)), st.just(np.array([["x"] * 4])), _anything),
        st.just("source"),
        st.just(True),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(_arrivals, st.integers(-30, 100), st.booleans()), max_size=25),
    st.sampled_from([MINUTES, AS_THEY_COME, CYCLES]),
)
def test_nothing_that_arrives_raises_and_each_receipt_comes_back_once(arrivals, time):
    plant = Plant(time=time)
    for i, (arrival, passed, look) in enumerate(arrivals):
        arrival = arrival._replace(receipt=i)
        (plant.intake.add if isinstance(arrival, Arrival) else plant.intake.add_waveform)(arrival)
        plant.clock.turn(passed)
        if look:
            plant.round()
            plant.intake.next_deadline()
            plant.intake.state()
    for _ in range(3):
        plant.clock.turn(900)
        for asset in "ab":  # so that what waits for an observation gets one
            plant.add_at(asset, plant.clock.utc(), ALL, receipt=False)
        plant.round()
    assert sorted(plant.back) == list(range(len(arrivals)))
    for asset in "ab":
        times = [row[0] for row in plant.observed(asset)]
        assert times == sorted(set(times))


def test_one_bad_machine_costs_the_others_nothing():
    plant = Plant(assets=("good", "bad"))
    for seconds in range(0, 600, 10):
        plant.clock.now = START + seconds * SECOND
        plant.add("good", seconds, ALL)
        plant.add("bad", 600 - 3 * seconds, {"flow": "?" * seconds, "speed": NAN, "noise": seconds})
        plant.add("bad", 30 + seconds, {"flow": seconds})
        plant.round()
    assert [row[0] for row in plant.observed("good")] == [60.0 * k for k in range(0, 10)]


# ---------------------------------------------------------------------- events and ages


def test_an_event_in_a_window_without_values_still_makes_it():
    plant = Plant()
    plant.add("a", 30, ALL)
    plant.add("a", 90, {"event": 1})
    plant.add("a", 150, ALL)
    plant.clock.turn(50)
    plant.round()
    assert [row[:2] for row in plant.events()] == [(60, 0), (120, 1), (180, 0)]


def test_an_event_of_a_silent_machine_waits_for_its_next_observation():
    plant = Plant()
    plant.add("a", 30, {"event": 2, "age": 4})
    plant.clock.turn(1000)
    assert plant.round() == []
    plant.add("a", 1000, ALL)
    plant.clock.turn(60)
    plant.round()
    assert plant.events() == [(1020, 2, pytest.approx(4 + (1020 - 30) / 3600))]


def test_a_new_life_outweighs_a_sensor_replaced_in_the_same_window():
    plant = Plant()
    for seconds, event in ((10, 1), (20, 2), (70, 2)):
        plant.add("a", seconds, {"event": event} | ALL)
    plant.clock.turn(120)
    plant.round()
    assert [row[1] for row in plant.events()][:2] == [1, 2]


@pytest.mark.parametrize("time", [MINUTES, AS_THEY_COME])
def test_a_late_event_goes_with_the_next_observation_once(time):
    plant = Plant(time=time)
    plant.add("a", 30, ALL)
    plant.add("a", 90, ALL)
    plant.round()
    for _ in range(2):
        plant.add("a", 20, ALL | {"event": 1})
        plant.clock.turn(30)
        plant.round()
    plant.add("a", 150, ALL)
    plant.clock.turn(100)
    plant.round()
    assert sum(row[1] for row in plant.events()) == 1
    assert plant.intake.counts["late"] == 2
    assert sorted(plant.back) == [1, 2, 3, 4, 5]


def test_the_event_of_a_message_that_is_sent_again_counts_once():
    plant = Plant(time=AS_THEY_COME)
    for seconds in (1, 2, 1, 3):
        plant.add("a", seconds, ALL | {"event": 1 if seconds == 1 else 0})
        plant.round()
    assert [row[1] for row in plant.events()] == [1, 0, 0]


def test_an_age_moves_on_with_time_until_a_new_life():
    plant = Plant()
    plant.add("a", 30, ALL | {"age": 10})
    plant.add("a", 90, ALL)
    plant.add("a", 150, ALL | {"event": 1})
    plant.add("a", 240, ALL | {"event": 1, "age": 0})
    plant.clock.turn(50)
    plant.round()
    hour = 3600
    assert str(plant.events()) == str(
        [
            (60.0, 0.0, float(np.float32(10 + 30 / hour))),
            (120.0, 0.0, float(np.float32(10 + 90 / hour))),
            (180.0, 1.0, NAN),
            (240.0, 1.0, 0.0),
        ]
    )


def test_an_age_of_the_life_before_that_comes_late_is_none_of_the_new_one():
    plant = Plant()
    plant.add("a", 30, ALL | {"age": 5000})
    plant.add("a", 50, {"event": 1})
    plant.add("a", 40, ALL | {"age": 5000})  # while the event waits
    plant.clock.turn(70)
    plant.round()
    plant.add("a", 20, ALL | {"age": 5000})
    plant.add("a", 90, ALL)
    plant.add("a", 55, {"age": 1})
    plant.add("a", 130, ALL)
    plant.clock.turn(120)
    plant.round()
    age = float(np.float32(1 + 65 / 3600))
    assert str(plant.events()[:2]) == str([(60.0, 1.0, NAN), (120.0, 0.0, age)])


# ---------------------------------------------------------------------- waveforms


@pytest.mark.parametrize("time", [MINUTES, AS_THEY_COME])
def test_an_observation_takes_the_newest_waveform_up_to_its_time(time):
    plant = Plant(time=time)
    for seconds, value in ((40, 4), (50, 5), (45, 4.5), (100, 10)):
        plant.add_waveform("b", seconds, value)
    plant.add("a", 60, ALL)
    plant.add("b", 60, ALL)
    plant.add("b", 120, ALL)
    plant.clock.turn(61)
    plant.round()
    first, second = plant.batches[:2]
    samples, places = first.waveforms["shake"]
    assert samples.tolist() == [[[5, 5, 5, 5]]]
    assert first.rows[places].tolist() == [1]
    assert (samples.dtype, places.dtype) == (np.float32, np.int64)
    assert second.waveforms["shake"][0][0, 0, 0] == 10
    assert plant.intake.counts == {"superseded": 2}
    assert sorted(plant.back) == list(range(1, 8))


def test_a_waveform_is_acknowledged_with_its_observation_only():
    plant = Plant()
    plant.add_waveform("a", 30, 1)
    plant.round()
    assert plant.back == []
    plant.clock.turn(31)
    (batch,) = plant.round()
    assert plant.back == [1]
    assert np.isnan(batch.readings[0, :2]).all()
    assert batch.readings[0, 2] == 0  # the machine spoke: it counted no trips
    assert batch.t_rx.tolist() == [START]


@pytest.mark.parametrize("time", [MINUTES, AS_THEY_COME])
def test_a_waveform_that_comes_after_its_observation_goes_with_the_next(time):
    plant = Plant(time=time)
    plant.add("a", 60, ALL)
    plant.clock.turn(1)
    assert len(plant.round()) == 1
    plant.add_waveform("a", 60, 6)
    plant.add("a", 120, ALL)
    plant.clock.turn(1)
    (batch,) = plant.round()
    assert batch.waveforms["shake"][0][0, 0, 0] == 6
    plant.add_waveform("a", 60, 6)
    plant.add_waveform("a", 59, 6)
    plant.round()
    assert plant.intake.counts["duplicate"] == 2
    plant.add_waveform("b", 60, 6)
    plant.add("b", 400, ALL)
    plant.add_waveform("b", -400, 6)
    assert plant.intake.counts["late"] == (time is AS_THEY_COME)


@pytest.mark.parametrize("most", ["MOST", "MOST_BYTES"])
def test_waveforms_without_observations_do_not_pile_up(monkeypatch, most):
    monkeypatch.setattr(snapshots, most, {"MOST": 3, "MOST_BYTES": 3 * 16}[most])
    plant = Plant(time=AS_THEY_COME)
    for seconds in range(1, 11):
        plant.add_waveform("a", seconds, seconds)
    plant.round()
    assert plant.back == list(range(1, 8))
    plant.add("a", 10, ALL)
    (batch,) = plant.round()
    assert batch.waveforms["shake"][0].max() == 10
    assert plant.intake.counts == {"superseded": 9}
    assert plant.intake.snapshots._bytes == 0


@pytest.mark.parametrize(
    ("channel", "samples", "reason"),
    [
        ("hum", 1, "unknown_channel"),
        (None, 1, "unknown_channel"),
        ("shake", np.zeros((2, 4), np.float32), "wrong_shape"),
        ("shake", np.zeros(4, np.float32), "wrong_shape"),
        ("shake", [[1, 2, 3, 4]], "wrong_shape"),
        ("shake", np.array([["1", "2", "3", "4"]]), "wrong_shape"),
        ("shake", None, "wrong_shape"),
    ],
)
def test_waveforms_of_another_kind_are_refused(channel, samples, reason):
    plant = Plant()
    samples = np.full((1, 4), samples, np.float32) if isinstance(samples, int) else samples
    plant.intake.add_waveform(WaveformArrival("a", channel, START, samples, "source", 1))
    plant.round()
    assert plant.intake.counts == {reason: 1}
    assert plant.back == [1]


def test_a_class_of_waveforms_alone_is_observed():
    plant = Plant(channels=[])
    plant.add_waveform("a", 30, 3)
    plant.clock.turn(31)
    (batch,) = plant.round()
    assert batch.readings.shape == (1, 0)
    assert batch.waveforms["shake"][1].tolist() == [0]
