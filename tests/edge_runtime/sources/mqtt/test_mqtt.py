"""The MQTT source against real brokers."""

import dataclasses
import hashlib
import json
import math
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.clock import SystemClock
from edge_runtime.decode import decode_strict
from edge_runtime.errors import CommandError
from edge_runtime.sources.mqtt.payload import Rename
from edge_runtime.sources.mqtt.setpoint import MqttCommand
from edge_runtime.sources.mqtt.source import MqttSettings, MqttSource
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.mqtt.waveform import user_properties
from edge_runtime.sources.source import Reading, WaveformArrival
from edge_runtime.tls import Tls
from tests.edge_runtime.broker import KINDS, broker, iotcore, running, until  # noqa: F401
from tests.edge_runtime.certificates import Authority

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
    """A machine that sends; `send` returns when the broker has it. What comes back is in `got`."""

    def __init__(self, broker):  # noqa: F811
        self.got = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _client, _data, message: self.on_message(message)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        until(self.client.is_connected)

    def on_message(self, message):
        self.got.append(message)

    def send(self, topic, payload, qos=1, retain=False, properties=None):
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(20)

    def subscribe(self, topic):
        granted = []
        self.client.on_subscribe = lambda *_: granted.append(True)
        self.client.subscribe(topic, 1)
        until(lambda: granted)

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


def test_acknowledgements_go_out_in_the_order_of_the_messages(make_source, publisher):
    inbox = Inbox()
    source = make_source(inbox=inbox)
    for n in range(20):
        publisher.send("plant/pump-1/readings", {"time": n, "n": n})
    until(lambda: len(inbox.arrivals) == 20)
    for arrival in reversed(inbox.arrivals):
        source.acknowledge([arrival.receipt])
    until(lambda: source.waiting == 0)
    publisher.send("plant/pump-1/readings", {"time": 20, "n": 20})
    until(lambda: len(inbox.arrivals) == 21)
    assert source.status().counts["connects"] == 1  # iotcore throws out who acknowledges out of order


def test_the_broker_sends_no_more_than_may_be_uncommitted(make_source, publisher, broker):  # noqa: F811
    inbox = Inbox()
    source = make_source(inbox=inbox, receive_maximum=5)
    for n in range(12):
        publisher.send("plant/pump-1/readings", {"time": n, "n": n})
    until(lambda: len(inbox.arrivals) >= 5)
    if broker.kind == "mosquitto":  # iotcore has up to 100 on their way, whatever one asks for
        assert source.waiting == 5
    acknowledged = 0
    while acknowledged < 12:
        until(lambda: len(inbox.arrivals) > acknowledged)  # noqa: B023
        arrivals = inbox.arrivals[acknowledged:]
        source.acknowledge([arrival.receipt for arrival in arrivals])
        acknowledged += len(arrivals)
    until(lambda: source.waiting == 0)
    assert inbox.values() == list(range(12))


def test_while_the_gateway_is_behind_nothing_is_read_and_nothing_is_lost(make_source, publisher):
    inbox = Inbox(room=2)
    source = make_source(inbox=inbox)
    for n in range(90):
        publisher.send("plant/pump-1/readings", {"time": n, "n": n})
    until(lambda: source.status().counts["held"])
    assert inbox.values() == [0, 1]
    assert source.status().counts["received"] < 90
    source.acknowledge([inbox.arrivals[0].receipt])  # works meanwhile
    until(lambda: len(source._readers[0].connection._committed) == 0)
    inbox.room = None
    until(lambda: len(inbox.arrivals) == 90)
    assert inbox.values() == list(range(90))
    source.acknowledge([arrival.receipt for arrival in inbox.arrivals[1:]])
    until(lambda: source.waiting == 0)
    assert source.status().counts["connects"] == 1


