"""What is wanted, sent and settled, on both databases; no broker."""

import base64
import json
import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select, update

from edge_runtime.clock import SystemClock
from edge_runtime.contract import bodies
from edge_runtime.contract.assignment import verify
from edge_runtime.contract.message import JSON, Lane, Outgoing
from serving.assignments.send import AssignmentSender
from serving.assignments.settings import AssignmentSettings
from serving.database.engine import Database
from serving.database.queries import find_asset
from serving.database.tables import asset_settings, assignments, gateways, models, states, twins
from serving.errors import ConfigError
from serving.hub.__main__ import main
from serving.hub.outbox import Parcel
from serving.hub.store import Store
from serving.registry.asset_settings import set_settings
from serving.registry.assignments import find_wanted, want
from serving.registry.audit import Act, read_audit
from serving.registry.owners import assign
from serving.registry.settings import RegistrySettings
from serving.settings import read_config
from tests.serving.hub import made

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = made.START
SECOND = 1_000_000_000


class Centre:
    """A store that gateways gw-7 (which has m1) and gw-8 have reached, and a sender."""

    def __init__(self, database):
        self.database = database
        self.store = Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)
        self.senders = {name: made.Sender(name) for name in ("gw-7", "gw-8")}
        self.say("gw-7", made.block(made.states(numbers=(5,))), made.block(made.observations(numbers=range(1, 9))))
        self.online("gw-7", "gw-8")
        self.sender = AssignmentSender(AssignmentSettings(again=10, again_most=60), KEY)

    def say(self, gateway, *outgoings):
        self.store.commit(self.senders[gateway].read(*outgoings))

    def online(self, *names, state="online", model="model-1"):
        for name in names:
            self.store.commit([made.status(state, gateway=name, bundles={"pump": model})])

    def assign(self, gateway="gw-8"):
        with self.database.write() as connection:
            assign(connection, Act("anna", NOW), "m1", gateway)

    def set(self, **values):
        with self.database.write() as connection:
            set_settings(connection, Act("anna", NOW), "m1", values)

    def send(self, now=NOW, sender=None, *, sent=True):
        """The assignments that go down now."""
        sender = sender or self.sender
        with self.database.read() as connection:
            if not sender.waiting(connection, now):
                return []
        with self.database.write() as connection:
            parcels = sender.claim(connection, now, now + 15 * SECOND)
        with self.database.write() as connection:
            if sent:
                sender.sent(connection, parcels, now)
        gateway = [parcel.topic.split("/")[3] for parcel in parcels]
        return [
            verify(KEY.public_key(), parcel.payload, name, NOW) for name, parcel in zip(gateway, parcels, strict=True)
        ]

    def answer(self, assignment, status="done", reason=None, gateway="gw-8"):
        body = bodies.Ack(assignment.id, status, "m1", None, reason, None, 1)
        self.say(gateway, Outgoing("ack", Lane.ALARM, "m1", 1, 1, bodies.pack(body), JSON))

    def wanted(self):
        with self.database.read() as connection:
            return find_wanted(connection, "m1")


@pytest.fixture
def centre(database):
    return Centre(database)


def test_a_new_owner_is_told_until_it_answers(centre):
    assert centre.wanted() is None
    assert centre.send() == []
    centre.assign()
    (told,) = centre.send()
    assert (told.gateway, told.asset, told.asset_class, told.term, told.settings) == ("gw-8", "m1", "pump", 1, None)
    assert (told.state.term, told.state.number, told.state.model_id) == (0, 5, "model-1")
    assert told.state.array().tolist() == [0, 1, 2, 3]
    assert centre.wanted().status == "sent"
    assert "snapshot after observation 5 of term 0; 3 observations stored since are not in it" in centre.wanted().sent
    assert centre.send(NOW + 9 * SECOND) == []
    assert centre.send(NOW + 10 * SECOND) == [told.__class__(**vars(told) | {"issued": NOW + 10 * SECOND})]
    assert centre.send(NOW + 29 * SECOND) == []  # the pauses grow, up to a minute
    assert len(centre.send(NOW + 30 * SECOND)) == 1
    assert len(centre.send(NOW + 70 * SECOND)) == 1
    assert len(centre.send(NOW + 130 * SECOND)) == 1
    centre.answer(told, gateway="gw-7")  # not the one that was asked
    assert centre.wanted().status == "sent"
    centre.answer(told, reason="the twin here goes on at observation 90")
    assert (centre.wanted().status, centre.wanted().reason) == ("done", "the twin here goes on at observation 90")
    assert centre.send(NOW + 3600 * SECOND) == []
    with centre.database.read() as connection:
        entries = read_audit(connection, "asset/m1")
    assert (entries[0].action, entries[0].actor) == ("assignment.done", "gateway/gw-8")


