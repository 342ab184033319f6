"""What no machine should send: strategies of packets, and ten thousand of them from a seed.

What is for `good` machines can be refused only, whole; `decoys` get whatever is likely to pass the first checks. Topics
are those of `TOPICS`.
"""

import hashlib
import json
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.mqtt.waveform import user_properties

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01
CHANNELS = ("flow", "speed")
TOPICS = (
    MqttTopic("plant/{asset}/readings"),
    MqttTopic("plant/{asset}/nested", values_key="values"),
    MqttTopic("plant/{asset}/one/{channel}", format="value"),
    MqttTopic("plant/{asset}/shake", format="waveform", channel="shake"),
    MqttTopic("waves", format="waveform"),
)
SHAPE = 16  # bytes of a waveform that fits the class


class Packet(NamedTuple):
    topic: bytes
    payload: bytes
    properties: bytes = b""
    flags: int = 2


NO_PROPERTIES, QOS_1 = st.just(b""), st.just(2)


def packets(topics, payloads, properties=NO_PROPERTIES, flags=QOS_1):
    return st.builds(Packet, topics, payloads, properties, flags)


class Long(bytes):
    """What nobody wants to see in a report."""

    def __repr__(self):
        return f"<{len(self)} bytes: {bytes(self[:9])!r}…>"


def properties(**values):
    """User properties as they are encoded, without their length."""
    packed = user_properties(values).pack()
    return packed[next(i for i, byte in enumerate(packed) if byte < 128) + 1 :]


def reading(asset, at, **values):
    return Packet(f"plant/{asset}/readings".encode(), json.dumps({"time": at, **values}).encode())


