import logging
import threading

import numpy as np
import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.gateway import engine as engine_module
from edge_runtime.journal.work import Work
from tests.edge_runtime.gateway.rig import MINUTE, SECOND, START, Rig, TurnedClock
from tests.edge_runtime.tiny import tiny_bundle

ASSETS = ("a", "b", "c")
CYCLES = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50, "assemble": False}


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def plant(tmp_path, bundle):
    made = Rig(tmp_path / "data", {"tiny": (bundle, ASSETS)}, TurnedClock())
    yield made
    made.close()


@pytest.fixture
def cycles(tmp_path):
    """Each message is an observation."""
    folder = tiny_bundle(tmp_path / "cycles", time=CYCLES)
    made = Rig(tmp_path / "data", {"tiny": (folder, ASSETS)}, TurnedClock())
    yield made
    made.close()


def send_minutes(plant, asset, minutes, flow=1.0):
    """One message in the middle of each of these minutes; the next one closes the observation of the one before."""
    for minute in minutes:
        plant.source.send(asset, START + minute * MINUTE + 30 * SECOND, {"flow": flow + minute, "speed": 100.0})


def test_from_message_to_block(plant):
    send_minutes(plant, "b", range(-4, 0))
    plant.step()
    assert plant.fleet().number.tolist() == [0, 3, 0], "the newest minute is still open"
    assert plant.source.waiting == {}, "samples are acknowledged before their observation closes"
    assert set(plant.source.acknowledged.values()) == {1}
    assert plant.hub.of("observation") == {}, "rows wait for others"
    plant.clock.turn(3)
    plant.step()
    observations, prognoses = plant.hub.of("observation", "b"), plant.hub.of("prognosis", "b")
    assert list(observations) == list(prognoses) == [1, 2, 3]
    time, (readings, *_), _ = observations[2]
    assert time == START - 2 * MINUTE
    assert np.frombuffer(readings, np.float32).tolist() == [-2.0, 100.0]
    assert np.frombuffer(prognoses[3][1]["rul"], np.float32) == [97]


def test_an_observation_closes_on_its_deadline_though_nothing_comes(plant):
    send_minutes(plant, "a", [-1])
    plant.step()
    wait = plant.engine._pause()
    assert 0 < wait <= 30
    plant.clock.turn(31)
    plant.step()
    assert plant.fleet().number.tolist() == [1, 0, 0]


def test_each_message_is_an_observation_where_nothing_is_assembled(cycles):
    for time in (1, 2, 3):
        for asset in ASSETS:
            cycles.source.send(asset, time * SECOND, {"flow": 1.0, "speed": 2.0})
    cycles.step()
    assert cycles.fleet().number.tolist() == [3, 3, 3]
    assert cycles.engine.counts["batches"] == 3, "all machines in one call"
    cycles.source.send("a", 3 * SECOND, {"flow": 9.0})
    cycles.source.send("a", 2 * SECOND, {"flow": 9.0})
    cycles.step()
    assert cycles.fleet().number.tolist() == [3, 3, 3]
    assert cycles.source.waiting == {}, "duplicate and late: acknowledged, for they would only come again"


def test_an_alarm_is_raised_changed_and_cleared_at_once_and_upstream_first(cycles):
    for time in range(1, 6):
        cycles.source.send("b", time * SECOND, {"flow": 1.0})
        cycles.step()
    cycles.source.send("b", 6 * SECOND, {"flow": 1.0, "event": 1})
    cycles.step()
    told = [(a["state"], a["level"], a["previous"], a["number"]) for a in cycles.hub.alarms]
    assert told == [("raised", 1, 0, 2), ("changed", 2, 1, 4), ("cleared", 0, 2, 6)]
    assert {a["id"] for a in cycles.hub.alarms} == {"b-1-2"}
    assert cycles.hub.alarms[0]["since"] == cycles.hub.alarms[2]["since"] == 2 * SECOND
    assert cycles.hub.alarms[1]["prognosis"]["rul"] == 96
    assert {lane for _, lane, _ in cycles.hub.messages} == {Lane.ALARM}


