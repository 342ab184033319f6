"""What the centre tells about a machine: taken between two observations, kept through restarts, refused as a whole."""

import json
import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

from edge_runtime.contract.assignment import AssignedAlarm, AssignedSettings, AssignedState, Assignment, sign
from edge_runtime.errors import EdgeError
from edge_runtime.gateway.assigned import Effect, unpack_effect
from edge_runtime.gateway.assignments import WAITING, AssignmentDesk
from edge_runtime.gateway.report import bundle_status
from edge_runtime.gateway.twins import Twins
from tests.edge_runtime.broker import until
from tests.edge_runtime.contract.test_assignment import KEY
from tests.edge_runtime.gateway.limited import limited_bundle
from tests.edge_runtime.gateway.rig import MINUTE, SECOND, START, Hub, Rig, TurnedClock, twins_of
from tests.edge_runtime.tiny import tiny_bundle

ASSETS = ("a", "b", "c")  # their terms in machines.csv: 0, 1, 2
CYCLES = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50, "assemble": False}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return limited_bundle(tmp_path_factory.mktemp("bundle") / "limited", time=CYCLES)


class Station:
    """A rig whose hub keeps answers, and a desk."""

    def __init__(self, folder, bundle, before=None, key=True):
        folder.mkdir(exist_ok=True)
        self.folder, self.bundle = folder, bundle
        self.clock = before.clock if before else TurnedClock()
        self.rig = Rig(
            folder,
            {"tiny": (bundle, ASSETS)},
            self.clock,
            before.rig.source if before else None,
            before.rig.hub if before else Answered(),
            checkpoint_every=1e6,
        )
        pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / "centre.pem").write_bytes(pem)
        self.desk = AssignmentDesk(folder / "centre.pem" if key else None, "gw-7", self.rig.engine, self.clock)

    @property
    def twins(self):
        return self.rig.engine.twins["tiny"]

    @property
    def answers(self):
        return [(body["id"], body["status"], body["reason"]) for body in self.rig.hub.answers]

    def tell(self, asset="a", term=1, **fields):
        """One that is authentic; the answer's status and reason."""
        fields = {"id": "a-1", "gateway": "gw-7", "asset_class": "tiny", "issued": START} | fields
        assignment = Assignment(asset=asset, term=term, **fields)
        self.rig.engine.call(lambda work: self.desk.take(assignment, work))
        self.rig.step()
        return self.answers[-1][1:]

    def observe(self, *values, asset="a"):
        """One cycle each, with these readings."""
        for value in values:
            row = self.twins.fleet.index[asset]
            cycle = int(self.twins.fleet.time[row]) // SECOND + 1
            self.rig.source.send(asset, cycle * SECOND, {"flow": value, "speed": value})
            self.rig.step()

    def killed(self):
        """SIGKILL, and a new start."""
        self.rig.kill(committed=True)
        return Station(self.folder, self.bundle, self)

    def everything(self):
        fleet, twins = self.twins.fleet, self.twins
        parts = [fleet.state, fleet.time, fleet.number, fleet.settings, twins.machines.term]
        return [part.tobytes() for part in parts] + [dict(twins.assigned), twins.occurrences.state()]


class Answered:
    """A hub that keeps answers, too."""

    def __init__(self):
        self.hub, self.answers, self.seen = Hub(), [], set()

    def take(self, spooled):
        for one in spooled:
            if one.message.kind != "ack":
                self.hub.take([one])
            elif (one.epoch, one.seq) not in self.seen:
                self.seen.add((one.epoch, one.seq))
                self.answers.append(json.loads(one.message.body))

    def __getattr__(self, name):
        return getattr(self.hub, name)


@pytest.fixture
def station(tmp_path, bundle):
    made = Station(tmp_path / "gateway", bundle)
    yield made
    made.rig.close()


def state_of(station, asset="a", term=0, alarm=None):
    """As the centre would have it of this gateway."""
    fleet, row = station.twins.fleet, station.twins.fleet.index[asset]
    return AssignedState.of(
        station.twins.model_id, term, int(fleet.number[row]), int(fleet.time[row]), fleet.state[row].copy(), alarm
    )


def levels(station):
    return [(body["state"], body["level"], body["number"], body["term"]) for body in station.rig.hub.alarms]


