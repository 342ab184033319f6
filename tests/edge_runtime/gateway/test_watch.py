import json
from collections import Counter
from dataclasses import dataclass, field

import pytest

from edge_runtime.contract.message import Lane
from edge_runtime.gateway import report
from edge_runtime.gateway import watch as watch_module
from edge_runtime.gateway.synchronised import Synchronised
from edge_runtime.gateway.watch import EVENTS, Watch, WatchSettings
from edge_runtime.manifest import Time
from tests.edge_runtime.gateway.rig import START, MemorySource, Rig, TurnedClock
from tests.edge_runtime.tiny import tiny_bundle

MANY = tuple(f"m{i}" for i in range(40))
SECONDS = {"unit": "s", "interval": 60, "tick": 600, "max_gap": 180}


@dataclass
class Report:
    problem: str | None = None
    dropped: Counter = field(default_factory=Counter)


class Watched:
    """A rig that is looked at once a second."""

    def __init__(self, folder, assets=("a", "b")):
        self.clock, self.source = TurnedClock(), MemorySource()
        self.report, self.healthy, self.synced = Report(), True, True
        self.watch = Watch(
            WatchSettings(),
            self.clock,
            folder,
            [self.source],
            self,
            lambda: self.healthy,
            lambda: self.synced,
        )
        bundle = tiny_bundle(folder / "bundle", time=SECONDS)
        self.rig = Rig(folder / "data", {"tiny": (bundle, assets)}, self.clock, self.source, watch=self.watch)

    def status(self):
        return self.report

    def turn(self, seconds):
        """Let time pass, and be looked at as it does; the events of that time."""
        before = len(self.rig.hub.events)
        for _ in range(seconds):
            self.clock.turn(1)
            self.rig.engine.step()
        assert self.rig.journal.flush()
        return [(e["code"], e["state"], e["asset"] or e["source"]) for e in self.rig.hub.events[before:]]

    def hear(self, *assets):
        for asset in assets:
            self.source.send(asset, self.clock.utc(), {"flow": 1.0, "speed": 1.0})


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path)
    yield made
    made.rig.close()


def test_a_silent_machine_is_told_until_it_speaks_again(watched):
    assert watched.turn(100) == []
    watched.hear("a")
    assert watched.turn(90) == [("silent_machine", "raised", "b")]
    watched.hear("a", "b")
    assert watched.turn(2) == [("silent_machine", "cleared", "b")]
    raised, cleared = watched.rig.hub.events
    assert raised["id"] == cleared["id"]
    assert raised["detail"] == "nothing came for 180 s"
    topics = {message.asset for message in watched.rig.hub.messages.values() if message.kind == "event"}
    assert topics == {"b"}


def test_many_silent_machines_are_one_event(tmp_path):
    watched = Watched(tmp_path, MANY)
    assert watched.turn(200) == [("silent_machine", "raised", None)]
    assert watched.rig.hub.events[-1]["detail"].startswith("nothing came of 40 machines of class tiny: m0, m1")
    watched.hear(*MANY[:25])
    assert watched.turn(2) == [], "15 are still many"
    watched.hear(*MANY[25:35])
    told = watched.turn(2)
    assert told[:5] == [("silent_machine", "raised", asset) for asset in MANY[35:]]
    assert told[5:] == [("silent_machine", "cleared", None)]
    watched.rig.close()


def test_a_channel_in_another_unit_is_told_until_its_readings_can_be(watched):
    """The class says 0 … 400 L/min. A missing reading is neither."""

    def minutes(count, **values):
        told = []
        for _ in range(count):
            for asset in ("a", "b"):
                watched.source.send(asset, watched.clock.utc(), {"speed": 1.0, **values})
            told += watched.turn(60)
        return told

    assert minutes(8, flow=2500.0) == []
    assert minutes(3) == [], "fewer than ten, and nothing since"
    assert minutes(4, flow=float("inf")) == [("out_of_range", "raised", None)]
    raised = watched.rig.hub.events[-1]
    assert raised["detail"] == (
        "flow of a, b has been outside 0 … 400 L/min for 10 observations or more: another unit, or a broken sensor?"
    )
    assert report.bundle_status("tiny", watched.rig.engine.twins["tiny"], 1, watched.clock).out_of_range == (
        raised["detail"],
    )
    assert minutes(2, flow=25.0) == [("out_of_range", "cleared", None)]
    assert minutes(12, flow=2500.0, speed=1.0)[-1:] == [("out_of_range", "raised", None)]


def test_classes_say_how_long_is_silent(watched):
    assert watched.watch.silent_after(Time("s", 0.1, 1, 1)) == 60 * 10**9
    assert watched.watch.silent_after(Time("s", 1200, 1, 1)) == 3600 * 10**9
    assert watched.watch.silent_after(Time("cycle", 1, 1, 1)) == 86400 * 10**9


def test_a_source_that_is_away_for_a_moment_is_no_event(watched):
    watched.source.connected = False
    assert watched.turn(50) == []
    watched.source.connected = True
    assert watched.turn(5) == []
    watched.source.connected = False
    assert watched.turn(70) == [("stale_source", "raised", "memory")]
    watched.source.connected = True
    assert watched.turn(2) == [("stale_source", "cleared", "memory")]