def test_an_interval_is_summed_up_though_all_machines_have_fallen_silent(cycles):
    for time in range(3):
        cycles.source.send("a", time * SECOND, {"flow": 1.0})
    cycles.step()
    for _ in range(70):
        cycles.clock.turn(60)
        cycles.step()
    assert list(cycles.hub.of("summary", "a")) == [3]
    assert not cycles.engine._has_summaries()


def test_a_fault_in_what_goes_up_costs_neither_an_alarm_nor_the_next_start(tmp_path, cycles, monkeypatch):
    def fails(*_, **__):
        raise ValueError("a fault of this program")

    monkeypatch.setattr("edge_runtime.upstream.summary.Summary.update", fails)
    for time in range(1, 4):
        cycles.source.send("b", time * SECOND, {"flow": 1.0})
        cycles.step()
    assert cycles.engine.counts["faults"] == 3
    assert [(a["state"], a["number"]) for a in cycles.hub.alarms] == [("raised", 2)]
    cycles.kill(committed=True)
    again = Rig(tmp_path / "data", {"tiny": (tmp_path / "cycles", ASSETS)}, cycles.clock, cycles.source, cycles.hub)
    assert again.fleet().number.tolist() == [0, 3, 0]
    assert again.engine.counts["faults"] == 3
    again.close()


def test_a_waveform_goes_with_its_observation_and_is_acknowledged_with_it(plant):
    send_minutes(plant, "a", [-3])
    plant.source.send_waveform("a", "shake", START - 3 * MINUTE + 31 * SECOND, [[1, 2, 7, 3]])
    plant.step()
    assert len(plant.source.waiting) == 1, "a waveform is not journalled before its observation closes"
    send_minutes(plant, "a", [-2])
    plant.step()
    assert plant.source.waiting == {}
    assert plant.fleet().state[0, 2] == 7
    plant.clock.turn(3)
    plant.step()
    assert np.frombuffer(plant.hub.of("observation", "a")[1][2]["shake"], np.float32) == [7]


def test_unknown_machines_are_counted_named_and_acknowledged(plant, caplog):
    plant.source.send("stranger", START, {"flow": 1.0})
    plant.source.send_waveform("stranger", "shake", START, [[0, 0, 0, 0]])
    plant.step()
    assert plant.engine.counts["unknown_asset"] == 2
    told = [record.getMessage() for record in caplog.records if "unknown machine" in record.getMessage()]
    assert told == ["source 'memory' sends an unknown machine 'stranger': machines.csv does not have it"]
    assert plant.source.waiting == {}


def test_the_one_observation_at_which_the_graph_fails_is_left_out(cycles, monkeypatch, caplog):
    step = cycles.fleet().step
    run = type(step).__call__

    def fails(self, feed, wanted=None):
        if (feed["readings"][:, 0] == 13).any():
            raise RuntimeError("bad luck")
        return run(self, feed, wanted)

    monkeypatch.setattr(type(step), "__call__", fails)
    for asset, flow in zip(ASSETS, (1.0, 13.0, 2.0), strict=True):
        cycles.source.send(asset, SECOND, {"flow": flow})
    with caplog.at_level(logging.ERROR):
        cycles.step()
    assert cycles.fleet().number.tolist() == [1, 0, 1]
    assert cycles.engine.twins["tiny"].counts["failed"] == 1
    assert "of b at 1000000000" in caplog.text
    assert cycles.source.waiting == {}
    cycles.source.send("b", 2 * SECOND, {"flow": 1.0})
    cycles.clock.turn(3)
    cycles.step()
    assert list(cycles.hub.of("observation", "b")) == [1]


def test_a_fault_of_ours_leaves_out_one_arrival_and_no_more(plant, monkeypatch, caplog):
    intake = plant.engine.twins["tiny"].intake
    add = intake.add
    monkeypatch.setattr(intake, "add", lambda arrival: 1 / 0 if arrival.asset == "b" else add(arrival))
    for asset in ASSETS:
        send_minutes(plant, asset, [-2, -1])
    plant.step()
    assert plant.fleet().number.tolist() == [1, 0, 1]
    assert plant.engine.counts["faults"] == 2
    assert plant.source.waiting == {}
    assert "ZeroDivisionError" in caplog.text


