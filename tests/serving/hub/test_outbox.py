"""What is to go down goes down, and is sent again unless the broker has it; by one hub of several."""

import threading
from contextlib import contextmanager

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import OperationalError

from edge_runtime.clock import SystemClock
from serving.hub import outbox as module
from serving.hub.hub import Hub
from serving.hub.outbox import Outbox, Parcel
from serving.hub.settings import BrokerSettings, HubSettings
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401

letters = Table(
    "test_letters",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("state", String, nullable=False, default="due"),
    Column("until", BigInteger, nullable=False, default=0),
    Column("why", String),
)


class Letters:
    """A sender of rows."""

    name = "letters"

    def __init__(self, name="hub"):
        self.hub, self.claims, self.error = name, 0, None

    def waiting(self, connection, now):
        if self.error is not None:
            raise self.error
        due = letters.c.state == "due", letters.c.until < now
        return connection.execute(select(letters.c.id).where(*due).limit(1)).first() is not None

    def claim(self, connection, now, until):
        found = []
        for id_ in connection.execute(select(letters.c.id).where(letters.c.state == "due").order_by("id")).scalars():
            mine = letters.c.id == id_, letters.c.state == "due", letters.c.until < now
            if connection.execute(update(letters).where(*mine).values(until=until)).rowcount:
                found.append(Parcel(id_, f"down/{id_}", self.hub.encode(), expiry=60))
        self.claims += len(found)
        return found

    def sent(self, connection, parcels, _now):
        for parcel in parcels:
            connection.execute(update(letters).where(letters.c.id == parcel.of).values(state="sent"))

    def unsent(self, connection, parcels, why, _now):
        for parcel in parcels:
            connection.execute(update(letters).where(letters.c.id == parcel.of).values(until=0, why=why))


class Memory:
    """Publishes nowhere; `answer`: what is told, None: nothing is."""

    def __init__(self, *answers):
        self.connected, self.answers, self.posted = True, list(answers), []

    def post(self, parcels, told):
        self.posted += [parcel.of for parcel in parcels]
        for parcel in parcels:
            if self.answers:
                answer = self.answers.pop(0)
                told(parcel, answer or None)


@pytest.fixture
def rows(database):
    letters.create(database.engine)
    with database.write() as connection:
        connection.execute(insert(letters), [{"id": i + 1} for i in range(20)])
    return database


def states(database):
    with database.read() as connection:
        return list(connection.execute(select(letters.c.state).order_by(letters.c.id)).scalars())


@contextmanager
def listener(url, topic="down/+"):
    host, port = url.removeprefix("mqtt://").split(":")
    client, heard, ready = Client(CallbackAPIVersion.VERSION2, "listener", protocol=MQTTv5), [], threading.Event()
    client.on_message = lambda _client, _data, message: heard.append(message)
    client.on_subscribe = lambda *_: ready.set()
    client.connect(host, int(port))
    client.subscribe(topic, 1)
    client.loop_start()
    assert ready.wait(20)
    yield heard
    client.disconnect()
    client.loop_stop()


def hub(database, at, sender):
    settings = HubSettings(name=sender.hub)
    made = Hub(database, BrokerSettings(url=at.url), settings, RegistrySettings(), SystemClock(), [sender])
    made.start()
    return made


def test_each_goes_down_once_by_one_of_two_hubs(rows, broker):  # noqa: F811
    with listener(broker.url) as heard:
        senders = Letters("hub-1"), Letters("hub-2")
        hubs = [hub(rows, broker, sender) for sender in senders]
        until(lambda: states(rows) == ["sent"] * 20, what="sending")
        until(lambda: len(heard) >= 20, what="arriving")
        for each in hubs:
            each.stop()
        assert sorted(int(message.topic.split("/")[1]) for message in heard) == list(range(1, 21))
        assert sum(sender.claims for sender in senders) == 20
        assert all(message.qos == 1 and not message.retain for message in heard)
        assert all(0 < message.properties.MessageExpiryInterval <= 60 for message in heard)


def test_what_waits_goes_when_the_broker_is_there(rows, iotcore):  # noqa: F811
    iotcore.kill()
    sender = Letters()
    one = hub(rows, iotcore, sender)
    assert states(rows) == ["due"] * 20
    iotcore.start()
    until(lambda: states(rows) == ["sent"] * 20, what="sending")
    one.stop()


def test_a_broker_that_dies_before_it_has_confirmed_gets_them_again(rows, iotcore):  # noqa: F811
    sender = Letters()
    with rows.write() as connection:
        connection.execute(update(letters).values(state="later"))
    one = hub(rows, iotcore, sender)
    until(lambda: one.ready, 30, "the connection")
    iotcore.pause()
    with rows.write() as connection:
        connection.execute(update(letters).values(state="due"))
    until(lambda: sender.claims == 20, what="claiming")
    assert states(rows) == ["due"] * 20
    iotcore.kill()

    def reasons():
        with rows.read() as connection:
            return set(connection.execute(select(letters.c.why)).scalars())

    until(lambda: reasons() == {"the connection to the broker was lost"}, what="giving back")
    iotcore.start()
    until(lambda: states(rows) == ["sent"] * 20, 60, "sending again")
    assert sender.claims >= 40
    one.stop()


def test_what_the_broker_does_not_take_is_sent_again(rows):
    sender, memory = Letters(), Memory(*["refused"] * 20, *[""] * 20)
    box = Outbox(rows, memory, [sender], SystemClock())
    box.look()
    assert states(rows) == ["due"] * 20
    box.look()
    assert memory.posted == [*range(1, 21)] * 2
    box.look()
    assert states(rows) == ["sent"] * 20


def test_what_a_dead_hub_has_claimed_is_claimed_again_when_that_has_run_out(rows, monkeypatch):
    monkeypatch.setattr(module, "CLAIMED", 3 * 10**8)
    dead, memory = Memory(), Memory(*[""] * 20)
    Outbox(rows, dead, [Letters()], SystemClock()).look()
    assert len(dead.posted) == 20
    box = Outbox(rows, memory, [Letters()], SystemClock())
    box.look()
    assert not memory.posted
    until(lambda: box.look() or states(rows) == ["sent"] * 20, what="claiming again")
    assert memory.posted == dead.posted


def test_one_that_fails_keeps_no_other_from_sending_and_an_absent_database_is_waited_for(rows):
    bad, good, memory = Letters(), Letters(), Memory(*[""] * 20)
    bad.name, bad.error = "bad", RuntimeError("no")
    box = Outbox(rows, memory, [bad, good], SystemClock(), every=0.01)
    good.error = OperationalError("select", {}, Exception("away"))
    box.start()
    until(lambda: box._away, what="noticing")
    good.error = None
    until(lambda: states(rows) == ["sent"] * 20, what="sending")
    box.stop()
