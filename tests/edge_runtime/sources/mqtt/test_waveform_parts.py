"""Waveforms from devices: whole or in parts, in any order, again, damaged, never complete."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sources.mqtt import waveform
from edge_runtime.sources.mqtt.payload import Refusal, Times
from edge_runtime.sources.mqtt.waveform import Header, Parts, read_header, samples_of, user_properties

TIMES = Times("ns")


def header(**values):
    packed = user_properties(values).pack()
    at = next(i for i, byte in enumerate(packed) if byte < 128) + 1
    return read_header(packed[at:], TIMES)


def reason(call, *arguments, **named):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **named)
    return caught.value.reason


def test_what_user_properties_say():
    assert header(asset="pump-1", channel="shake", time=12, axes=3, samples=4, rate=1000, unit="m/s2") == Header(
        "pump-1", "shake", 12, 3, 4
    )
    assert header(time="2026-01-03T10:00:00.5Z").time == 1767434400_500000000
    assert header(time="12.5").time == 12
    assert header() == read_header(b"", TIMES) == Header()
    with_parts = header(id="a", part=1, parts=2, sha256="0" * 64)
    assert (with_parts.id, with_parts.part, with_parts.parts) == ("a", 1, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"axes": 0}, "bad_properties"),
        ({"axes": "three"}, "bad_properties"),
        ({"axes": 65}, "bad_properties"),
        ({"samples": -1}, "bad_properties"),
        ({"time": "soon"}, "bad_time"),
        ({"part": 1, "parts": 1}, "bad_part"),
        ({"parts": 2, "sha256": "0" * 64}, "bad_part"),
        ({"parts": 2, "id": "a"}, "bad_part"),
        ({"parts": 2, "id": "a", "sha256": "A" * 64}, "bad_part"),
        ({"parts": 5000, "id": "a", "sha256": "0" * 64}, "bad_properties"),
    ],
)
def test_what_they_cannot_say(values, expected):
    assert reason(header, **values) == expected


def test_other_contents_are_refused():
    assert reason(read_header, b"\x03\x00\x10application/json", TIMES) == "bad_content_type"
    assert reason(read_header, b"\x7f", TIMES) == "bad_properties"
    assert reason(read_header, b"\x26\x00", TIMES) == "bad_properties"


@given(st.binary(max_size=100))
def test_random_properties_are_read_or_refused(properties):
    try:
        outcome = read_header(properties, TIMES)
    except Refusal as refusal:
        outcome = refusal.reason
    assert isinstance(outcome, Header) or outcome in ("bad_properties", "bad_content_type", "bad_time", "bad_part")


def test_little_endian_axis_by_axis():
    samples = samples_of(np.arange(6, dtype="<f4").tobytes(), Header(axes=2))
    np.testing.assert_array_equal(samples, [[0, 1, 2], [3, 4, 5]])
    assert samples.dtype == np.float32
    wrong = [(b"", Header()), (bytes(6), Header()), (bytes(8), Header(samples=3)), (bytes(8), Header(axes=3))]
    for payload, described in wrong:
        assert reason(samples_of, payload, described) == "bad_shape"


def make_parts():
    refused = []
    return Parts(lambda why, receipts: refused.append((why, receipts))), refused


def cut(payload, count, name="a"):
    digest = hashlib.sha256(payload).hexdigest()
    size = -(-len(payload) // count)
    return [
        (Header(id=name, part=i, parts=count, sha256=digest), payload[i * size : i * size + size]) for i in range(count)
    ]


@given(st.binary(min_size=1, max_size=60), st.integers(2, 6), st.data())
def test_parts_in_any_order_and_again_make_the_whole(payload, count, data):
    parts, refused = make_parts()
    pieces = cut(payload, count)
    order = data.draw(st.permutations(range(count)))
    again = data.draw(st.lists(st.sampled_from(order[:-1]), max_size=4))
    number, newest = 0, {}
    for i in [*order[:-1], *again, order[-1]]:
        number += 1
        newest[i] = number
        whole = parts.add("pump-1", "shake", *pieces[i], (0, number), 0)
    assert whole.payload == payload
    assert whole.receipt == (0, *sorted(newest.values()))
    assert sorted(r for why, receipts in refused for r in receipts if why == "redelivered") == [
        (0, n) for n in range(1, number + 1) if n not in newest.values()
    ]
    assert (len(parts), parts._size) == (0, 0)


def test_after_a_reconnect_only_the_new_receipts_count():
    parts, refused = make_parts()
    first, second = cut(b"abcd", 2)
    assert parts.add("p", "c", *first, (0, 7), 0) is None
    assert parts.add("p", "c", *first, (1, 0), 0) is None
    assert parts.add("p", "c", *second, (1, 1), 0) == (b"abcd", (1, 0, 1))
    assert refused == [("redelivered", [(0, 7)])]


def test_after_a_reconnect_there_is_time_anew():
    parts, refused = make_parts()
    first, second = cut(b"abcd", 2)
    assert parts.add("p", "c", *first, (0, 7), 0) is None
    assert parts.add("p", "c", *first, (1, 0), 59_000_000_000) is None
    parts.expire(61_000_000_000)
    assert parts.add("p", "c", *second, (1, 1), 61_000_000_000) == (b"abcd", (1, 0, 1))
    assert refused == [("redelivered", [(0, 7)])]


def test_a_part_that_is_sent_again_and_again_gets_no_more_time():
    parts, refused = make_parts()
    first, _ = cut(b"abcd", 2)
    for number in range(4):
        parts.add("p", "c", *first, (0, number), number * 20_000_000_000)
    parts.expire(61_000_000_000)
    assert refused[-1] == ("incomplete", [(0, 3)])


def test_damage_is_found_and_contradictions_are_refused():
    parts, refused = make_parts()
    first, second = cut(b"abcd", 2)
    assert parts.add("p", "c", *first, (0, 1), 0) is None
    other = Header(id="a", part=1, parts=3, sha256=first[0].sha256)
    assert reason(parts.add, "p", "c", other, b"x", (0, 2), 0) == "bad_part"
    assert parts.add("p", "c", second[0], b"cX", (0, 3), 0) is None
    assert refused == [("bad_checksum", [(0, 1), (0, 3)])]


def test_what_never_becomes_complete_is_given_up(monkeypatch):
    monkeypatch.setattr(waveform, "MOST_BYTES", 10)
    parts, refused = make_parts()
    parts.add("p", "c", *cut(b"abcd", 2, "old")[0], (0, 1), now=0)
    parts.add("p", "c", *cut(b"abcd", 2, "new")[0], None, now=50_000_000_000)
    parts.expire(61_000_000_000)
    assert refused == [("incomplete", [(0, 1)])]
    parts.add("p", "c", *cut(b"a" * 18, 2, "big")[0], (0, 2), now=0)  # 2 + 9 bytes wait: the oldest goes
    assert refused[1:] == [("incomplete", [])]
    parts.add("p", "c", *cut(b"a" * 40, 2, "huge")[0], (0, 3), now=0)
    assert refused[2:] == [("incomplete", [(0, 2)]), ("incomplete", [(0, 3)])]
    assert (len(parts), parts._size) == (0, 0)