def test_a_long_time_behind_does_not_end_the_connection(iotcore):  # noqa: F811
    source, inbox = make(iotcore, keepalive=5), Inbox(room=0)
    object.__setattr__(source.settings, "keepalive", 1)
    source.start(inbox)
    until(lambda: source.subscribed)
    publisher = Publisher(iotcore)
    publisher.send("plant/pump-1/readings", {"time": 1, "n": 1})
    until(lambda: source.status().counts["held"])
    time.sleep(2)  # twice what the broker waits for a sign of life
    inbox.room = None
    until(lambda: len(inbox.arrivals) == 1)
    publisher.send("plant/pump-1/readings", {"time": 2, "n": 2})
    until(lambda: len(inbox.arrivals) == 2)
    assert source.status().counts["connects"] == 1
    source.stop()
    publisher.close()


def test_a_broker_that_has_fallen_silent_is_left_and_found_again(iotcore):  # noqa: F811
    source, inbox = make(iotcore, keepalive=5), Inbox()
    object.__setattr__(source.settings, "keepalive", 1)
    source.start(inbox)
    until(lambda: source.subscribed)
    iotcore.pause()
    until(lambda: not source.status().connected)
    iotcore.go_on()
    until(lambda: source.subscribed)
    source.stop()


def test_a_broker_that_was_killed_and_has_forgotten_everything(make_source, broker):  # noqa: F811
    inbox = Inbox()
    source = make_source(inbox=inbox)
    publisher = Publisher(broker)
    publisher.send("plant/pump-1/readings", {"time": 1, "n": 1})
    until(lambda: len(inbox.arrivals) == 1)
    publisher.close()
    broker.kill()
    until(lambda: not source.status().connected)
    until(lambda: "nothing listens at 127.0.0.1" in source.status().detail)
    source.acknowledge([inbox.arrivals[0].receipt])  # of a connection that is no more
    broker.start()
    until(lambda: source.subscribed)
    publisher = Publisher(broker)
    publisher.send("plant/pump-1/readings", {"time": 2, "n": 2})
    until(lambda: len(inbox.arrivals) == 2)
    source.acknowledge([inbox.arrivals[0].receipt])
    assert source.waiting == 1
    source.acknowledge([inbox.arrivals[1].receipt])
    until(lambda: source.waiting == 0)
    assert source.status().counts["connects"] == 2
    publisher.close()


def test_it_starts_without_a_broker_and_stops_at_once(broker):  # noqa: F811
    broker.kill()
    inbox, source = Inbox(), make(broker)
    source.start(inbox)
    until(lambda: "nothing listens" in source.status().detail)
    assert not source.status().connected
    broker.start()
    until(lambda: source.subscribed)
    source.stop()
    assert (source.status().connected, source.status().detail) == (False, "stopped")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt-")]


def test_nothing_comes_in_after_stop(make_source, publisher):
    inbox = Inbox()
    source = make_source(inbox=inbox)
    source.stop()
    source.stop()
    publisher.send("plant/pump-1/readings", {"time": 1, "n": 1})
    source.acknowledge([(0, 0)])
    assert inbox.arrivals == []
    source.start(inbox)
    until(lambda: inbox.arrivals)


