"""The gateway as a Sparkplug host application, against real brokers, and edge nodes that die and lose messages."""

import importlib.util
import json
import socket
import threading

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.clock import SystemClock
from edge_runtime.errors import CommandError, EdgeError
from edge_runtime.sources.mqtt.payload import Refusal, Rename
from edge_runtime.sources.sparkplug.node import Node
from edge_runtime.sources.sparkplug.payload import GOOD, Metric, Payload, Type, decode, encode, fits, number
from edge_runtime.sources.sparkplug.source import SparkplugSettings, SparkplugSource
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401

# Made with the message classes that protoc generates from the public schema: with properties, metadata, a data set,
# a template and bytes, which are skipped.
FOREIGN = bytes.fromhex(
    "0801122e0a0454656d7010091805200a300142031201634a100a075175616c6974791205080318f40369000000000000f43f120f0a037365"
    "7420108a0105080112016312160a0374706c201392010c12080a02696e200350042801120a100a200150f6ffffff0f120c0a037261772011"
    "820102000118ff012201752a0378797a"
)
T0 = 1_767_434_400_000  # ms


def test_payloads_of_others_are_read():
    assert decode(FOREIGN) == Payload(
        1,
        255,
        (
            Metric("Temp", 9, 5, Type.DOUBLE, 1.25, quality=500),
            Metric("set", type=16),
            Metric("tpl", type=19),
            Metric(None, 10, None, Type.INT8, 0xFFFFFFF6),
            Metric("raw", type=17),
        ),
    )
    assert number(0xFFFFFFF6, Type.INT8) == -10


whole = st.sampled_from(
    [Type.INT8, Type.INT16, Type.INT32, Type.INT64, Type.UINT8, Type.UINT16, Type.UINT32, Type.UINT64]
)


@given(whole, st.integers(-(2**63), 2**64 - 1))
def test_whole_numbers_of_all_widths_come_back(type_, value):
    if fits(value, type_):
        [metric] = decode(encode(Payload(metrics=(Metric("m", type=type_, value=value),)))).metrics
        assert number(metric.value, type_) == value


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=20).map(lambda tail: FOREIGN[:60] + tail)))
def test_random_bytes_are_read_or_refused(data):
    try:
        assert isinstance(decode(data), Payload)
    except Refusal as refusal:
        reason = refusal.reason
        assert reason == "not_protobuf"


def test_payloads_are_bounded():
    for data, expected in [
        (bytes(2 << 20), "too_large"),
        (encode(Payload(metrics=(Metric(value=1, type=3),) * 10_001)), "too_many_metrics"),
    ]:
        with pytest.raises(Refusal, match=expected):
            decode(data)


# The life of a node, without a broker.


def birth(*metrics, seq, bd_seq=None):
    more = () if bd_seq is None else (Metric("bdSeq", type=Type.INT64, value=bd_seq),)
    return Payload(T0, seq, (*metrics, *more))


def reason(call, *arguments):
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value.reason


def names(found):
    return [(known.name, metric.value) for known, metric in found]


FLOW = Metric("flow", 1, T0, Type.FLOAT, 1.0)


def test_aliases_mean_what_the_birth_says():
    node = Node()
    node.receive("NBIRTH", "", birth(seq=0, bd_seq=3))
    assert names(
        node.receive("DBIRTH", "pump", birth(FLOW, Metric("speed", None, type=Type.INT32, value=5), seq=1))
    ) == [
        ("flow", 1.0),
        ("speed", 5),
    ]
    data = Payload(T0, 2, (Metric(None, 1, value=2.0), Metric("speed", value=6), Metric(None, 9, value=0), Metric()))
    assert names(node.receive("DDATA", "pump", data)) == [("flow", 2.0), ("speed", 6)]
    assert (node.unknown_metrics, node.wants_rebirth) == (2, True)


def test_a_missing_message_makes_all_stale_until_the_next_birth():
    node = Node()
    list(node.receive("NBIRTH", "", birth(seq=255)))
    list(node.receive("DBIRTH", "pump", birth(FLOW, seq=0)))
    assert reason(node.receive, "DDATA", "pump", Payload(T0, 2, (FLOW,))) == "out_of_sequence"
    assert (node.born, node.wants_rebirth, node.alive) == (False, True, {})
    assert reason(node.receive, "DDATA", "pump", Payload(T0, 3, (FLOW,))) == "unborn"
    list(node.receive("NBIRTH", "", birth(seq=0)))
    assert not node.wants_rebirth
    assert reason(node.receive, "DDATA", "pump", Payload(T0, 1, (FLOW,))) == "unborn"  # the device is not born again
    assert node.wants_rebirth