def test_what_is_made_while_the_centre_is_away_is_backfill(cycles):
    healthy = [False]
    cycles.engine.healthy = lambda: healthy[0]
    cycles.source.send("a", SECOND, {"flow": 1.0})
    cycles.source.send("a", 2 * SECOND, {"flow": 1.0})
    cycles.step()
    cycles.clock.turn(61)
    cycles.step()
    healthy[0] = True
    cycles.source.send("a", 3 * SECOND, {"flow": 1.0})
    cycles.step()
    cycles.clock.turn(3)
    cycles.step()
    lanes = [(lane, message.kind) for (_, lane, _), message in cycles.hub.messages.items()]
    assert lanes == [
        (Lane.ALARM, "alarm"),
        (Lane.BACKFILL, "observation"),
        (Lane.BACKFILL, "prognosis"),
        (Lane.LIVE, "observation"),
        (Lane.LIVE, "prognosis"),
    ]


def test_the_end_of_a_run_leaves_a_checkpoint_and_sends_states(plant):
    send_minutes(plant, "a", [-3, -2, -1])
    plant.finish()
    kinds = [message.kind for message in plant.hub.messages.values()]
    assert kinds == ["alarm", "state", "observation", "prognosis"]
    assert plant.source.waiting == {}
    recovered = plant.reopen()
    assert recovered.checkpoint.position == recovered.next_position - 1 == recovered.cursor
    assert list(recovered.entries) == []


def test_calls_are_made_between_rounds_and_their_work_is_committed(plant):
    plant.engine.call(plant.engine.send_states)
    send_minutes(plant, "a", [-3, -2])
    plant.step()
    assert plant.hub.messages == {}, "no twin had seen anything before the round"
    plant.engine.call(plant.engine.send_states)
    plant.step()
    assert [message.kind for message in plant.hub.messages.values()] == ["state"]


def test_summaries_come_when_their_interval_is_over(plant):
    send_minutes(plant, "a", range(-5, 3))
    plant.clock.turn(120)
    plant.step()
    plant.clock.turn(400)
    send_minutes(plant, "a", [5])
    plant.step()
    counts = {key[-1]: row[0] for (key, (row, _)) in plant.hub.rows.items() if key[0] == "summary"}
    assert counts == {START - 60 * MINUTE: 4}, "the one that closes at START is of the next hour"


class Reluctant:
    """A journal without room."""

    def __init__(self, until):
        self.until, self.tries = until, 0

    def submit(self, _work, _timeout):
        self.tries += 1
        return self.tries > self.until


def test_a_work_for_which_there_is_no_room_is_kept_until_there_is(plant, monkeypatch):
    journal = Reluctant(3)
    monkeypatch.setattr(plant.engine, "journal", journal)
    send_minutes(plant, "a", [-1])
    plant.engine.step()
    assert journal.tries == 4


def test_who_must_not_wait_does_not_wait_for_an_engine_whose_work_finds_no_room(plant, monkeypatch):
    waits, release = threading.Event(), threading.Event()

    class Full:
        def submit(self, _work, timeout):
            assert timeout > 0, "the engine waits, others are not asked for"
            waits.set()
            return release.wait(20)

    monkeypatch.setattr(plant.engine, "journal", Full())
    send_minutes(plant, "a", [-1])
    engine = threading.Thread(target=plant.engine.step)
    engine.start()
    assert waits.wait(20)
    assert not plant.engine.hand_over(Work(urgent=True), timeout=0)
    release.set()
    engine.join()


def test_a_gateway_that_stops_gives_up_on_a_full_disk(plant, monkeypatch):
    monkeypatch.setattr(plant.engine, "journal", Reluctant(10**6))
    monkeypatch.setattr(engine_module, "LAST_TRIES", 2)
    plant.engine.stop()
    with pytest.raises(engine_module.JournalError, match="disk takes nothing"):
        plant.engine.run()


def test_works_without_anything_are_not_submitted(plant, monkeypatch):
    plant.step()
    journal = Reluctant(0)
    monkeypatch.setattr(plant.engine, "journal", journal)
    for _ in range(5):
        plant.engine.step()
    assert journal.tries == 0
    assert Work().size() < 1000