def make(broker, *topics, gateway="gw-1", **settings):  # noqa: F811
    settings = {"name": "plant", "url": broker.url, "topics": topics or (READINGS,)} | settings
    return MqttSource(MqttSettings(**settings), gateway, SystemClock())


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password_is_said_and_tried_again_slowly(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_runtime.mqtt.connection.REFUSED", 0.1)
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    with running(kind, tmp_path / "broker", users={"gw": "right"}) as broker:  # noqa: F811
        source = make(broker, username="gw", password_file=secret)
        source.start(Inbox())
        try:
            until(lambda: "username" in source.status().detail)
            said = "closed the connection without an answer" if kind == "iotcore" else "refuses us: Not authorized"
            assert said in source.status().detail
            assert [finding.ok for finding in source.check()] == [False]
            secret.write_text("right\n")  # read anew at each attempt
            until(lambda: source.subscribed)
        finally:
            source.stop()


def test_a_password_that_others_can_read_is_refused(iotcore, tmp_path):  # noqa: F811
    secret = tmp_path / "password"
    secret.write_text("word")
    secret.chmod(0o644)
    source = make(iotcore, username="gw", password_file=secret)
    source.start(Inbox())
    until(lambda: "chmod 600" in source.status().detail)
    source.stop()


def test_what_cannot_be_used_is_acknowledged_and_blocks_nothing(make_source, publisher):
    topics = (READINGS, MqttTopic("plant/{asset}/{channel}", format="value", max_bytes=20))
    inbox = Inbox()
    source = make_source(*topics, inbox=inbox)
    for topic, payload in [
        ("plant/pump-1/readings", b"\xff\x00"),
        ("plant/pump-1/readings", b"[1]"),
        ("plant/pump 1/readings", b"{}"),
        ("plant/pump-1/flow", b"low"),
        ("plant/pump-1/flow", b"1" * 21),
    ]:
        publisher.send(topic, payload)
    publisher.send("plant/pump-1/flow", b"2.5")
    until(lambda: len(inbox.arrivals) == 1)
    assert inbox.arrivals[0].values == {"flow": 2.5}
    until(lambda: source.waiting == 1)
    status = source.status()
    reasons = ("not_utf8", "not_object", "bad_asset", "not_a_number", "too_large")
    assert status.counts == {"received": 6, "untimed": 1, "connects": 1} | dict.fromkeys(reasons, 1)
    assert status.refused[0] == "not_utf8: plant/pump-1/readings: b'\\xff\\x00'"
    assert abs(inbox.arrivals[0].time - SystemClock().utc()) < 60e9


def test_what_the_broker_kept_is_old(make_source, publisher):
    kept = MqttTopic("kept/{asset}/readings", retained=True)
    for topic in ("plant", "kept"):
        publisher.send(f"{topic}/pump-1/readings", {"time": 1, "n": 1}, retain=True)
    inbox = Inbox()
    source = make_source(READINGS, kept, inbox=inbox)
    until(lambda: source.status().counts["received"] == 2)
    assert source.status().counts["retained"] == 1
    assert inbox.values() == [1]


def test_waveforms_whole_and_in_parts_with_a_connection_of_their_own(make_source, publisher):
    inbox = Inbox()
    source = make_source(READINGS, MqttTopic("waves/{asset}", format="waveform"), inbox=inbox)
    samples = np.arange(3 * 500, dtype="<f4").reshape(3, 500)
    whole = samples.tobytes()
    about = {"channel": "shake", "time": 12, "axes": 3, "samples": 500}
    publisher.send("waves/pump-1", whole, properties=user_properties(about | {"rate": 1000, "unit": "m/s2"}))
    digest = hashlib.sha256(whole).hexdigest()
    for part in (2, 0, 1):
        more = {"id": "a", "part": part, "parts": 3, "sha256": digest}
        publisher.send(
            "waves/pump-1", whole[part * 2000 : part * 2000 + 2000], properties=user_properties(about | more)
        )
    publisher.send("plant/pump-1/readings", {"time": 1, "n": 1})
    until(lambda: len(inbox.arrivals) == 3)
    waves = [arrival for arrival in inbox.arrivals if isinstance(arrival, WaveformArrival)]
    for wave in waves:
        assert (wave.asset, wave.channel, wave.time, wave.samples.dtype) == ("pump-1", "shake", 12, np.float32)
        np.testing.assert_array_equal(wave.samples, samples)
    assert source.waiting == 5
    source.acknowledge([arrival.receipt for arrival in inbox.arrivals if arrival is not waves[0]])
    until(lambda: source.waiting == 4)  # the reading is done; the parts wait for the waveform before them
    source.acknowledge([waves[0].receipt])
    until(lambda: source.waiting == 0)
    assert source.status().counts == {"received": 5, "connects": 2}


def test_check_says_what_it_sees(broker, publisher, monkeypatch):  # noqa: F811
    source = make(broker, READINGS, MqttTopic("silent/{asset}/readings"), MqttTopic("odd/{asset}/x"))
    stop = threading.Event()

    def send():
        while not stop.wait(0.05):
            publisher.send("plant/pump-1/readings", {"time": 1, "flow": 1})
            publisher.send("odd/pump-1/x", "?")

    monkeypatch.setattr("edge_runtime.sources.mqtt.check.LISTEN", 0.6)
    thread = threading.Thread(target=send)
    thread.start()
    about_broker, seen, silent, odd = source.check()
    stop.set()
    thread.join()
    assert about_broker.ok
    assert about_broker.detail.startswith("connected; receive maximum 65535, largest packet ")
    assert (seen.ok, seen.detail) == (True, "Granted QoS 1; messages of pump-1 with flow")
    assert (silent.ok, silent.warn) == (True, True)
    assert silent.detail.startswith("Granted QoS 1; no message within 0.6 s: does anything publish there")
    assert not seen.warn
    assert (odd.ok, odd.detail.split(" refused")[1]) == (False, ", the last one as not_json: odd/pump-1/x: b'?'")
    assert seen.readings == (Reading("pump-1", "flow", 1, "unit and template", named=True),)
    broker.kill()
    [finding] = source.check()
    assert (finding.ok, "nothing listens" in finding.detail) == (False, True)


def test_check_does_not_fail_for_what_is_not_of_this_moment_or_beside_good_messages(broker, publisher, monkeypatch):  # noqa: F811
    """A retained message is what came last, perhaps days ago."""
    monkeypatch.setattr("edge_runtime.sources.mqtt.check.LISTEN", 0.6)
    publisher.send("plant/pump-1/readings", {"flow": 1}, retain=True)
    _, retained = make(broker, READINGS).check()
    assert (retained.ok, retained.warn) == (True, True)
    assert retained.detail.endswith("; write retained = true if it counts as a new one")
    assert retained.readings == ()


class Device:
    """Obeys commands: answers on the response topic, reports on a topic of its own, and in its readings."""

    def __init__(self, publisher, limit=math.inf):
        self.publisher, self.limit, self.expiry = publisher, limit, None
        publisher.on_message = self.obey
        publisher.subscribe("set/+/+")

    def obey(self, message):
        _, asset, channel = message.topic.split("/")
        value = json.loads(message.payload)
        value = min(value["value"] if isinstance(value, dict) else value, self.limit)
        self.expiry = message.properties.MessageExpiryInterval
        client = self.publisher.client
        if hasattr(message.properties, "ResponseTopic"):
            for data in (b"of another command", message.properties.CorrelationData):
                properties = Properties(PacketTypes.PUBLISH)
                properties.CorrelationData = data
                client.publish(
                    message.properties.ResponseTopic,
                    "-1" if data[:2] == b"of" else str(value),
                    1,
                    properties=properties,
                )
        client.publish(f"is/{asset}/{channel}", json.dumps({"value": value}), 1)
        client.publish(f"plant/{asset}/readings", json.dumps({"time": 1, channel: value, "n": 0}), 1)


@pytest.mark.parametrize(
    "command",
    [
        MqttCommand("set/{asset}/{channel}"),
        MqttCommand("set/{asset}/{channel}", read_back="is/{asset}/{channel}", format="json"),
        MqttCommand("set/{asset}/{channel}", response_topic="gw-1/responses"),
    ],
    ids=["reading", "read_back", "response"],
)
def test_a_set_point_is_written_and_read_back(make_source, publisher, command):
    device = Device(publisher, limit=50)
    source = make_source(inbox=Inbox(), command=command)
    assert source.write("pump-1", "speed", 40) == 40
    assert device.expiry == 5
    source._readers[0].listeners.clear()
    short = dataclasses.replace(command, timeout=0.5)
    source.stop()
    source = make_source(inbox=Inbox(), command=short)
    assert source.write("pump-1", "speed", 60) == 50  # what it is, not what was wished for
    assert source._readers[0].listeners == []
    until(lambda: source.status().counts["received"] >= 1)
    assert not {"bad_topic", "unexpected"} & set(source.status().counts)


def test_a_set_point_that_nobody_obeys(make_source, broker):  # noqa: F811
    source = make_source(inbox=Inbox(), command=MqttCommand("set/{asset}/{channel}", timeout=0.2))
    with pytest.raises(CommandError, match="nothing came back on its readings"):
        source.write("pump-1", "speed", 1)
    with pytest.raises(CommandError, match="identifiers"):
        source.write("pump-1", "a/b", 1)
    broker.kill()
    until(lambda: not source.status().connected)
    with pytest.raises(CommandError, match="is not written"):
        source.write("pump-1", "speed", 1)
    with pytest.raises(CommandError, match="has no command"):
        make(broker).write("pump-1", "speed", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_tls_with_certificates_of_both_sides(kind, tmp_path, request):
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    certificate, key = authority.issue("gw-1")
    tls = (authority.ca, *authority.issue("localhost"))
    with running(kind, tmp_path / "broker", tls=tls) as broker:  # noqa: F811
        inbox = Inbox()
        source = make(broker, tls=Tls(authority.ca, certificate, key))
        source.start(inbox)
        request.addfinalizer(source.stop)
        until(lambda: source.subscribed)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.tls_set_context(Tls(authority.ca, certificate, key).context())
        client.connect("localhost", broker.port)
        client.loop_start()
        for n in range(500):  # of 100 kB: many records of TLS
            client.publish("plant/pump-1/readings", json.dumps({"time": n, "n": n, "x": "y" * 200}), 1)
        done = 0
        while done < 500:
            until(lambda: len(inbox.arrivals) > done)  # noqa: B023
            arrivals = inbox.arrivals[done:]
            source.acknowledge([arrival.receipt for arrival in arrivals])
            done += len(arrivals)
        assert inbox.values() == list(range(500))
        until(lambda: source.waiting == 0)
        assert source.status().insecure is None
        source.stop()
        client.disconnect()
        client.loop_stop()

        for wrong, said in [
            (Tls(other.ca, certificate, key), "the broker's certificate is refused"),
            (Tls(authority.ca), "" if kind == "mosquitto" else None),  # iotcore lets in whoever shows none
            (Tls(authority.ca, tmp_path / "none.pem", key), "cannot be read"),
        ]:
            if said is not None:
                [finding] = make(broker, tls=wrong).check()
                assert not finding.ok
                assert said in finding.detail


@pytest.mark.parametrize("kind", KINDS)
def test_tls_on_one_side_only_is_what_is_suspected(kind, tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("broker")
    with running(kind, tmp_path / "secret", tls=(authority.ca, certificate, key)) as secret:
        plain = MqttSettings(name="plant", url=f"mqtt://127.0.0.1:{secret.port}", topics=(READINGS,))
        [finding] = MqttSource(plain, "gw-1", SystemClock()).check()
        assert "perhaps this port wants TLS: then write mqtts://" in finding.detail
    with running(kind, tmp_path / "plain") as broker:  # noqa: F811
        secure = MqttSettings(
            name="plant", url=f"mqtts://localhost:{broker.port}", topics=(READINGS,), tls=Tls(authority.ca)
        )
        [finding] = MqttSource(secure, "gw-1", SystemClock()).check()
        assert "perhaps this port speaks plain MQTT: check the port" in finding.detail


def test_should_paho_no_longer_let_us_read_for_it_it_reads_itself(make_source, publisher, monkeypatch):
    monkeypatch.delattr("edge_runtime.mqtt.wire.WireClient._create_socket")
    inbox = Inbox()
    source = make_source(READINGS, MqttTopic("waves/{asset}", format="waveform"), inbox=inbox)
    for n in range(5):
        publisher.send("plant/pump-1/readings", {"time": n, "n": n})
    publisher.send("waves/pump-1", bytes(8), properties=user_properties({"channel": "shake"}))
    until(lambda: len(inbox.arrivals) == 6)
    source.acknowledge([arrival.receipt for arrival in inbox.arrivals])
    until(lambda: source.waiting == 0)
    publisher.send("plant/pump-1/readings", b"?")
    until(lambda: source.status().counts["not_json"] == 1)
    until(lambda: source.waiting == 0)


def test_with_the_installed_paho_the_wire_is_in_use(make_source):
    source = make_source(inbox=Inbox())
    assert source._readers[0].connection._client.wire is not None


def test_two_clients_of_one_name_are_told_apart(make_source, broker):  # noqa: F811
    first = make_source(inbox=Inbox())
    second = make(broker)
    second.start(Inbox())
    try:
        until(lambda: "another client calls itself 'gw-1-plant'" in first.status().detail + second.status().detail)
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "mqtt://broker.example"}, "insecure = true"),
        ({"url": "http://broker"}, "expected mqtt://host:port"),
        ({"url": "mqtt://user:word@localhost"}, "password_file"),
        ({"url": "mqtt://localhost:99999"}, "ort"),
        ({"name": "a/b"}, "letters"),
        ({"topics": ()}, "topics is empty"),
        ({"password_env": "WORD"}, "username"),
        ({"tls": Tls(ca="ca.pem")}, "mqtts://"),
        ({"username": "a", "password_env": "A", "password_file": "f"}, "keep one"),
    ],
)
def test_settings_that_cannot_be_meant(changes, said):
    with pytest.raises(ValueError, match=said):
        MqttSettings(**({"name": "plant", "url": "mqtt://localhost", "topics": (READINGS,)} | changes))