def test_what_cannot_be_taken_is_not_in_the_journal(station, monkeypatch):
    def fails(*_):
        raise OverflowError("too large")

    with monkeypatch.context() as patch:
        patch.setattr("edge_runtime.gateway.assigned._go_on_from", fails)
        station.observe(1.0)
        assignment = Assignment("a-1", "gw-7", "c", "tiny", 3, START, state=state_of(station))
        take = lambda work: station.desk.take(assignment, work)  # noqa: E731
        taking = threading.Thread(target=station.desk._in_engine, args=(take,))
        taking.start()
        until(lambda: station.rig.engine._calls)
        station.rig.step()
        taking.join()
        assert station.desk.counts["error"] == 1
    again = station.killed()
    assert again.twins.machines.term.tolist() == [0, 1, 2]
    again.rig.close()


def test_a_new_limit_holds_from_the_next_observation_on(station):
    station.observe(5, 5)
    assert levels(station) == []
    assert station.tell(settings=AssignedSettings(1, {"offset": 4})) == ("done", None)
    assert levels(station) == []
    station.observe(5)
    assert levels(station) == [("raised", 1, 3, 1)]
    assert station.tell(settings=AssignedSettings(2, {"offset": 6}))[0] == "done"
    station.observe(5)
    assert levels(station)[1:] == [("cleared", 0, 4, 1)]
    assert station.tell(settings=AssignedSettings(3, {}))[0] == "done"  # the class's default again
    assert np.isnan(station.twins.fleet.settings).all()
    status = bundle_status("tiny", station.twins, MINUTE, station.clock)
    assert status.settings == {"a": 3}


def test_a_restart_is_bitwise_the_same(station, tmp_path, bundle):
    """Killed after each step or never: states, numbers, terms, settings and alarms are the same."""
    donor = Station(tmp_path / "donor", bundle)
    donor.observe(*range(7))
    state = state_of(donor, alarm=AssignedAlarm("a-0-5", 1, 5, 5))
    steady = Station(tmp_path / "steady", bundle)
    steps = [
        lambda one: one.observe(1, 2, 9),
        lambda one: one.tell(term=3, settings=AssignedSettings(4, {"offset": 3}), id="a-2"),
        lambda one: one.observe(5, asset="b"),
        lambda one: one.tell(asset="b", term=5, state=state, id="a-3"),
        lambda one: one.observe(4, asset="b"),
        lambda one: one.tell(asset="c", term=2, state=state, id="a-4"),
        lambda one: one.observe(8, asset="c"),
        lambda one: one.observe(8),
    ]
    for step in steps:
        step(steady)
        step(station)
        station = station.killed()
        assert station.everything() == steady.everything()
    for one in (station, steady):  # a checkpoint holds it, too
        one.rig.finish()
    assert station.rig.hub.rows == steady.rig.hub.rows
    assert station.rig.hub.alarms == steady.rig.hub.alarms
    assert station.answers == steady.answers
    again = Station(station.folder, bundle, station)
    assert again.everything() == steady.everything()
    again.rig.close()
    donor.rig.close()


def test_a_twin_goes_on_from_a_snapshot_as_if_it_had_never_stopped(station, tmp_path, bundle):
    uninterrupted = Station(tmp_path / "other", bundle)
    uninterrupted.observe(*range(10))
    state = state_of(uninterrupted)
    uninterrupted.observe(3, 4)
    assert station.tell(term=7, state=state) == ("done", None)
    station.observe(3, 4)
    mine, theirs = station.rig.hub.of("prognosis", "a"), uninterrupted.rig.hub.of("prognosis", "a")
    station.rig.finish()
    uninterrupted.rig.finish()
    mine, theirs = station.rig.hub.of("prognosis", "a"), uninterrupted.rig.hub.of("prognosis", "a")
    assert sorted(mine) == [11, 12]
    assert all(mine[number] == theirs[number] for number in mine)
    assert {key[2] for key in station.rig.hub.rows if key[0] == "prognosis"} == {7}