def waveform(asset, at, samples, parts=1):
    """Packets of one waveform."""
    payload = np.asarray(samples, "<f4").tobytes()
    topic, about = f"plant/{asset}/shake".encode(), {"time": at}
    if parts == 1:
        return [Packet(topic, payload, properties(**about))]
    about |= {"id": f"w-{at}", "parts": parts, "sha256": hashlib.sha256(payload).hexdigest()}
    size = -(-len(payload) // parts)
    return [Packet(topic, payload[i * size : (i + 1) * size], properties(**about, part=i)) for i in range(parts)]


# ---------------------------------------------------------------------- strategies

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.integers(-(10**400), 10**400) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
flags = st.sampled_from([2, 2, 2, 0, 10])  # QoS 1, QoS 0, QoS 1 once more
plausible = st.integers(START - 3600 * SECOND, START + 900 * SECOND)
impossible = (
    st.integers(START + 3600 * SECOND, 10**22)
    | st.integers(-(10**22), 600_000_000 * SECOND)
    | st.booleans()
    | st.floats(1e300, allow_infinity=False)
    | st.text(max_size=12).filter(lambda text: not text[:4].isdigit())
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from(["2026-02-30T00:00:00Z", "1969-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "١٢٣", "", "NaN"])
)
deep = st.sampled_from(
    [
        Long(text)
        for text in (b"[" * 60_000, b'{"a":' * 13_000, b"9" * 60_000, b"[1" + b",1" * 30_000 + b"]", b"{" * 70_000)
    ]
)
many_keys = Long(json.dumps({"time": START} | {f"k{i}": i for i in range(1001)}).encode())
strange_bytes = st.binary(max_size=64) | deep | st.text(max_size=30).map(str.encode)
no_object = strange_bytes.filter(lambda data: b":" not in data) | json_values.filter(
    lambda value: not isinstance(value, dict)
).map(lambda value: json.dumps(value).encode())
strange_topics = (
    st.binary(max_size=40).filter(lambda topic: not topic.startswith(b"plant/"))
    | st.text(max_size=20).map(lambda text: f"plant/{text}/readings".encode(errors="replace"))
    | st.text(max_size=20).map(lambda text: f"plant/x/one/{text}".encode(errors="replace"))
    | st.sampled_from([b"", b"/", b"plant", b"plant//readings", b"plant/../readings", b"plant/a/b/c/d", b"\xff" * 9])
)
strange_keys = st.text(max_size=12).filter(lambda key: key not in (*CHANNELS, "time", "event", "age"))


def for_good(assembled, others):
    """Packets that name a good machine, and none of which may move it."""
    topics = st.sampled_from([f"plant/{asset}/readings".encode() for asset in (*assembled, *others)])
    of_assembled = st.sampled_from([f"plant/{asset}/readings".encode() for asset in assembled])
    nested = st.sampled_from([f"plant/{asset}/nested".encode() for asset in (*assembled, *others)])
    shakes = st.sampled_from([f"plant/{asset}/shake".encode() for asset in (*assembled, *others)])
    unknown = st.dictionaries(strange_keys, json_values, max_size=5)
    no_numbers = st.dictionaries(
        st.sampled_from(CHANNELS), st.none() | st.booleans() | st.text(max_size=5) | st.just([1.0]), min_size=1
    )
    no_notes = st.fixed_dictionaries({}, optional={"event": st.integers(3, 99), "age": st.floats(-1e9, -1)})
    objects = (
        st.tuples(topics, st.builds(lambda time, more: {"time": time, **more}, plausible, unknown))
        | st.tuples(topics, st.builds(lambda time, value: {"time": time, "flow": value}, impossible, st.floats(0, 9)))
        | st.tuples(of_assembled, st.builds(lambda time, more: {"time": time, **more}, plausible, no_numbers))
        | st.tuples(of_assembled, st.builds(lambda time, more: {"time": time, **more}, plausible, no_notes))
        | st.tuples(nested, st.builds(lambda time, value: {"time": time, "values": value}, plausible, st.integers()))
    )
    about = st.fixed_dictionaries(
        {},
        optional={
            "time": plausible | st.text(max_size=5),
            "axes": st.integers(-1, 70) | st.text(max_size=3),
            "samples": st.integers(-1, 9),
            "id": st.sampled_from(["x", "y"]),
            "part": st.integers(-1, 4),
            "parts": st.integers(0, 4),
            "sha256": st.sampled_from(["0" * 64, hashlib.sha256(b"").hexdigest(), "z"]),
        },
    ).map(lambda values: properties(**values))
    return st.one_of(
        packets(topics, no_object | st.just(many_keys), st.binary(max_size=8), flags),
        objects.flatmap(lambda pair: packets(st.just(pair[0]), st.just(json.dumps(pair[1]).encode()))),
        packets(topics, st.just(b'{"flow": 1.0}'), st.just(b""), st.just(3)),  # retained
        packets(
            shakes,
            st.binary(max_size=40).filter(lambda data: len(data) != SHAPE),
            about | st.binary(max_size=20),
            st.sampled_from([2, 10]),
        ),
    )


def for_decoys(assets):
    """Packets that may well be taken."""
    topics = st.sampled_from([f"plant/{asset}/readings".encode() for asset in assets])
    shakes = st.sampled_from([*(f"plant/{asset}/shake".encode() for asset in assets), b"waves"])
    numbers = st.floats(allow_nan=False) | st.integers(-(10**310), 10**310) | json_values
    keys = st.sampled_from([*CHANNELS, *CHANNELS, "event", "age", "strange"])
    objects = st.builds(
        lambda time, values: {"time": time, **values},
        plausible | impossible | st.none(),
        st.dictionaries(keys, numbers | st.integers(0, 2), max_size=5),
    ).map(lambda value: json.dumps(value).encode())
    about = st.fixed_dictionaries(
        {"time": plausible},
        optional={"asset": st.sampled_from(assets), "channel": st.just("shake"), "axes": st.integers(1, 4)},
    ).map(lambda values: properties(**values))
    one = st.sampled_from([f"plant/{asset}/one/{name}".encode() for asset in assets for name in (*CHANNELS, "age")])
    return st.one_of(
        packets(topics, objects, st.just(b""), flags),
        packets(one, st.floats().map(lambda value: str(value).encode()) | st.binary(max_size=9)),
        packets(shakes, st.binary(min_size=SHAPE, max_size=SHAPE), about, flags),
    )


strange = packets(strange_topics, strange_bytes, st.binary(max_size=8), flags)


# ---------------------------------------------------------------------- by the thousand


def mutated(count, good, decoys, seed=1):
    """`count` packets: noise, and what machines send with bytes changed, left out, doubled, or put elsewhere."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        asset = str(random.choice(decoys))
        at = START + int(random.integers(-3600, 900)) * SECOND
        packet = reading(asset, at, flow=float(random.normal()), speed=1.0, event=int(random.integers(0, 3)))
        if random.random() < 0.3:
            packets = waveform(asset, at, random.normal(size=(1, 4)), parts=int(random.integers(1, 3)))
            packet = packets[int(random.integers(len(packets)))]
        kind = random.integers(6)
        if kind == 0:  # noise, even for good machines
            topic = f"plant/{random.choice(good)}/readings".encode()
            packet = Packet(topic, b"\0" + random.bytes(int(random.integers(200))))
        elif kind == 1:
            packet = packet._replace(topic=_changed(packet.topic, random, avoid=good))
        elif kind == 2:
            packet = packet._replace(properties=_changed(packet.properties, random))
        elif kind < 5:
            packet = packet._replace(payload=_changed(packet.payload, random))
        # Parts of QoS 0 leave no receipts to count them by.
        yield packet._replace(flags=int(random.choice([2, 10] if b"parts" in packet.properties else [2, 2, 2, 10, 0])))


def _changed(data, random, avoid=()):
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(len(changed) + 1))
        match int(random.integers(4)):
            case 0:
                changed[place : place + 1] = random.bytes(1)
            case 1:
                del changed[place : place + int(random.integers(8))]
            case 2:
                changed[place:place] = random.bytes(int(random.integers(8)))
            case _:
                changed[place:place] = changed[: int(random.integers(len(changed) + 1))]
    return bytes(data) if any(name.encode() in changed for name in avoid) else bytes(changed)