def test_deaths():
    node = Node()
    list(node.receive("NBIRTH", "", birth(seq=0, bd_seq=7)))
    list(node.receive("DBIRTH", "a", birth(FLOW, seq=1)))
    list(node.receive("DBIRTH", "b", birth(FLOW, seq=2)))
    list(node.receive("DDEATH", "a", Payload(T0, 3)))
    assert set(node.alive) == {"", "b"}
    assert reason(node.receive, "NDEATH", "", birth(seq=None, bd_seq=6)) == "old_death"
    assert node.born
    list(node.receive("NDEATH", "", birth(seq=None, bd_seq=7)))
    assert (node.born, node.alive, node.wants_rebirth) == (False, {}, False)  # it is gone: nobody to ask
    assert reason(node.receive, "NBIRTH", "", Payload(T0)) == "no_seq"


@given(st.data())
def test_only_what_an_unbroken_sequence_since_a_birth_says_is_believed(data):
    """Messages are lost at random: the node believes exactly what a listener that lost none since the birth would."""
    node, sent, lost_since_birth, device_seen, believed, expected = Node(), 0, True, False, [], []
    for n in range(data.draw(st.integers(1, 25))):
        kind = data.draw(st.sampled_from(["NBIRTH", "DBIRTH", "DDATA", "DDATA", "DDATA"]))
        sent = 0 if kind == "NBIRTH" else (sent + 1) % 256
        device = "" if kind == "NBIRTH" else "pump"
        metric = Metric("flow", 1, T0, Type.INT32, n) if kind == "DBIRTH" else Metric(None, 1, T0, value=n)
        # lost on the way; that a birth of the node is lost right after another cannot be told from the numbers
        if kind != "NBIRTH" and data.draw(st.integers(0, 5)) == 0:
            lost_since_birth = True
            continue
        if kind == "NBIRTH":
            lost_since_birth, device_seen = False, False
        elif kind == "DBIRTH" and not lost_since_birth:
            device_seen = True
        try:
            found = list(node.receive(kind, device, birth(*(() if kind == "NBIRTH" else (metric,)), seq=sent)))
            believed += [m.value for _, m in found]
        except Refusal:
            pass
        if kind != "NBIRTH" and not lost_since_birth and device_seen:
            expected.append(n)
    assert believed == expected


# Against brokers.