def test_an_active_alarm_goes_on_under_its_id(station, tmp_path, bundle):
    other = Station(tmp_path / "other", bundle)
    other.tell(settings=AssignedSettings(1, {"offset": 4}))
    other.observe(5, 5)
    (raised,) = other.rig.hub.alarms
    alarm = AssignedAlarm(raised["id"], raised["level"], raised["since"], raised["number"])
    other.rig.close()
    state = state_of(other, term=1, alarm=alarm)
    assert station.tell(term=2, settings=AssignedSettings(1, {"offset": 4}), state=state)[0] == "done"
    station.observe(5)
    assert station.rig.hub.alarms == []  # nothing has changed
    station.observe(1)
    (cleared,) = station.rig.hub.alarms
    assert (cleared["id"], cleared["state"], cleared["since"]) == (raised["id"], "cleared", raised["since"])
    assert (cleared["term"], cleared["number"]) == (2, 4)


def test_a_twin_that_knows_more_is_not_set_back(station):
    station.observe(1, 2, 3)
    old = state_of(station, term=0)
    station.observe(4, 5)
    before = station.twins.fleet.state.tobytes()
    status, reason = station.tell(term=1, state=old)
    assert status == "done"
    assert "goes on at observation 5" in reason
    assert station.twins.fleet.state.tobytes() == before
    assert station.twins.machines.term[0] == 1
    newer = AssignedState.of(station.twins.model_id, 1, 90, 10**9, np.ones(3, np.float32))
    assert "observation 5" in station.tell(term=1, state=newer)[1]  # it has advanced under this term
    assert station.tell(term=2, state=newer) == ("done", None)
    assert station.twins.fleet.number[0] == 90
    assert (station.twins.fleet.state[0] == 1).all()


def test_the_same_again_changes_nothing(station):
    state = AssignedState.of(station.twins.model_id, 1, 90, 10**9, np.ones(3, np.float32))
    told = {"term": 4, "settings": AssignedSettings(2, {"offset": 3}), "state": state}
    assert station.tell(**told) == ("done", None)
    station.observe(1)
    position, before = station.rig.engine.position, station.everything()
    status, reason = station.tell(**told)
    assert (status, "observation 91" in reason) == ("done", True)
    assert station.everything() == before
    assert station.rig.engine.position == position
    assert station.desk.counts == {"done": 2}


def test_what_is_refused_changes_nothing(station):
    assert station.tell(term=4, settings=AssignedSettings(5, {"offset": 3}))[0] == "done"
    model = station.twins.model_id
    state = AssignedState.of(model, 1, 90, 10**9, np.ones(3, np.float32))
    short = AssignedState.of(model, 1, 90, 10**9, np.ones(2, np.float32))
    other = AssignedState.of("ab" * 32, 1, 90, 10**9, np.ones(3, np.float32))
    before = station.everything()
    for reason, told in [
        ("asset", {"asset": "z"}),
        ("class", {"asset_class": "pump"}),
        ("term", {"term": 3, "settings": AssignedSettings(6, {}), "state": state}),
        ("version", {"settings": AssignedSettings(4, {})}),
        ("version", {"settings": AssignedSettings(5, {"offset": 2.5})}),
        ("settings", {"settings": AssignedSettings(6, {"offzet": 2})}),
        ("settings", {"settings": AssignedSettings(6, {"offset": 11})}),
        ("model", {"settings": AssignedSettings(6, {"offset": 1}), "state": other}),
        ("model", {"state": short}),
    ]:
        status, said = station.tell(**{"term": 5, "id": f"a-{reason}"} | told)
        assert (status, said.split(":")[0]) == ("refused", reason)
        assert station.everything() == before
    counts = station.desk.counts
    assert [counts[f"refused_{reason}"] for reason in ("version", "settings", "model", "term")] == [2, 2, 2, 1]


