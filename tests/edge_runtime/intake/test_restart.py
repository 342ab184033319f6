"""An intake that is stopped anywhere and put back goes on as if nothing had happened."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.intake import assembler as module
from tests.edge_runtime.intake.plant import AS_THEY_COME, CHANNELS, CYCLES, MINUTES, SECOND, START, Plant

ALL = {"flow": 1.0, "speed": 2, "trips": 3.0}
ASSETS = ("a", "b", "c")
LATE = [channel | {"late": late} for channel, late in zip(CHANNELS, (0, 45, 10), strict=True)]

# What happens, one after the other: time passes, a machine speaks of a moment around now, a round closes what it can.
_values = st.dictionaries(st.sampled_from(["flow", "speed", "trips"]), st.floats(-100, 100, width=32), max_size=3)
_notes = st.fixed_dictionaries({}, optional={"event": st.sampled_from([0, 1, 2]), "age": st.integers(0, 9)})
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.sampled_from([0.5, 7, 40, 400])),
        st.tuples(st.just("add"), st.sampled_from("ab"), st.integers(-90, 30), _values, st.one_of(st.just({}), _notes)),
        st.tuples(st.just("round")),
    ),
    max_size=40,
)


def play(plant, steps):
    for kind, *rest in steps:
        if kind == "turn":
            plant.clock.turn(*rest)
        elif kind == "add":
            asset, ahead, values, notes = rest
            plant.add_at(asset, plant.clock.now + ahead * SECOND, values | notes)
        else:
            plant.round()


def spelled(batches):
    """All there is in batches but receipts, to the bit; a machine's NaN is a machine's NaN."""
    return [
        [
            (field.name, getattr(batch, field.name).tobytes())
            for field in dataclasses.fields(batch)
            if field.name not in ("waveforms", "receipts")
        ]
        + [(name, samples.tobytes(), places.tolist()) for name, (samples, places) in batch.waveforms.items()]
        for batch in batches
    ]


@settings(max_examples=75, deadline=None)
@given(_steps, _steps, _steps, st.sampled_from([MINUTES, AS_THEY_COME]), st.booleans(), st.sampled_from([3, 2048]))
def test_it_goes_on_as_if_nothing_had_happened(before, between, after, time, late, most):
    changes = {"time": time, "channels": LATE if late else CHANNELS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_ROWS", most)
        patch.setattr(module, "KEPT_ROWS", 1)
        plant = Plant(ASSETS, **changes)
        play(plant, [*before, ("round",)])
        state, committed = plant.intake.state(), len(plant.journal)
        play(plant, between)
        plant.add_at("c", plant.clock.now, ALL)  # the journal knows what time it was when the power went
        play(plant, [("round",)])
        journal, moment, done = plant.journal[committed:], plant.clock.now, len(plant.batches)
        sent_again = plant.unacknowledged()
        play(plant, [*after, ("round",), ("turn", 400), ("round",)])

        again = Plant(ASSETS, **changes)
        again.clock.now = moment
        again.resume(state, journal, sent_again)
        play(again, [*after, ("round",), ("turn", 400), ("round",)])
        assert spelled(again.batches) == spelled(plant.batches[done:])

        from_nothing = Plant(ASSETS, **changes)
        from_nothing.clock.now = moment
        from_nothing.resume(None, plant.journal[: committed + len(journal)], sent_again)
        play(from_nothing, [*after, ("round",), ("turn", 400), ("round",)])
        assert spelled(from_nothing.batches) == spelled(plant.batches[done:])


def test_after_a_restart_the_clock_waits_for_what_is_sent_again():
    plant = Plant()
    plant.add("a", 59, {"flow": 1})
    plant.round()
    again = Plant(settle=10 * SECOND)
    again.clock.now = START + 3600 * SECOND
    again.resume(plant.intake.state())
    assert again.intake.next_deadline() == again.clock.monotonic() + 11 * SECOND + 1
    again.clock.turn(9)
    assert again.round() == []
    again.add("a", 60, {"flow": 3})
    again.clock.turn(1)
    assert again.round() == []
    again.clock.turn(1.1)
    assert [row[:2] for batch in [again.round()] for row in again.observed(batches=batch)] == [(60, 2)]


def test_it_remembers_which_channels_have_spoken():
    plant = Plant(channels=LATE)
    plant.add("a", 30, ALL)
    plant.add("a", 65, {"flow": 1, "trips": 1})
    plant.round()
    again = Plant(clock=plant.clock, channels=LATE)
    again.resume(plant.intake.state())
    assert again.round() == []
    again.add("a", 66, {"speed": 1})
    assert [batch.time.tolist() for batch in again.round()] == [[START + 60 * SECOND]]


def test_a_late_sample_that_told_the_time_does_so_again():
    plant = Plant()
    plant.add("a", 50, ALL)
    plant.clock.turn(11)
    plant.round()
    state = plant.intake.state()
    plant.add("a", 51, ALL)  # its clock is ten seconds behind what was believed
    plant.round()
    again = Plant(clock=plant.clock)
    again.resume(state, plant.journal[-1:])
    plant.clock.turn(69)
    assert again.round() == plant.round() == []
    plant.clock.turn(1)
    assert spelled(again.round()) == spelled(plant.round()) != []
    assert plant.intake.counts == {"late": 1}
    assert plant.back == [1, 2]


def test_a_machine_that_had_gone_silent_comes_back_in_the_same_batch():
    plant = Plant()
    plant.add("a", 30, ALL)
    for _ in range(10):
        plant.clock.turn(60)
        plant.round()
    plant.add("b", 600, ALL)
    plant.round()
    again = Plant(clock=plant.clock)
    again.resume(journal=plant.journal)
    for one in (plant, again):
        one.add("a", 655, ALL)
        one.add("b", 655, ALL)
    plant.clock.turn(6)
    batches = plant.round()
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [1]]
    assert spelled(again.round()) == spelled(batches)


def test_a_late_message_replays_its_event_and_its_time():
    plant = Plant()
    plant.add("a", 50, ALL)
    plant.clock.turn(11)
    plant.round()
    committed = len(plant.journal)
    state = plant.intake.state()
    plant.add("a", 51, ALL | {"event": 1})
    plant.round()
    assert len(plant.journal) == committed + 1
    again = Plant(clock=plant.clock)
    again.resume(state, plant.journal[committed:])
    plant.clock.turn(68.9)
    assert again.round() == plant.round() == []
    plant.clock.turn(0.2)
    assert spelled(again.round()) == spelled(plant.round())
    assert [row[1] for row in plant.events()] == [0, 1]


def test_waveforms_wait_for_their_source_to_send_them_again():
    plant = Plant()
    plant.add("a", 30, ALL)
    plant.add_waveform("a", 40, 4)
    plant.round()
    plant.add_waveform("b", 50, 5)
    plant.clock.turn(31)
    plant.round()
    state = plant.intake.state()
    again = Plant(clock=plant.clock)
    again.resume(state)
    again.add_waveform("a", 40, 4)
    again.add_waveform("b", 110, 5)
    again.clock.turn(70)
    batches = again.round()
    assert again.intake.counts == {"duplicate": 1}
    assert [batch.waveforms["shake"][0].max() for batch in batches if batch.waveforms] == [5]


def test_a_replayed_waveform_is_not_used_twice():
    plant = Plant(time=AS_THEY_COME)
    plant.add_waveform("a", 40, 4)
    plant.add("a", 40, ALL)
    plant.round()
    again = Plant(time=AS_THEY_COME)
    again.resume(journal=plant.journal)
    again.add_waveform("a", 40, 4)
    again.add("a", 40, ALL)
    again.round()
    assert again.intake.counts == {"duplicate": 2}


def test_other_machines_take_over_what_is_theirs():
    plant = Plant(("a", "b", "c"))
    for asset in "abc":
        plant.add(asset, 30, {"flow": ord(asset), "age": 1})
        plant.add(asset, 70, {"flow": 1})
    plant.round()
    again = Plant(("d", "c", "a"), clock=plant.clock)
    again.resume(plant.intake.state())
    again.clock.turn(60)
    again.round()
    assert [row[:2] for row in again.observed("a")] == [(120, 1)]
    assert [row[:2] for row in again.observed("c")] == [(120, 1)]
    assert again.observed("d") == []
    assert again.events("c")[0][2] == pytest.approx(1 + 90 / 3600)
    again.add("a", 30, {"flow": 1})
    assert again.intake.counts == {"late": 1}


def test_the_next_bundle_takes_over_the_channels_it_shares():
    plant = Plant()
    plant.add("a", 50, {"flow": 4, "speed": 8, "trips": 1})
    plant.add("a", 61, {"flow": 10, "speed": 20})
    plant.add("a", 62, {"speed": 30})
    plant.round()
    channels = [CHANNELS[1] | {"aggregate": "max"}, {**CHANNELS[0], "name": "noise"}, CHANNELS[0]]
    again = Plant(clock=plant.clock, channels=channels)
    again.resume(plant.intake.state())
    again.clock.turn(121)
    again.round()
    assert str(again.observed()[0]) == "(120.0, 30.0, nan, 10.0)"


def test_the_next_bundle_may_have_other_windows():
    plant = Plant()
    for seconds in (50, 61, 100, 101, 119):
        plant.add("a", seconds, {"flow": seconds})
    plant.round()
    again = Plant(clock=plant.clock, time=MINUTES | {"interval": 25})
    again.resume(plant.intake.state())
    again.add("a", 58, {"flow": 1})
    again.add("a", 200, {"flow": 1})
    again.round()
    assert [row[:2] for row in again.observed()][:3] == [(75, 61), (100, 100), (125, 110)]
    assert again.intake.counts == {"late": 1}


def test_rows_that_were_added_up_go_over_too(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    monkeypatch.setattr(module, "KEPT_ROWS", 1)
    plant = Plant()
    for seconds in range(1, 11):
        plant.add("a", seconds, {"flow": seconds, "trips": 0})
    again = Plant(clock=plant.clock, channels=[CHANNELS[2], CHANNELS[1], CHANNELS[0] | {"aggregate": "last"}])
    again.resume(plant.intake.state())
    again.clock.turn(61)
    again.round()
    assert str(again.observed()[0]) == "(60.0, 10.0, nan, 10.0)"


@pytest.mark.parametrize("time", [MINUTES, AS_THEY_COME, CYCLES])
def test_what_is_no_state_is_refused(time):
    plant = Plant(time=time)
    plant.add_at("a", START, ALL | {"event": 1, "age": 3})
    plant.round()
    state = plant.intake.state()
    for damaged in (b"", b"nonsense", state[: len(state) // 2], state[:-30]):
        with pytest.raises(StateError, match="cannot be read"):
            Plant(time=time).intake.restore(damaged)


def test_a_state_of_another_kind_is_refused():
    with pytest.raises(StateError, match="assembles otherwise"):
        Plant(time=AS_THEY_COME).intake.restore(Plant().intake.state())
    newer = Plant().intake.state().replace(rb"\"version\": 1", rb"\"version\": 2")
    with pytest.raises(StateError, match="is of version 2, this software reads 1"):
        Plant().intake.restore(newer)
