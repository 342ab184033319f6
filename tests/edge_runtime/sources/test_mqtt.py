"""The MQTT source against real brokers."""

import json

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.clock import SystemClock
from edge_runtime.sources.mqtt import MqttSettings, MqttSource, MqttTopic
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401

READINGS = MqttTopic("plant/{asset}/readings")


class Inbox:
    """Keeps what is put in; with `room`, only so many."""

    def __init__(self, room=None):
        self.arrivals, self.room, self.refused = [], room, 0

    def put(self, arrival):
        if self.room is not None and len(self.arrivals) >= self.room:
            self.refused += 1
            return False
        self.arrivals.append(arrival)
        return True

    def values(self, name="n"):
        return [arrival.values[name] for arrival in self.arrivals]


class Publisher:
    """A machine that sends; `send` returns when the broker has it."""

    def __init__(self, broker):  # noqa: F811
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        until(self.client.is_connected)

    def send(self, topic, payload, qos=1, retain=False, properties=None):
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(20)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def publisher(broker):  # noqa: F811
    publisher = Publisher(broker)
    yield publisher
    publisher.close()


@pytest.fixture
def make_source(broker):  # noqa: F811
    made = []

    def make(*topics, inbox, **settings):
        settings = {"name": "plant", "url": broker.url, "topics": topics or (READINGS,)} | settings
        source = MqttSource(MqttSettings(**settings), "gw-1", SystemClock())
        source.start(inbox)
        made.append(source)
        until(lambda: source.status().connected and source.subscribed, what="a subscription")
        return source

    yield make
    for source in made:
        source.stop()


def test_readings_arrive_and_are_acknowledged_only_when_committed(make_source, publisher):
    inbox = Inbox()
    source = make_source(inbox=inbox)
    for n in range(3):
        publisher.send("plant/pump-1/readings", {"time": 1000 + n, "n": n, "flow": 1.5})
    until(lambda: len(inbox.arrivals) == 3)
    first = inbox.arrivals[0]
    assert (first.asset, first.time, first.values, first.source) == ("pump-1", 1000, {"n": 0, "flow": 1.5}, source)
    assert source.waiting == 3
    source.acknowledge([arrival.receipt for arrival in inbox.arrivals])
    until(lambda: source.waiting == 0)
    assert source.status().counts == {"received": 3, "connects": 1}


def test_what_was_not_committed_comes_again_after_a_restart_of_the_gateway(make_source, publisher):
    inbox = Inbox()
    source = make_source(inbox=inbox)
    for n in range(5):
        publisher.send("plant/pump-1/readings", {"time": n, "n": n})
    until(lambda: len(inbox.arrivals) == 5)
    source.acknowledge([arrival.receipt for arrival in inbox.arrivals[:2]])
    until(lambda: source.waiting == 3)
    source.stop()
    publisher.send("plant/pump-1/readings", {"time": 5, "n": 5})  # while we are away

    again = Inbox()
    make_source(inbox=again)
    until(lambda: len(again.arrivals) == 4)
    assert again.values() == [2, 3, 4, 5]