def test_what_came_is_verified_in_a_thread_of_its_own(station):
    desk, engine = station.desk, station.rig.engine
    assert engine._calls == type(engine._calls)()
    desk.receive(b"too early", retained=False)
    desk.start()
    good = Assignment("a-9", "gw-7", "a", "tiny", 1, START, AssignedSettings(1, {"offset": 3}))
    desk.receive(sign(KEY, good), retained=True)
    desk.receive(b"{}", retained=False)
    desk.receive(sign(KEY, good).replace(b'"offset":3', b'"offset":4'), retained=False)
    desk.receive(sign(KEY, Assignment("a-9", "gw-8", "a", "tiny", 1, START)), retained=False)
    desk.receive(sign(KEY, Assignment("a-9", "gw-7", "a", "tiny", 1, START + 3600 * SECOND)), retained=False)
    desk.receive(sign(KEY, good), retained=False)

    def taken():
        station.rig.step()
        return desk.counts["done"] == 1

    until(taken, what="the assignment")
    desk.stop()
    expected = {"retained": 1, "malformed": 2, "signature": 1, "gateway": 1, "future": 1}
    assert desk.counts == {"done": 1} | {f"refused_{reason}": count for reason, count in expected.items()}
    assert [answer[:2] for answer in station.answers] == [("a-9", "done")]  # who is not known is not answered


def test_off_and_too_many(tmp_path, station):
    desk = AssignmentDesk(None, "gw-7", station.rig.engine, station.clock)
    desk.start()
    told = sign(KEY, Assignment("a-9", "gw-7", "a", "tiny", 1, START))
    for payload in (
        b"anything",
        b'{"gateway":"gw-7","id":[]}',
        sign(KEY, Assignment("a-9", "gw-8", "a", "tiny", 1, 1)),
    ):
        desk.receive(payload, retained=False)
    desk.receive(told, retained=True)
    station.rig.step()
    assert station.answers == []
    for _ in range(3):
        desk.receive(told, retained=False)
    station.rig.step()
    assert [answer[:2] for answer in station.answers] == [("a-9", "refused")]  # once a second at most
    assert station.answers[0][2].startswith("off:")
    assert desk.counts == {"refused_off": 7}
    desk.stop()
    for _ in range(WAITING + 3):
        station.desk.receive(b"anything", retained=False)
    assert station.desk.counts == {"refused_busy": 3}
    (tmp_path / "no.pem").write_text("no key")
    for path in (tmp_path / "no.pem", tmp_path / "none.pem"):
        with pytest.raises(EdgeError, match="key"):
            AssignmentDesk(path, "gw-7", station.rig.engine, station.clock)


def test_another_bundle_keeps_settings_and_terms(station, tmp_path, caplog):
    station.tell(settings=AssignedSettings(1, {"offset": 4}), term=3)
    station.tell(asset="b", settings=AssignedSettings(1, {"offset": 9}), term=3)
    limits = [{"name": "offset", "unit": "1", "range": [-10, 5], "default": 0}]
    narrower = tiny_bundle(tmp_path / "narrower", time=CYCLES, settings=limits)
    old = station.twins
    new: Twins = twins_of(narrower, ASSETS, station.clock)
    new.follow(old)
    assert new.assigned == old.assigned
    assert new.machines.term.tolist() == [3, 3, 2]
    assert new.fleet.settings[0, 0] == 4
    assert np.isnan(new.fleet.settings[1, 0])  # 9 is not allowed there: the default, and a word about it
    assert "offset of b" in caplog.text


def test_entries_of_another_model_are_repeated_by_slices(station, tmp_path):
    """The bundle was exchanged while the gateway was down, and an assignment came after the last checkpoint."""
    state = AssignedState.of(station.twins.model_id, 1, 90, 10 * SECOND, np.array([5, 6, 7], np.float32))
    station.tell(term=4, state=state)
    station.rig.kill(committed=True)
    slices = [
        {"name": "elapsed", "scope": "life", "start": 0, "size": 2, "fingerprint": "e2"},
        {"name": "peak", "scope": "asset", "start": 2, "size": 1, "fingerprint": "p1"},
    ]
    other = limited_bundle(tmp_path / "other", time=CYCLES, state={"size": 3, "slices": slices})
    again = Station(station.folder, other, station)
    fleet = again.twins.fleet
    assert fleet.state[0].tolist() == [0, 0, 7]
    assert (fleet.number[0], fleet.time[0]) == (90, 10 * SECOND)
    assert again.twins.machines.term[0] == 4
    again.rig.close()


def test_an_entry_comes_back():
    state = AssignedState.of("m", 1, 90, 5, np.array([np.nan, -0.0], np.float32), AssignedAlarm("x", 2, 3, 4))
    for effect in (Effect("a", 3), Effect("a", 3, AssignedSettings(1, {"b": 0.1}), state)):
        assert unpack_effect(effect.pack()) == effect