class Inbox:
    def __init__(self):
        self.arrivals = []

    def put(self, arrival):
        self.arrivals.append(arrival)
        return True

    def values(self):
        return [(a.asset, a.time // 1_000_000 - T0, dict(a.values)) for a in self.arrivals]


class EdgeNode:
    """An edge node with one device; it obeys Rebirth and DCMD."""

    def __init__(self, broker, name="edge-1", device="pump-1", flow=Type.FLOAT):  # noqa: F811
        self.name, self.device, self.flow_type = name, device, flow
        self.seq, self.bd_seq, self.commands, self.births = 0, 0, [], 0
        self.flow, self.states, self.lock = 1.0, [], threading.RLock()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.client.will_set(f"spBv1.0/plant/NDEATH/{name}", encode(self.death()), 1)
        self.client.on_message = self.obey
        granted = []
        self.client.on_subscribe = lambda *_: granted.append(True)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0
        self.client.connect("127.0.0.1", broker.port, properties=properties)
        self.client.loop_start()
        until(self.client.is_connected)
        for topic in (f"spBv1.0/plant/NCMD/{name}", f"spBv1.0/plant/DCMD/{name}/#", "spBv1.0/STATE/#"):
            self.client.subscribe(topic, 1)
        until(lambda: len(granted) == 3)

    def death(self):
        return Payload(None, None, (Metric("bdSeq", type=Type.INT64, value=self.bd_seq),))

    def publish(self, kind, *metrics, device=True, skip=0):
        with self.lock:
            self.seq = 0 if kind == "NBIRTH" else (self.seq + 1 + skip) % 256
            path = f"{self.name}/{self.device}" if device else self.name
            self.client.publish(f"spBv1.0/plant/{kind}/{path}", encode(Payload(T0, self.seq, metrics)), 0)

    def be_born(self):
        with self.lock:
            self.births += 1
            rebirth = Metric("Node Control/Rebirth", type=Type.BOOLEAN, value=False)
            self.publish("NBIRTH", *self.death().metrics, rebirth, device=False)
            metrics = (
                Metric("Process/Flow", 1, T0, self.flow_type, self.flow),
                Metric("mode", 2, T0, Type.STRING, "auto"),
            )
            self.publish("DBIRTH", *metrics)

    def send(self, n, value, skip=0, **more):
        self.publish(
            "DDATA", Metric(None, 1, T0 + n, value=value, type=more.pop("type", self.flow_type), **more), skip=skip
        )

    def obey(self, _client, _data, message):
        if "/STATE/" in message.topic:
            self.states.append(json.loads(message.payload))
            return
        [metric] = decode(message.payload).metrics
        self.commands.append((message.topic, metric))
        if metric.name == "Node Control/Rebirth":
            self.be_born()
        else:
            self.flow = min(number(metric.value, self.flow_type), 50)
            self.publish("DDATA", Metric(None, 1, T0 + 99, self.flow_type, self.flow))

    def settle(self):
        """Return when the broker has had all that was published."""
        self.client.publish("elsewhere", b"", 1).wait_for_publish(20)

    def die(self):
        """The broker publishes the will."""
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def make_source(broker):  # noqa: F811
    made = []

    def make(inbox, **settings):
        settings = {"rename": {"Process/Flow": Rename("flow", 60)}} | settings
        source = SparkplugSource(
            SparkplugSettings(name="spark", url=broker.url, group="plant", **settings), "gw-1", SystemClock()
        )
        source.start(inbox)
        made.append(source)
        until(lambda: source.subscribed)
        return source

    yield make
    for source in made:
        source.stop()


@pytest.fixture
def make_node(broker):  # noqa: F811
    made = []

    def make(**options):
        made.append(EdgeNode(broker, **options))
        return made[-1]

    yield make
    for node in made:
        node.close()


def test_births_and_data(make_source, make_node):
    inbox, node = Inbox(), make_node()
    source = make_source(inbox)
    node.be_born()
    node.send(1, 2.0)
    node.send(2, 3.0, is_historical=True)
    node.publish("DDATA", Metric(None, 1, T0 + 3, is_null=True), Metric(None, 1, T0 + 4, value=9.0, type=9, quality=0))
    node.publish("DDATA", Metric(None, 1, T0 + 6, value=5.0, type=9), Metric(None, 1, T0 + 5, value=4.0, type=9))
    until(lambda: len(inbox.arrivals) == 5)
    assert inbox.values() == [
        ("pump-1", 0, {"flow": 60.0}),
        ("pump-1", 1, {"flow": 120.0}),
        ("pump-1", 2, {"flow": 180.0}),
        ("pump-1", 5, {"flow": 240.0}),
        ("pump-1", 6, {"flow": 300.0}),
    ]
    counts = source.status().counts
    told = {"historical": 1, "null": 1, "bad_quality": 1, "not_numeric": 1, "nbirth": 1, "dbirth": 1, "ddata": 4}
    assert told.items() <= counts.items()
    assert source.status().detail == "connected; 2 nodes and devices alive"


def test_a_node_that_was_born_before_us_is_asked_to_be_born_again(make_source, make_node):
    inbox, node = Inbox(), make_node()
    node.be_born()
    node.settle()
    source = make_source(inbox)
    node.send(1, 2.0)
    until(lambda: node.births == 2)
    until(lambda: len(inbox.arrivals) == 1)  # of the birth
    node.send(2, 3.0)
    until(lambda: len(inbox.arrivals) == 2)
    assert (source.status().counts["unborn"], source.status().counts["rebirths"]) == (1, 1)


def test_a_lost_message_and_no_more_than_one_request_at_a_time(make_source, make_node):
    inbox, node = Inbox(), make_node()
    node.obey = lambda *_: None  # deaf
    node.client.on_message = lambda _client, _data, message: node.commands.append(message.topic)
    source = make_source(inbox)
    node.be_born()
    for n in range(5):
        node.send(n, 2.0, skip=1 if n == 0 else 0)
    until(lambda: source.status().counts["unborn"] == 4)
    until(lambda: [topic for topic in node.commands if "NCMD" in topic] == ["spBv1.0/plant/NCMD/edge-1"])
    assert source.status().counts["out_of_sequence"] == 1
    assert source.status().counts["rebirths"] == 1
    assert source.status().detail.endswith("; 0 nodes and devices alive, stale: edge-1")
    assert len(inbox.arrivals) == 1


def test_a_node_that_dies_is_stale(make_source, make_node):
    inbox, node = Inbox(), make_node()
    source = make_source(inbox)
    node.be_born()
    until(lambda: inbox.arrivals)
    node.die()
    until(lambda: source.status().counts["ndeath"] == 1)
    assert "stale: edge-1" in source.status().detail
    reborn = make_node()
    reborn.bd_seq = 1
    reborn.be_born()
    until(lambda: len(inbox.arrivals) == 2)
    assert "stale" not in source.status().detail


def test_the_nodes_see_whether_we_are_there(make_source, make_node):
    node = make_node()
    source = make_source(Inbox())
    until(lambda: node.states and node.states[-1]["online"])
    node.client.publish("spBv1.0/STATE/gw-1", json.dumps({"online": False, "timestamp": 1}), 1)  # a late will of ours
    until(lambda: [state["online"] for state in node.states][-2:] == [False, True])
    source.stop()
    until(lambda: not node.states[-1]["online"])
    assert {state["timestamp"] for state in node.states} - {1} == {node.states[-1]["timestamp"]}


def test_after_a_broken_connection_all_are_asked_to_be_born_again(make_source, make_node, broker):  # noqa: F811
    inbox, node = Inbox(), make_node()
    source = make_source(inbox)
    node.be_born()
    until(lambda: inbox.arrivals)
    node.close()
    broker.restart()
    node = make_node()
    until(lambda: source.subscribed and source.status().counts["connects"] == 2)
    if not node.births:  # it may have come back too late to hear us
        node.be_born()
    until(lambda: len(inbox.arrivals) >= 2)
    assert source.status().counts["rebirths"] >= 1


@pytest.mark.parametrize("type_", [Type.FLOAT, Type.INT32])
def test_a_set_point_is_written_and_read_back(make_source, make_node, type_):
    inbox, node = Inbox(), make_node(flow=type_)
    node.flow = 1
    source = make_source(inbox, timeout=0.6)
    with pytest.raises(CommandError, match="no birth of pump-1 has been seen"):
        source.write("pump-1", "flow", 60)
    node.be_born()
    until(lambda: inbox.arrivals)
    assert source.write("pump-1", "flow", 600) == 600
    assert source.write("pump-1", "flow", 60_000) == 3000  # its limit
    topic, metric = node.commands[0]
    assert (topic, metric.name, metric.alias, metric.value) == ("spBv1.0/plant/DCMD/edge-1/pump-1", None, 1, 10)
    with pytest.raises(CommandError, match="no metric of that name"):
        source.write("pump-1", "speed", 1)
    if type_ == Type.INT32:
        with pytest.raises(CommandError, match="does not fit"):
            source.write("pump-1", "flow", 30)


def test_names_of_assets(make_source, make_node):
    inbox = Inbox()
    source = make_source(inbox, assets={"edge-1/pump": "pump-1", "edge-2": "line-2"})
    first, second = make_node(device="pump"), make_node(name="edge-2", device="pump-1")
    third = make_node(name="edge-3", device="ä")
    first.be_born()
    until(lambda: inbox.arrivals)
    second.be_born()
    third.be_born()
    second.publish("NDATA", device=False)
    until(lambda: source.status().counts["asset_twice"] == 1)
    until(lambda: source.status().counts["bad_asset"] == 1)
    assert {arrival.asset for arrival in inbox.arrivals} == {"pump-1"}
    second.publish("NBIRTH", Metric("flow", type=Type.DOUBLE, value=5.0), device=False)
    until(lambda: len(inbox.arrivals) == 2)
    assert (inbox.arrivals[1].asset, inbox.arrivals[1].values) == ("line-2", {"flow": 5.0})


def test_check(make_node, broker, monkeypatch):  # noqa: F811
    monkeypatch.setattr("edge_runtime.sources.sparkplug.source.LISTEN", 0.5)
    node = make_node()
    source = SparkplugSource(SparkplugSettings(name="spark", url=broker.url, group="plant"), "gw-1", SystemClock())
    timer = threading.Timer(0.2, node.be_born)
    timer.start()
    assert [(finding.ok, finding.detail) for finding in source.check()] == [
        (True, "connected"),
        (True, "edge-1, edge-1/pump-1"),
    ]
    timer.join()
    source = SparkplugSource(SparkplugSettings(name="spark", url=broker.url, group="palnt"), "gw-1", SystemClock())
    _, silent = source.check()
    assert (silent.warn, silent.detail.endswith("is the group spelt right?")) == (True, True)
    assert node.states == []  # a trial tells nobody that a host is there
    broker.kill()
    [finding] = source.check()
    assert not finding.ok


topics = st.one_of(
    st.builds(
        lambda kind, tail: f"spBv1.0/plant/{kind}/{tail}".encode(),
        st.sampled_from(["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH", "NCMD", "X", "STATE"]),
        st.sampled_from(["edge", "edge/pump", "edge/ä", "edge/pump/x", ""]),
    ),
    st.sampled_from([b"spBv1.0/STATE/gw-1", b"spBv1.0", b"\xff", b"spBv1.0/STATE", b"other/plant/NDATA/edge"]),
)
metrics = st.builds(
    Metric,
    st.none() | st.sampled_from(["flow", "bdSeq", "Node Control/Rebirth", "a b"]),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 2**64 - 1),
    st.sampled_from([0, 3, 4, 9, 10, 11, 12, 16]),
    st.integers(-1000, 1000),
    st.booleans(),
    st.booleans(),
    st.sampled_from([GOOD, 0, 500]),
)
payloads = st.one_of(
    st.binary(max_size=60),
    st.builds(
        Payload, st.none() | st.integers(0, 2**64 - 1), st.none() | st.integers(0, 300), st.lists(metrics, max_size=4)
    ).map(encode),
    st.sampled_from([b'{"online": false}', b"{", b"[" * 5000]),
)


@given(st.lists(st.tuples(topics, payloads, st.booleans()), max_size=12))
def test_whatever_comes_it_never_raises_and_everything_is_acknowledged(messages):
    settings = SparkplugSettings(name="spark", url="mqtt://localhost", group="plant")
    source, inbox = SparkplugSource(settings, "gw-1", SystemClock()), Inbox()
    source._put = inbox.put
    for number_, (topic, payload, waits) in enumerate(messages):
        source.message(0x32, topic, b"", payload, (0, number_) if waits else None)
        source._ask_for_births()
    assert source._counts["unexpected"] == 0
    receipts = source._done + [a.receipt for a in inbox.arrivals if a.receipt]
    assert sorted(receipts) == [(0, n) for n, (*_, waits) in enumerate(messages) if waits]
    assert all(type(a.time) is int and abs(a.time) < 2**62 for a in inbox.arrivals)


def test_a_node_that_invents_devices_fills_no_memory(monkeypatch):
    monkeypatch.setattr("edge_runtime.sources.sparkplug.source.MOST_DEVICES", 10)
    settings = SparkplugSettings(name="spark", url="mqtt://localhost", group="plant")
    source = SparkplugSource(settings, "gw-1", SystemClock())
    source._put = Inbox().put

    def send(seq, kind, device, *metrics):
        topic = f"spBv1.0/plant/{kind}/edge/{device}".rstrip("/").encode()
        source.message(0x32, topic, b"", encode(birth(*metrics, seq=seq % 256)), None)

    send(0, "NBIRTH", "")
    for seq in range(1, 101):
        send(seq, "DBIRTH", f"d-{seq}", FLOW)
    assert source._counts["too_many_devices"] == 91  # the node itself is alive, too
    send(101, "DDATA", "d-1", FLOW)  # those that were there first go on
    assert source._counts["ddata"] == 1
    for seq in range(102, 300, 2):  # births and deaths of ever new ones
        send(seq, "DDEATH", f"d-{seq - 100}" if seq < 120 else f"e-{seq - 1}")
        send(seq + 1, "DBIRTH", f"e-{seq + 1}", FLOW)
    assert len(source._assets) <= 21
    assert source._counts["unexpected"] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"group": "a/b"}, "group"), ({"host_id": ""}, "host_id"), ({"assets": {"a": "ä"}}, "assets.a")],
)
def test_settings_that_cannot_be_meant(changes, said):
    with pytest.raises(ValueError, match=said):
        SparkplugSettings(**({"name": "s", "url": "mqtt://localhost", "group": "g"} | changes))


def test_without_protobuf_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "google.protobuf" else find(name))
    with pytest.raises(EdgeError, match=r"overhaul\[sparkplug\]"):
        SparkplugSource(SparkplugSettings(name="s", url="mqtt://localhost", group="g"), "gw-1", SystemClock())
