"""Packets are cut the same however the bytes come in, and as paho itself cuts them."""

import itertools
import socket
import struct

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.mqtt.wire import Wire


def varint(n):
    out = b""
    while True:
        n, digit = divmod(n, 128)
        out += bytes([digit | 128 if n else digit])
        if not n:
            return out


def packet(first, body):
    return bytes([first]) + varint(len(body)) + body


def publish(topic, payload, qos=1, mid=1, properties=b"", flags=0):
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if qos else b"")
    return packet(0x30 | qos << 1 | flags, body + varint(len(properties)) + properties + payload)


class Pipe:
    """A socket that hands out these pieces, then has nothing for now."""

    family = None

    def __init__(self, *pieces):
        self.pieces, self.sent, self.room = list(pieces), b"", 1 << 30

    def recv(self, size):
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def send(self, data):
        if not self.room:
            raise BlockingIOError
        taken = bytes(data[: self.room])
        self.sent, self.room = self.sent + taken, self.room - len(taken)
        return len(taken)


def read(*pieces):
    """What is delivered, and what is left to paho."""
    got = []
    pipe = Pipe(*pieces)
    wire = Wire(pipe, lambda *message: got.append(message))
    while pipe.pieces:
        wire.fill()
    return got, drain(wire), wire


def drain(wire):
    control = b""
    while wire.pending():
        control += wire.recv(7)
    return control


def cut(data, places):
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


packets = st.lists(
    st.one_of(
        st.builds(
            publish,
            st.binary(max_size=200),
            st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes)),
            st.sampled_from([0, 1]),
            st.integers(1, 65_535),
            st.one_of(st.just(b""), st.integers(0, 300).map(lambda n: b"\x0b" * n)),
            st.sampled_from([0, 1, 8, 9]),
        ),
        st.builds(packet, st.sampled_from([0x20, 0x40, 0x90, 0xD0, 0xE0]), st.binary(max_size=200)),
    ),
    max_size=8,
)


@given(packets, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_however_the_bytes_come_in_the_messages_are_the_same(whole, places):
    stream = b"".join(whole)
    got, control, _ = read(*cut(stream, places))
    alone = [read(one) for one in whole]
    assert got == [message for messages, _, _ in alone for message in messages]
    assert control == b"".join(left for _, left, _ in alone)
    assert control == b"".join(one for one in whole if one[0] & 0xF0 != 0x30)


@given(
    st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.binary(max_size=400),
    st.sampled_from([0, 1]),
    st.integers(1, 65_535),
    st.sampled_from([b"", b"\x03\x00\x01x", b"\x26\x00\x01a\x00\x02bc"]),
    st.sampled_from([0, 1, 8]),
)
def test_a_message_is_what_paho_makes_of_it(topic, payload, qos, mid, properties, flags):
    data = publish(topic.encode(), payload, qos, mid, properties, flags if qos else flags & 1)
    [(first, got_topic, got_mid, got_properties, got_payload)], control, _ = read(data)

    seen = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, manual_ack=True)
    client.on_message = lambda _client, _data, message: seen.append(message)
    client._sock = Pipe(data)
    client._sock.close = lambda: None
    client.loop_read()
    [message] = seen
    assert (got_topic.decode(), got_payload, got_mid if qos else 0) == (message.topic, message.payload, message.mid)
    assert (first >> 1 & 3, first & 1, first >> 3 & 1) == (message.qos, message.retain, message.dup)
    assert message.properties.pack() == bytes([len(properties)]) + properties
    assert (got_properties, control) == (properties, b"")


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\0\5abc", b"\0\1t", b"\0\1t\0", b"\0\1t\0\1", b"\0\1t\0\1\x05abc", b"\0\1t\0\1\xff\xff\xff\xff\x01"],
)
def test_a_malformed_message_is_left_to_paho_which_ends_the_connection(body):
    data = packet(0x32, body)
    got, control, _ = read(data)
    assert (got, control) == ([], data)


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=10))
def test_random_bytes_do_no_harm(pieces):
    got, control, wire = read(*pieces)
    assert len(b"".join(m[1] + m[4] for m in got)) + len(control) <= sum(map(len, pieces))
    if wire.ended:
        with pytest.raises(ConnectionError, match="not MQTT"):
            wire.recv(1)


def test_the_end_is_told_after_what_came_before_it():
    got, control, wire = read(publish(b"t", b"x"), b"\xd0\x00", ConnectionResetError(104, "reset"))
    assert (len(got), control, wire.for_paho) == (1, b"\xd0\x00", True)
    with pytest.raises(ConnectionResetError):
        wire.recv(1)
    *_, wire = read(b"")
    with pytest.raises(ConnectionResetError, match="closed"):
        wire.recv(1)


def test_nothing_to_read_is_not_the_end():
    *_, wire = read(b"\x30")
    with pytest.raises(BlockingIOError):
        wire.recv(1)


def test_what_is_sent_is_joined_and_waits_for_a_socket_that_is_full():
    pipe = Pipe()
    wire = Wire(pipe, print)
    assert [wire.send(b"ab"), wire.send(b"cde")] == [2, 3]
    assert (pipe.sent, wire.unsent) == (b"", 5)
    pipe.room = 4
    assert not wire.flush()
    assert (pipe.sent, wire.unsent) == (b"abcd", 1)
    pipe.room = 4
    assert wire.flush()
    assert (pipe.sent, wire.unsent) == (b"abcde", 0)


def test_a_broker_that_does_not_read_does_not_fill_the_memory():
    wire = Wire(Pipe(), print)
    for _ in range(5):
        wire.send(bytes(1 << 20))
    with pytest.raises(BlockingIOError):
        wire.send(b"x")
    assert wire.unsent == 5 << 20


def test_a_large_message_in_small_pieces_takes_linear_time():
    data = publish(b"t", bytes(16 << 20))
    got, _, _ = read(*[data[i : i + 4096] for i in range(0, len(data), 4096)])
    assert len(got[0][4]) == 16 << 20


def test_real_sockets():
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        got = []
        wire = Wire(here, lambda *message: got.append(message))
        assert not wire.fill()
        there.sendall(publish(b"a", b"1") + publish(b"b", b"2", qos=0))
        assert not wire.fill()
        assert [(m[1], m[2], m[4]) for m in got] == [(b"a", 1, b"1"), (b"b", 0, b"2")]
        wire.send(b"xyz")
        wire.close()
        assert there.recv(10) == b"xyz"


def test_whoever_publishes_past_paho_hears_what_is_acknowledged():
    acked, pipe = [], Pipe(b"\x40\x02\x01\x02" + b"\x40\x03\x00\x05\x10" + b"\xd0\x00")
    wire = Wire(pipe, print, acked.append)
    wire.fill()
    assert (acked, drain(wire)) == ([258, 5], b"\xd0\x00")
