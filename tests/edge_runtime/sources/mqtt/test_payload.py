"""Payloads: what devices write is understood; what cannot be used is refused by reason, whatever it is."""

import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.clock import SystemClock
from edge_runtime.sources.mqtt.payload import Refusal, Rename, Times, json_decoder, load, load_number, number_decoder
from edge_runtime.sources.mqtt.reader import Reader
from edge_runtime.sources.mqtt.setpoint import MqttCommand, _Waiter
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.timestamps import format_times, parse_times

# 10,000 cases under the thorough profile, which asks for 3,000
FUZZ = settings(max_examples=10_000 if settings.default.max_examples > 1000 else 300)
MS = Times("ms")


def reason(call, *arguments):
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value.reason


def decoder(time_key="time", values_key=None, value_key="value", channel=None, renames=None, times=MS):
    return json_decoder(time_key, times, values_key, value_key, channel, renames or {})


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\xff\xfe", "not_utf8"),
        (b"", "not_json"),
        (b"flow=3", "not_json"),
        (b'{"flow": 3} {}', "not_json"),
        (b'{"flow": NaN}', "not_json"),
        (b'{"flow": -Infinity}', "not_json"),
        (b'{"flow": 1' + b"0" * 5000 + b"", "not_json"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 50_000, "too_deep"),
        (b"[1]", "not_object"),
        (b"3", "not_object"),
        (b"null", "not_object"),
        (json.dumps({str(i): i for i in range(1001)}).encode(), "too_many_keys"),
        (b'{"time": "soon"}', "bad_time"),
        (b'{"time": true}', "bad_time"),
        (b'{"time": [1]}', "bad_time"),
        (b'{"time": 1e999}', "bad_time"),
        (b'{"time": 99999999999999999999}', "bad_time"),
        (b'{"time": "2026-01-03T10:00:00' + b"0" * 100 + b'"}', "bad_time"),
    ],
)
def test_what_cannot_be_used_has_a_reason(payload, expected):
    assert reason(decoder(), payload) == expected


def test_an_object_of_readings():
    assert decoder()(b' {"time": 12, "flow": 1.5, "on": true, "mode": "auto"}\n') == (
        12_000_000,
        {"flow": 1.5, "on": True, "mode": "auto"},
    )
    assert decoder()(b'{"flow": 1}') == (None, {"flow": 1})
    assert decoder()(b'{"time": null, "flow": 1}') == (None, {"flow": 1})


def test_readings_in_an_object_of_their_own():
    decode = decoder(time_key="ts", values_key="d")
    assert decode(b'{"ts": 1, "d": {"flow": 2}}') == (1_000_000, {"flow": 2})
    assert reason(decode, b'{"ts": 1}') == "not_object"
    assert reason(decode, b'{"d": 1}') == "not_object"
    assert reason(decode, json.dumps({"d": {str(i): i for i in range(1001)}}).encode()) == "too_many_keys"


def test_an_object_with_the_reading_of_one_channel():
    decode = decoder(channel="flow", value_key="v")
    assert decode(b'{"time": 1, "v": 2}') == (1_000_000, {"flow": 2})
    assert reason(decode, b'{"time": 1, "w": 2}') == "no_value"


def test_keys_become_channels_with_their_scale():
    renames = {"Q": Rename("flow", 60, 1), "flow": Rename("pressure")}
    decode = decoder(renames=renames)
    assert decode(b'{"Q": 2, "flow": 3, "speed": 4}') == (None, {"flow": 121, "pressure": 3, "speed": 4})
    assert decode(b'{"Q": "low"}') == (None, {"flow": "low"})  # for the intake to refuse
    assert decode(b'{"Q": 1' + b"0" * 400 + b"}")[1]["flow"] == math.inf
    assert number_decoder("Q", renames)(b"2") == (None, {"flow": 121})


def test_a_whole_number_of_any_length_takes_no_time():
    big = b'{"flow": -1' + b"0" * 60_000 + b', "x": "' + b"y" * 10 + b'"}'
    assert decoder()(big)[1]["flow"] == -math.inf


@pytest.mark.parametrize(
    ("text", "value"), [(b"3", 3), (b" -2.5e3\n", -2500), (b"+1", 1), (b"1e999", None), (b"nan", None), (b"inf", None)]
)
def test_bare_numbers(text, value):
    if value is None:
        assert reason(load_number, text) == "not_a_number"
    else:
        assert load_number(text) == value


@pytest.mark.parametrize("text", [b"", b"on", b"1,5", b"0x10", b"\xff", b"1" * 64, b"{}"])
def test_bare_payloads_that_are_no_numbers(text):
    assert reason(load_number, text) == "not_a_number"