def test_settings_go_down_without_a_state(centre):
    centre.set(rated_flow=210.0)
    (told,) = centre.send()
    assert (told.gateway, told.term, told.state) == ("gw-7", 0, None)
    assert (told.settings.version, told.settings.values) == (1, {"rated_flow": 210.0})
    centre.set(rated_flow=215.0)  # before it has answered
    centre.answer(told, gateway="gw-7")  # to what is no longer wanted
    assert centre.wanted().status == "waiting"
    (newer,) = centre.send()
    assert (newer.settings.version, newer.id != told.id) == (2, True)
    centre.answer(newer, gateway="gw-7")
    assert centre.wanted().status == "done"


def test_a_new_owner_gets_state_and_settings_whatever_came_first(centre):
    centre.assign()
    centre.set(rated_flow=210.0)
    (told,) = centre.send()
    assert (told.term, told.settings.version, told.state.number) == (1, 1, 5)
    centre.answer(told)
    centre.set(rated_flow=211.0)
    (told,) = centre.send()
    assert (told.term, told.settings.version, told.state) == (1, 2, None)  # its twin is there by now


def test_refused(centre):
    centre.assign()
    (told,) = centre.send()
    centre.answer(told, "refused", "model: the state is of model 5f, here runs 6a")
    assert centre.wanted().status == "waiting"
    (bare,) = centre.send(NOW + SECOND)
    assert (bare.id != told.id, bare.term, bare.state) == (True, 1, None)
    centre.answer(bare, "refused", "settings: 'a' is 9: expected 0 … 1")
    assert (centre.wanted().status, centre.wanted().reason[:9]) == ("refused", "settings:")
    assert centre.send(NOW + 3600 * SECOND) == []
    centre.set(a=0.5)
    (again,) = centre.send()
    assert again.state is None


def test_two_changes_at_the_same_moment_are_both_told(centre, database_settings):
    """Whichever is first: the new owner gets the settings, and the state."""
    other, barrier, failures = Database(database_settings), threading.Barrier(2), []

    def change(database, what, *arguments):
        try:
            barrier.wait(60)
            with database.write() as connection:
                what(connection, Act("anna", NOW), "m1", *arguments)
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=change, args=(centre.database, assign, "gw-8")),
        threading.Thread(target=change, args=(other, set_settings, {"rated_flow": 2.0})),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert failures == []
    assert (centre.wanted().gateway, centre.wanted().term, centre.wanted().settings_version) == ("gw-8", 1, 1)
    (told,) = centre.send()
    assert (told.term, told.settings.version, told.state.number) == (1, 1, 5)


def test_an_owner_that_changes_while_settings_are_set_blocks_nobody(centre, database_settings, monkeypatch):
    """New settings hold the machine for their foreign key; whoever changes its owner then must not wait for them."""
    if centre.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    other, failures = Database(database_settings), []

    def own():
        try:
            with other.write() as connection:
                assign(connection, Act("anna", NOW), "m1", "gw-8")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=own)

    def in_between(*arguments, **options):
        thread.start()
        thread.join(5)
        want(*arguments, **options)

    monkeypatch.setattr("serving.registry.asset_settings.want", in_between)
    centre.set(rated_flow=2.0)
    thread.join(60)
    other.close()
    assert failures == []
    assert (centre.wanted().gateway, centre.wanted().term, centre.wanted().settings_version) == ("gw-8", 1, 1)


def test_a_hub_with_nothing_to_send_seldom_looks(centre):
    sender = AssignmentSender(AssignmentSettings(), KEY, rest=3600)
    assert centre.send(sender=sender) == []
    centre.assign()
    assert centre.send(sender=sender) == []
    assert len(centre.send()) == 1


def test_what_a_person_puts_right_at_the_gateway_is_told_again(centre):
    centre.assign()
    (told,) = centre.send()
    for reason in ("off: assignments are off", "asset: m1 is not in machines.csv here"):
        centre.answer(told, "refused", reason)
        assert (centre.wanted().status, centre.wanted().reason) == ("sent", reason)
    (again,) = centre.send(NOW + 10 * SECOND)
    assert (again.id, again.state) == (told.id, told.state)
    centre.answer(again)
    assert (centre.wanted().status, centre.wanted().reason) == ("done", "")


def test_nothing_is_sent_to_who_is_away_or_to_the_centre_itself(centre):
    centre.online("gw-8", state="offline")
    centre.assign()
    assert centre.send() == []
    centre.online("gw-8")
    assert len(centre.send()) == 1
    centre.assign(None)
    assert centre.wanted() is None
    assert centre.send(NOW + 3600 * SECOND) == []
    centre.set(rated_flow=3)
    assert centre.wanted() is None


def test_what_the_broker_does_not_take_is_sent_again(centre):
    centre.assign()
    assert len(centre.send(sent=False)) == 1
    assert centre.send(NOW + 14 * SECOND) == []
    with centre.database.read() as connection:
        row = connection.execute(select(assignments)).one()
    with centre.database.write() as connection:
        centre.sender.unsent(connection, [Parcel(row.id, "", b"")], "refused", NOW)
    assert centre.wanted().reason == "not sent yet: refused"
    assert len(centre.send(NOW + 2 * SECOND)) == 1