def test_plain_mqtt_over_a_network_is_said():
    settings = MqttSettings(name="plant", url="mqtt://broker.example", topics=(READINGS,), insecure=True)
    assert MqttSource(settings, "gw-1", SystemClock()).status().insecure == "mqtt://broker.example is not encrypted"


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ({"topic": "plant/readings"}, "asset"),
        ({"topic": "plant/{asset}/{asset}"}, "twice"),
        ({"topic": "plant/{asset}x"}, "level"),
        ({"topic": "plant/#/{asset}"}, "level"),
        ({"topic": "plant/{asset}", "asset": "pump-1"}, "keep one"),
        ({"topic": "plant/x", "asset": "a b"}, "letters"),
        ({"topic": "plant/{asset}", "format": "value"}, "channel"),
        ({"topic": ""}, "bytes"),
    ],
)
def test_topics_that_cannot_be_meant(topic, said):
    with pytest.raises(ValueError, match=said):
        MqttTopic(**({"topic": ""} | topic))


def test_the_settings_of_a_file():
    text = """
        name = "plant"
        url = "mqtts://broker:8883"
        tls = { ca = "ca.pem", certificate = "gw.pem", key = "gw.key" }
        topics = [
          { topic = "plant/{asset}/readings", time_unit = "ms", rename = { Q = { channel = "flow", scale = 60 } } },
          { topic = "plant/{asset}/{channel}", format = "value" },
          { topic = "plant/{asset}/waves/{channel}", format = "waveform" },
        ]
        command = { topic = "plant/{asset}/{channel}/set", response_topic = "gw/answers" }
    """
    settings = decode_strict(MqttSettings, tomllib.loads(text), "source", Path("/etc"))
    assert settings.tls.ca == Path("/etc/ca.pem")
    assert settings.topics[0].rename["Q"] == Rename("flow", 60.0)
    assert [topic.template.filter for topic in settings.topics] == ["plant/+/readings", "plant/+/+", "plant/+/waves/+"]