@pytest.mark.parametrize(
    ("unit", "value", "nanos"),
    [
        ("ns", 1767434400123456789, 1767434400123456789),
        ("us", 1767434400123456, 1767434400123456000),
        ("ms", 1767434400123, 1767434400123000000),
        ("ms", 1767434400123.5, 1767434400123500000),
        ("s", 1767434400, 1767434400000000000),
        ("s", 1767434400.25, 1767434400250000000),
        ("s", -1.5, -1500000000),
        ("cycle", 12, 12_000_000_000),
        ("s", "2026-01-03T10:00:00Z", 1767434400000000000),
        ("ms", "2026-01-03 11:00:00.125+0100", 1767434400125000000),
        ("ns", "2026-01-03", 1767398400000000000),
    ],
)
def test_times(unit, value, nanos):
    times = Times(unit)
    assert [times(value), times(value)] == [nanos, nanos]  # the second one by what is remembered


def test_cycles_are_numbers():
    assert reason(Times("cycle"), "2026-01-03T10:00:00Z") == "bad_time"


@given(st.integers(-(2**62) + 1, 2**62 - 1), st.sampled_from(["", "Z", "+00:00", "-03:30"]), st.integers(0, 9))
def test_text_is_read_as_the_tables_of_history_are(nanos, zone, digits):
    times = Times("ms")
    step = 10 ** (9 - digits)
    text = format_times(np.array([nanos // step * step]), "s")[0].removesuffix("Z")
    text = (text.split(".")[0] + ("." + text.split(".")[1][:digits] if "." in text and digits else "")) + zone
    expected, usable = parse_times([text], "s")
    for _ in range(2):
        if usable[0] and abs(int(expected[0])) < 2**62:
            assert times(text) == expected[0]
        else:
            assert reason(times, text) == "bad_time"


@given(st.text(alphabet="0123456789-:. TZ+", max_size=40), st.text(alphabet="0123456789.Z+:", max_size=12))
def test_no_text_is_understood_differently_the_second_time(text, rest):
    times = Times("s")
    times("2026-01-03T10:00:00Z")
    for candidate in (text, "2026-01-03T10:00:00" + rest):
        expected, usable = parse_times([candidate], "s")
        if usable[0] and len(candidate) <= 64:
            assert times(candidate) == expected[0]
        else:
            assert reason(times, candidate) == "bad_time"


@given(st.floats(-4.6e9, 4.6e9))
def test_seconds_keep_all_that_a_float_holds(seconds):
    assert abs(Times("s")(seconds) - int(np.float64(seconds).astype(np.longdouble) * 10**9)) <= 1


# Anything at all, through a reader.

TOPICS = (
    MqttTopic("plant/{asset}/readings", rename={"Q": Rename("flow", 2, 1)}),
    MqttTopic("plant/{asset}/nested", values_key="d", time_unit="s"),
    MqttTopic("plant/{asset}/{channel}", format="value"),
    MqttTopic("line/{asset}/{channel}", time_unit="us", max_bytes=200),
    MqttTopic("waves/{asset}/{channel}", format="waveform"),
    MqttTopic("any/#", format="waveform"),
)
REASONS = (
    {"too_large", "not_utf8", "not_json", "not_object", "no_value", "too_deep", "too_many_keys", "not_a_number"}
    | {"bad_time", "retained", "bad_topic", "bad_asset", "bad_properties", "bad_content_type", "bad_channel"}
    | {"bad_shape", "bad_part", "bad_checksum", "incomplete"}
)
TOLD = {"received", "untimed", "redelivered"}


class Keep:
    def __init__(self):
        self.arrivals = []

    def put(self, arrival):
        self.arrivals.append(arrival)
        return True


class Settings:
    """As much of a broker's settings as a reader that never connects needs."""

    receive_maximum = 100


def make_reader(topics=TOPICS):
    reader, inbox = Reader(None, Settings(), "test", topics, SystemClock()), Keep()
    reader._put = inbox.put
    return reader, inbox


def test_the_time_of_receipt_is_no_number_of_cycles():
    topics = (
        MqttTopic("plant/{asset}/readings", time_unit="cycle"),
        MqttTopic("waves/{asset}/{channel}", format="waveform", time_unit="cycle"),
    )
    reader, inbox = make_reader(topics)
    reader.message(0, b"plant/pump-1/readings", b"", b'{"flow": 1}', None)
    reader.message(0, b"waves/pump-1/shake", b"", bytes(8), None)
    assert (inbox.arrivals, reader.counts) == ([], {"received": 2, "bad_time": 2})
    reader.message(0, b"plant/pump-1/readings", b"", b'{"flow": 1, "time": 17}', None)
    reader.message(0, b"waves/pump-1/shake", user_property("time", "17"), bytes(8), None)
    assert [arrival.time for arrival in inbox.arrivals] == [17_000_000_000] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(
    st.sampled_from(["time", "Q", "flow", "d", "value", "event", "age"]) | st.text(max_size=5), json_values, max_size=6
)
payloads = st.one_of(
    st.binary(max_size=300),
    objects.map(lambda value: json.dumps(value).encode()),
    objects.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")[:40]),
    st.floats().map(lambda value: repr(value).encode()),
    st.lists(st.floats(width=32), max_size=12).map(lambda values: np.array(values, "<f4").tobytes()),
    st.integers(0, 3000).map(lambda depth: b"[" * depth),
)
levels = st.sampled_from(["plant", "line", "waves", "any", "readings", "nested", "flow", "pump-1", "pumpe ß", ""])
topics = st.one_of(
    st.lists(levels, min_size=1, max_size=4).map("/".join).map(str.encode),
    st.builds(lambda head, tail: f"{head}/pump-1/{tail}".encode(), st.sampled_from(["plant", "line", "waves"]), levels),
    st.binary(max_size=40),
)
names = st.sampled_from(["asset", "channel", "time", "axes", "samples", "id", "part", "parts", "sha256", "rate"])
texts = st.one_of(
    st.sampled_from(["", "pump-1", "shake", "1", "2", "3", "-1", "1.5", "2026-01-03T10:00:00Z", "00" * 32]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


def user_property(name, text):
    name, text = name.encode(), text.encode()
    return b"\x26" + len(name).to_bytes(2, "big") + name + len(text).to_bytes(2, "big") + text


property_lists = st.one_of(
    st.binary(max_size=60),
    st.lists(st.builds(user_property, names, texts), max_size=6).map(b"".join),
)


@FUZZ
@given(
    st.lists(
        st.tuples(st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x3A]), topics, property_lists, payloads),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_comes_is_read_or_refused_by_a_known_reason_and_acknowledged(messages):
    reader, inbox = make_reader()
    given_out = set()
    for number, (flags, topic, properties, payload) in enumerate(messages):
        receipt = (0, number) if flags & 6 else None
        given_out |= {receipt} - {None}
        reader.message(flags, topic, properties, payload, receipt)
    counts = reader.counts
    assert set(counts) <= REASONS | TOLD
    refused = sum(counts[reason] for reason in REASONS)
    assert counts["received"] == len(messages) == len(inbox.arrivals) + refused + len(reader._parts)
    waiting = {arrival.receipt for arrival in inbox.arrivals} - {None}
    parts = {r for transfer in reader._parts._open.values() for r in transfer.receipts.values()} - {None}
    assert waiting | parts | set(reader._done) == given_out
    for arrival in inbox.arrivals:
        assert type(arrival.time) is int
        assert -(2**62) < arrival.time < 2**62
    for text in reader.refused:
        text.encode()


answers = st.one_of(payloads, st.integers(0, 2000).map(lambda digits: b'{"time": 1, "flow": 1' + b"0" * digits + b"}"))


@FUZZ
@given(answers, st.sampled_from([None, "answers/{asset}/{channel}"]))
def test_whatever_is_read_back_while_a_command_waits_ends_no_connection(payload, read_back):
    reader, _ = make_reader()
    waiter = _Waiter(MqttCommand("set/{asset}/{channel}", read_back=read_back), "pump-1", "flow", 1.0)
    reader.listeners.append(waiter.see)
    reader.message(0x32, b"plant/pump-1/readings", b"", payload, (0, 0))
    waiter.see(b"answers/pump-1/flow", b"", payload, None)
    seen = waiter.read_back.seen
    assert seen is None or isinstance(seen, float)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_are_json(payload):
    try:
        value = load(payload)
    except Refusal:
        return
    assert value == json.loads(payload) or isinstance(value, float)


class Full:
    def put(self, _arrival):
        return False


def test_with_qos_0_nothing_can_wait():
    reader, _ = make_reader()
    reader._put = Full().put
    for flags, receipt in ((0x32, (0, 0)), (0x30, None)):
        reader.message(flags, b"plant/pump-1/readings", b"", b"{}", receipt)
    assert (reader.counts["held"], reader.counts["overflow"]) == (1, 1)
    assert reader._round()
    reader._put = Keep().put
    assert not reader._round()


def test_topics_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr("edge_runtime.sources.mqtt.reader._MOST_ROUTES", 100)
    reader, inbox = make_reader()
    for n in range(1000):
        reader.message(0x30, f"plant/pump-{n}/readings".encode(), b"", b'{"time": 1, "flow": 1}', None)
    assert len(inbox.arrivals) == 1000
    assert len(reader._routes) <= 100


def test_the_recursion_limit_is_left_alone():
    assert sys.getrecursionlimit() >= 1000