def test_of_two_hubs_one_sends(centre, database_settings):
    centre.assign()
    others = [Database(database_settings) for _ in range(2)]
    sender = [AssignmentSender(AssignmentSettings(), KEY) for _ in others]
    got, barrier = [], threading.Barrier(2)

    def hub(database, sender):
        with database.read() as connection:
            assert sender.waiting(connection, NOW)
        barrier.wait(60)
        with database.write() as connection:
            got.extend(sender.claim(connection, NOW, NOW + 15 * SECOND))

    threads = [threading.Thread(target=hub, args=pair) for pair in zip(others, sender, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 1
    for database in others:
        database.close()


def test_a_snapshot_that_its_owner_can_read(centre):
    """Another bundle there: an older state of that bundle, or none."""
    centre.say("gw-7", made.block(made.states(numbers=(7,)), model_id="model-2"))
    centre.online("gw-8", model="model-1")
    centre.assign()
    (told,) = centre.send()
    assert (told.state.model_id, told.state.number) == ("model-1", 5)
    centre.assign("gw-7")
    centre.online("gw-7", model="model-3")
    (told,) = centre.send()
    assert (told.gateway, told.term, told.state) == ("gw-7", 2, None)
    assert "starts anew" in centre.wanted().sent


def test_the_centres_own_twin_goes_to_a_gateway(centre):
    centre.assign(None)
    with centre.database.write() as connection:
        asset = find_asset(connection, "m1").id
        model = connection.execute(select(models.c.id).where(models.c.model_id == "model-1")).scalar_one()
        state = np.array([5, 6], "<f4").tobytes()
        row = {"asset": asset, "term": 1, "number": 9, "t": NOW, "model": model, "state": state, "at": NOW}
        connection.execute(insert(twins).values(**row))
    centre.assign("gw-8")
    (told,) = centre.send()
    assert (told.term, told.state.term, told.state.number, told.state.array().tolist()) == (2, 1, 9, [5, 6])


def test_an_active_alarm_goes_along(centre):
    centre.say("gw-7", made.alarm(6), made.alarm(7, level=3, previous=2, since=6))
    centre.assign()
    (told,) = centre.send()
    alarm = told.state.alarm
    assert (alarm.id, alarm.level, alarm.number) == ("m1-6", 3, 7)


def test_what_cannot_be_sent_holds_up_nothing_else(centre):
    centre.say("gw-7", made.block(made.observations(("m2",), numbers=(1,))))
    centre.set(rated_flow=1)
    with centre.database.write() as connection:
        set_settings(connection, Act("anna", NOW), "m2", {"a": 1.0})
        connection.execute(update(asset_settings).where(asset_settings.c.asset == 1).values(values={"x" * 200: 1.0}))
    assert [told.asset for told in centre.send()] == ["m2"]
    assert (centre.wanted().status, centre.wanted().reason[:9]) == ("refused", "settings:")


def test_a_state_that_is_too_large_is_left_out(centre):
    with centre.database.write() as connection:
        connection.execute(update(states).values(body=np.ones(70_000, "<f4").tobytes()))
    centre.assign()
    (told,) = centre.send()
    assert told.state is None
    assert "does not fit" in centre.wanted().sent
    with centre.database.write() as connection:
        connection.execute(update(states).values(body=b"123"))
        connection.execute(update(gateways).values(bundles=None))
    centre.assign("gw-7")
    (told,) = centre.send()
    assert told.state is None
    assert "cannot be sent" in centre.wanted().sent


def test_settings_of_the_centre(tmp_path, capsys):
    path = tmp_path / "centre.toml"
    start = '[database]\nurl = "sqlite:///c.db"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n[assignments]\nenabled = true\n'
    path.write_text(start)
    assert read_config(path).assignments.replay
    assert main(["--config", str(path)]) == 1
    assert "write key = … under [assignments] or [commands]" in capsys.readouterr().err
    path.write_text(start + 'key = "none.pem"\n')
    assert main(["--config", str(path)]) == 1
    assert "[assignments] key" in capsys.readouterr().err
    path.write_text(start + "again = 0\n")
    with pytest.raises(ConfigError, match="again"):
        read_config(path)


def test_signed_as_stored_messages_are(centre):
    """Floats as they were set, bit by bit."""
    centre.set(**{"failure_soon.limit": 0.1 + 0.2})
    with centre.database.read() as connection:
        assert centre.sender.waiting(connection, NOW)
    with centre.database.write() as connection:
        (parcel,) = centre.sender.claim(connection, NOW, NOW + 1)
    value = json.loads(parcel.payload)
    assert value["settings"]["values"] == {"failure_soon.limit": 0.1 + 0.2}
    assert len(base64.b64decode(value["signature"])) == 64
    assert parcel.topic == "overhaul/1/north/gw-7/down/assignment"
    assert not parcel.retain