def test_the_clock(watched):
    watched.synced = False
    assert watched.turn(40) == [("clock", "raised", None)]
    watched.synced = True
    assert watched.turn(40) == [("clock", "cleared", None)]
    assert all(not m.clock_synced for m in list(watched.rig.hub.messages.values())[:1])
    monotonic = watched.clock.monotonic
    watched.clock.monotonic = lambda: monotonic() + 7_500_000_000
    assert watched.turn(2) == [("clock", "noted", None)]
    assert watched.rig.hub.events[-1]["detail"] == "the clock was set by -7.500 s"


def test_the_link_and_the_disk(watched, monkeypatch):
    watched.healthy = False
    assert watched.turn(70) == [("link", "raised", None)]
    assert {lane for _, lane, _ in watched.rig.hub.messages} == {Lane.LIVE}
    watched.healthy = True
    assert watched.turn(7) == [("link", "cleared", None)]
    watched.report.problem = "database or disk is full"
    assert watched.turn(1) == [("disk", "raised", None)]
    assert watched.rig.hub.events[-1]["severity"] == "error"
    watched.report.problem = None
    monkeypatch.setattr(watch_module.shutil, "disk_usage", lambda _: type("", (), {"free": 1, "total": 100})())
    assert watched.turn(50) == [], "nearly full is the same condition"
    monkeypatch.setattr(watch_module.shutil, "disk_usage", lambda _: (_ for _ in ()).throw(OSError(5, "gone")))
    assert watched.turn(50) == []
    monkeypatch.undo()
    watched.hear("a", "b")
    assert watched.turn(70) == [("disk", "cleared", None)]


def test_what_is_lost_stays_told_for_an_hour_after_the_last(watched):
    watched.report.dropped[Lane.RAW] = 3
    assert watched.turn(2) == [("dropped", "raised", None)]
    assert watched.rig.hub.events[-1]["detail"] == "3 messages dropped, for the spool was full"
    watched.hear("a", "b")
    watched.turn(100)
    watched.report.dropped[Lane.RAW] = 4
    watched.rig.inbox.overflow += 1
    watched.rig.engine.twins["tiny"].counts["failed"] += 1
    told = watched.turn(2)
    assert sorted(told) == [("failed", "raised", None), ("overflow", "raised", None)]
    watched.hear("a", "b")
    watched.clock.turn(3590)
    assert ("dropped", "cleared", None) not in watched.turn(5)
    assert ("dropped", "cleared", None) in watched.turn(20)


def test_what_was_dropped_before_a_restart_is_old_news(tmp_path, watched):
    watched.report.dropped[Lane.RAW] = 3  # the spool counts since it was made
    watched.turn(2)
    watched.clock.turn(3700)
    watched.hear("a", "b")
    watched.turn(5)
    watched.rig.kill(committed=True)
    watched.watch = Watch(
        WatchSettings(), watched.clock, tmp_path, [watched.source], watched, lambda: True, lambda: True
    )
    bundle = {"tiny": (tmp_path / "bundle", ("a", "b"))}
    watched.rig = Rig(tmp_path / "data", bundle, watched.clock, watched.source, watched.rig.hub, watch=watched.watch)
    assert watched.turn(2) == []
    watched.report.dropped[Lane.RAW] = 4
    assert watched.turn(2) == [("dropped", "raised", None)]
    assert watched.rig.hub.events[-1]["detail"] == "1 messages dropped, for the spool was full"


def test_a_restart_neither_repeats_nor_forgets(tmp_path, watched):
    watched.source.connected = False
    watched.turn(70)
    watched.rig.kill(committed=True)
    watched.watch = Watch(
        WatchSettings(), watched.clock, tmp_path, [watched.source], watched, lambda: True, lambda: True
    )
    bundle = {"tiny": (tmp_path / "bundle", ("a", "b"))}
    watched.rig = Rig(tmp_path / "data", bundle, watched.clock, watched.source, watched.rig.hub, watch=watched.watch)
    assert watched.turn(10) == []
    watched.source.connected = True
    assert watched.turn(2) == [("stale_source", "cleared", "memory")]
    assert len({event["id"] for event in watched.rig.hub.events}) == 1


def test_ids_are_identifiers_whatever_sources_are_called(watched):
    watched.source.name = "Mühle 3 / links"
    watched.source.connected = False
    watched.turn(70)
    assert watched.rig.hub.events[-1]["id"].startswith("stale_source-M_hle_3___links-")
    assert watched.rig.hub.events[-1]["source"] == "Mühle 3 / links"


def test_states_are_plain_json(watched):
    watched.source.connected = False
    watched.turn(70)
    again = Watch(WatchSettings(), watched.clock, START, [], watched, lambda: True, lambda: True)
    again.restore(json.loads(json.dumps(watched.watch.state())))
    assert again.conditions.active == watched.watch.conditions.active
    assert {key.condition for key in again.conditions.active} <= EVENTS.keys()


def test_the_kernel_is_asked_at_most_once_a_second(monkeypatch):
    from edge_runtime.gateway import synchronised

    answers, clock = [], TurnedClock()
    monkeypatch.setattr(synchronised, "_ask", lambda: answers.append(1) or True)
    synced = Synchronised(clock)
    for _ in range(30):
        assert synced()
        clock.turn(0.1)
    assert len(answers) == 3


def test_this_computer_knows_about_its_clock():
    assert Synchronised(TurnedClock())() in (True, False)
