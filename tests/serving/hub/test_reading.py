"""Whatever comes over MQTT is read, or is a dead letter; nothing raises."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import BLOCK, JSON, WAVEFORM
from edge_runtime.contract.text import dump
from edge_runtime.contract.wire import REASONS
from serving.hub.reading import Key, Letter, content_type, read
from tests.edge_runtime.contract.messages import FUZZ, outgoings
from tests.serving.hub import made

TOPIC = b"overhaul/1/north/gw-7/up/event"


@given(outgoings(), st.integers(1, 2**63 - 1))
@settings(deadline=None)
def test_messages(drawn, seq):
    _, outgoing = drawn
    found = read(made.letter(outgoing, seq))
    assert (found.site, found.gateway, found.dead) == (made.SITE, made.GATEWAY, None)
    assert found.key == Key(made.EPOCH, int(outgoing.lane), seq, 1)
    assert found.message.envelope.kind == outgoing.kind


@given(st.binary(max_size=40), st.text(max_size=20), st.binary(max_size=200))
@FUZZ
def test_anything(topic, content, payload):
    assert read(Letter(topic, content, payload)).dead.reason in REASONS


@given(st.data())
@FUZZ
def test_damaged_messages(data):
    _, outgoing = data.draw(outgoings())
    letter = made.letter(outgoing, data.draw(st.integers(1, 2**63 - 1)))
    payload = bytearray(letter.payload)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    content = data.draw(st.sampled_from([letter.content, JSON, BLOCK, WAVEFORM]))
    found = read(letter._replace(payload=bytes(payload[:cut]), content=content))
    assert found.dead is None or found.dead.reason in (*REASONS, "identity")
    assert [found.message, found.status, found.dead].count(None) == 2


def header(**changes):
    value = {"schema": "2.0", "gateway": made.GATEWAY, "epoch": 5, "lane": "raw", "seq": 9, "floor": 3} | changes
    return {name: item for name, item in value.items() if item is not None}


def framed(value):
    text = dump(value)
    return struct.pack("<I", len(text)) + text + b"who knows"


def test_a_newer_major_is_acknowledged_as_far_as_it_says_who_it_is():
    for letter in (Letter(TOPIC, JSON, dump(header())), Letter(TOPIC, "application/x", framed(header()))):
        found = read(letter)
        assert found.dead.reason in ("major", "content")
        assert found.key == Key(5, 3, 9, 3)
    assert read(Letter(TOPIC, JSON, dump(header(floor=None)))).key == Key(5, 3, 9, 0)


def test_what_does_not_say_who_it_is_cannot_be_acknowledged():
    wrong = [
        {"gateway": "gw-8"},
        {"lane": "slow"},
        {"lane": ["raw"]},
        {"seq": 0},
        {"seq": True},
        {"seq": None},
        {"epoch": -1},
        {"epoch": "5"},
    ]
    for changes in wrong:
        assert read(Letter(TOPIC, JSON, dump(header(**changes)))).key is None, changes


def test_a_topic_of_a_newer_contract():
    found = read(Letter(TOPIC.replace(b"/1/", b"/2/"), JSON, b"{}"))
    assert (found.gateway, found.dead.reason, found.key) == (made.GATEWAY, "major", None)


def test_content_types():
    def text(value):
        return struct.pack(">H", len(value)) + value

    assert content_type(b"") == ""
    assert content_type(b"\x03" + text(b"a/b")) == "a/b"
    assert content_type(b"\x26" + text(b"k") + text(b"v") + b"\x01\x01\x03" + text(b"a/b")) == "a/b"
    assert content_type(b"\xff\xff") == ""
    assert content_type(b"\x03\xff") == ""
