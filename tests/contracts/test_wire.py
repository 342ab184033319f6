"""The wire, as stored messages tell it: what `messages/1.0` holds is read as it was meant, for as long as there is a 1.

A message is never replaced there. When a minor version adds something, add a folder; when a message stored today cannot
be read any more, that is a new major.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import topics, wire
from edge_runtime.contract.acks import Acknowledgement, LaneAck, parse_ack
from edge_runtime.contract.assignment import AssignedAlarm, AssignedSettings, AssignedState, Assignment
from edge_runtime.contract.assignment import verify as verify_assignment
from edge_runtime.contract.bodies import Ack, Alarm, Contribution, Event, Excerpt, Heartbeat, Status, pack
from edge_runtime.contract.command import Command, verify
from edge_runtime.contract.envelope import Envelope
from edge_runtime.contract.limits import Limits
from edge_runtime.contract.message import BLOCK, JSON, WAVEFORM, Lane, Outgoing, Spooled
from edge_runtime.contract.request import Request, parse_request
from edge_runtime.contract.rows import Keys, Observations, Prognoses, Snapshots, States, Summaries
from edge_runtime.contract.waveform import Assembler
from edge_runtime.errors import MajorError, WireError
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, is_read_or_refused, same, spooled
from tests.edge_runtime.contract.test_schemas import VALIDATORS

STORED = Path(__file__).parent / "messages" / "1.0"
EPOCH, T, SECOND = 1_767_225_600, 1_767_225_600_000_000_000, 1_000_000_000
MODEL = "5f" * 32
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


KEYS = Keys(("pump-3", "pump-7"), np.array([0, 1, 0], np.int32), i64(1, 4, 1), i64(8, 2, 9), T + i64(0, 1, 60) * SECOND)
OUTPUTS = {
    "health": f32(0.75, 1.0, 0.7),
    "rul": f32(40.5, np.inf, 39.25),
    "quality": f32([0, 1], [17, 0], [0, 64]),
    "contribution": f32([0.5, -0.25], [0, 0], [np.nan, 1e-45]),
}
BLOCKS = {
    "observation": Observations(
        "pump",
        KEYS,
        ("flow", "speed"),
        KEYS.t + SECOND,
        f32([120.5, 1480], [np.nan, 1475], [-0.0, np.inf]),
        f32(0, 1, 2),
        f32(np.nan, 0, 12.5),
        {"shake": Snapshots(np.array([2], np.int32), f32([0.5, 3.25, 7]))},
    ),
    "prognosis": Prognoses("pump", KEYS, OUTPUTS),
    "summary": Summaries(
        "pump",
        KEYS,
        ("flow", "speed"),
        i64(T, T, T),
        i64(T, T, T) + 3600 * SECOND,
        i64(60, 59, 1),
        i64([60, 60], [58, 0], [1, 1]),
        f32([100, 1400], [99.5, np.nan], [120, 1480]),
        f32([110.25, 1450], [100.5, np.nan], [120, 1480]),
        f32([120, 1500], [101.5, np.nan], [120, 1480]),
        i64(0, 2, 3),
        i64([0] * 8, [2, 0, 0, 0, 2, 0, 0, 0], [0] * 8),
        {"health": OUTPUTS["health"], "quality": OUTPUTS["quality"]},
    ),
    "state": States("pump", KEYS, f32([0, 1.5, -2], [3, 4, 5], [6, 7, 8e30])),
}
BODIES = {
    "alarm": Alarm(
        id="pump-3.1.9",
        state="raised",
        level=2,
        previous=0,
        since=T,
        asset="pump-3",
        term=1,
        number=9,
        t=T,
        prognosis=Excerpt(0.71, 0.998, 0.62, 39.25, 12.5, None, True, 0.0, 0.1),
        contributions=(Contribution("flow", -0.8), Contribution("speed", 0.1)),
        simulated=True,
    ),
    "event": Event("link.17", "link", "cleared", "warning", T, None, "centre", "away for 12 s – back", {"sent": 3}),
    "ack": Ack("c-1", "done", "pump-3", "speed_setpoint", None, 1450.5, T),
}
STATUS = Status(
    "online", "gw-7", EPOCH, T, "0.1.0", {"pump": MODEL}, ("source plc: plain MQTT",), "free",
    Heartbeat(3600.5, 50, 180_000, {"late": 3}, {"live": 2, "raw": 40}, 2_000_000, T, 5_000_000),
)  # fmt: skip
ACK = Acknowledgement(EPOCH, {Lane.ALARM: LaneAck(3), Lane.LIVE: LaneAck(41, ((44, 44), (47, 90)))})
COMMAND = Command("c-1", "gw-7", "pump-3", 1, "speed_setpoint", 1450.5, issued=T, expires=T + 60 * SECOND, ttl=30.0)
ASSIGNMENT = Assignment(
    "a-1", "gw-8", "pump-3", "pump", 2, T, AssignedSettings(4, {"failure_soon.limit": 0.45, "rated_flow": 210.0}),
    AssignedState.of(MODEL, 1, 9, T, f32(0.5, -2, np.nan), AssignedAlarm("pump-3-1-9", 2, T - SECOND, 9)),
)  # fmt: skip
REQUEST = Request("r-1", "state", ("pump-3",))
WAVEFORMS = {  # by encoding
    "raw": f32([1.5, -2.25], [3, np.nan]),
    "shuffle4+zlib": f32([i / 7 for i in range(400)], [np.sin(i) for i in range(400)]),
    "dictionary+zlib": f32([round(3 * np.sin(i)) * 0.0048 for i in range(999)]),
}


def load(name):
    return (STORED / name).read_bytes()


def envelope(kind, lane, **more):
    return Envelope(
        gateway="gw-7", epoch=EPOCH, lane=lane, seq=17, floor=2, kind=kind, t_rx=T + SECOND, **{"t": T, **more}
    )


ENVELOPES = {
    "alarm": envelope("alarm", "alarm", asset="pump-3", model_id=MODEL),
    "event": envelope("event", "alarm", clock="free"),
    "ack": envelope("ack", "alarm", asset="pump-3"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_stored_json_messages(kind):
    message = wire.decode(JSON, load(f"{kind}.json"))
    assert message == wire.Message(ENVELOPES[kind], BODIES[kind])
    VALIDATORS["message"].validate(json.loads(load(f"{kind}.json")))


@pytest.mark.parametrize("kind", BLOCKS)
def test_stored_blocks(kind):
    payload = load(f"{kind}.bin")
    message = wire.decode(BLOCK, payload)
    size, newest = message.envelope.bytes, T + 60 * SECOND
    expected = envelope(kind, "backfill", t=newest, model_id=MODEL, backfill=True, bytes=size, encoding="shuffle4+zlib")
    assert message.envelope == expected
    assert same(message.body, BLOCKS[kind])
    VALIDATORS["envelope"].validate(json.loads(payload[4 : 4 + int.from_bytes(payload[:4], "little")]))


@pytest.mark.parametrize("encoding", WAVEFORMS)
def test_stored_waveforms(encoding):
    assembler, whole = Assembler(), None
    names = sorted(path.name for path in STORED.glob(f"waveform-{encoding.split('+')[0]}-*.bin"))
    assert len(names) == (1 if encoding == "raw" else 2)
    for name in names:
        message = wire.decode(WAVEFORM, load(name))
        assert message.envelope.part.encoding == encoding
        assert (message.envelope.asset, message.envelope.t, message.envelope.lane) == ("pump-3", T, "raw")
        whole = assembler.add(message.envelope, message.body, 0)
    assert same(np.asarray(whole.samples), WAVEFORMS[encoding].reshape(whole.samples.shape))
    assert message.envelope.part.id == "pump-3.shake.1.9"


def test_stored_payloads_without_an_envelope():
    assert wire.decode_status(load("status.json")) == STATUS
    assert parse_ack(load("down-ack.json")) == ACK
    assert verify(KEY.public_key(), load("down-command.json"), "gw-7", T + SECOND) == COMMAND
    assert parse_request(load("down-request.json")) == REQUEST
    assert verify_assignment(KEY.public_key(), load("down-assignment.json"), "gw-8", T + SECOND) == ASSIGNMENT
    for name in ("status", "down-ack", "down-command", "down-request", "down-assignment"):
        VALIDATORS[name].validate(json.loads(load(f"{name}.json")))


def test_what_is_written_today_is_what_was_stored():
    """JSON messages field by field; a change here is a change of contract, and needs at least a new minor."""
    for kind, body in BODIES.items():
        made = Outgoing(
            kind, Lane.ALARM, ENVELOPES[kind].asset, T, T + SECOND, pack(body),
            model_id=ENVELOPES[kind].model_id, clock_synced=ENVELOPES[kind].clock == "synced",
        )  # fmt: skip
        assert wire.encode(Spooled(EPOCH, 17, made), "gw-7", 2) == (JSON, load(f"{kind}.json"))
    assert pack(STATUS) == load("status.json")
    assert ACK.pack() == load("down-ack.json")
    assert REQUEST.pack() == load("down-request.json")


def test_a_newer_minor_is_read():
    value = json.loads(load("alarm.json")) | {"schema": "1.12", "priority": 7}
    value["body"]["mood"] = {"colour": "red"}
    message = wire.decode(JSON, json.dumps(value).encode())
    assert message.body == BODIES["alarm"]
    assert message.envelope.schema == "1.12"


def test_a_newer_major_is_for_the_dead_letters():
    for name, content in (("alarm.json", JSON), ("state.bin", BLOCK), ("waveform-raw-0.bin", WAVEFORM)):
        payload = load(name).replace(b'"schema":"1.0"', b'"schema":"2.0"')
        with pytest.raises(MajorError) as refused:
            wire.decode(content, payload)
        assert refused.value.reason == "major"


@PATIENT
@given(spooled)
def test_any_message_comes_back(made):
    body, message = made
    content, payload = wire.encode(message, "gw", 1)
    read = wire.decode(content, payload)
    outgoing = message.message
    assert content == outgoing.content == read.envelope.content
    assert (read.envelope.epoch, read.envelope.seq, read.envelope.order) == (message.epoch, message.seq, outgoing.lane)
    assert (read.envelope.t, read.envelope.t_rx, read.envelope.asset) == (outgoing.t, outgoing.t_rx, outgoing.asset)
    assert (read.envelope.model_id, read.envelope.clock) == (
        outgoing.model_id,
        "synced" if outgoing.clock_synced else "free",
    )
    assert read.envelope.backfill == (outgoing.lane is Lane.BACKFILL)
    if content == WAVEFORM:
        whole = Assembler().add(read.envelope, read.body, 0)
        assert same(np.asarray(whole.samples), body)
    else:
        assert same(read.body, body)


@FUZZ
@given(st.sampled_from([JSON, BLOCK, WAVEFORM, "text/plain", ""]), st.binary(max_size=200))
def test_random_bytes_are_refused(content, payload):
    with pytest.raises(WireError) as refused:
        wire.decode(content, payload)
    assert refused.value.reason in wire.REASONS


@FUZZ
@given(spooled, st.sampled_from([None, JSON, BLOCK, WAVEFORM]), st.data())
def test_damaged_messages_are_read_or_refused(made, other, data):
    content, payload = wire.encode(made[1], "gw", 1)
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 4))):
        if data.draw(st.booleans()):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        else:
            start = data.draw(st.integers(0, len(damaged) - 1))
            damaged[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        if not damaged:
            break
    message = is_read_or_refused(lambda: wire.decode(other or content, bytes(damaged)), wire.REASONS)
    if message is not None and message.envelope.part is not None:
        Assembler().add(message.envelope, message.body, 0)


@FUZZ
@given(st.data())
def test_a_damaged_status_is_read_or_refused(data):
    text = bytearray(load("status.json"))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    is_read_or_refused(lambda: wire.decode_status(bytes(text)), wire.REASONS)


def test_sizes_are_bounded_before_anything_is_decoded():
    block, alarm, part = load("observation.bin"), load("alarm.json"), load("waveform-raw-0.bin")
    size = wire.decode(BLOCK, block).envelope.bytes
    for content, payload, limits in (
        (BLOCK, block, Limits(payload=len(block) - 1)),
        (BLOCK, block, Limits(block=size - 1)),
        (JSON, alarm, Limits(json=len(alarm) - 1)),
        (WAVEFORM, part, Limits(waveform=15)),
    ):
        with pytest.raises(WireError) as refused:
            wire.decode(content, payload, limits)
        assert refused.value.reason == "size"
    with pytest.raises(WireError, match="frame"):
        wire.decode(BLOCK, block, Limits(header=100))
    with pytest.raises(WireError, match="size"):
        wire.decode_status(load("status.json"), Limits(json=10))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"kind":"alarm"', b'"kind":"gossip"', "envelope"),
        (b'"kind":"alarm"', b'"kind":"state"', "envelope"),
        (b'"kind":"alarm"', b'"kind":"event"', "body"),
        (b'"lane":"alarm"', b'"lane":"first"', "envelope"),
        (b'"seq":17', b'"seq":0', "envelope"),
        (b'"seq":17', b'"seq":17.5', "envelope"),
        (b'"gateway":"gw-7"', b'"gateway":"gw/7"', "envelope"),
        (b'"model_id":"5f', b'"model_id":" 5f', "envelope"),
        (b'"schema":"1.0"', b'"scheme":"1.0"', "schema"),
        (b'"body"', b'"bodice"', "body"),
        (b'"level":2', b'"level":2e400', "json"),
        (b'"level":2', b'"level":null', "body"),
    ],
)
def test_what_is_wrong_with_a_json_message(old, new, reason):
    payload = load("alarm.json")
    assert old in payload
    with pytest.raises(WireError) as refused:
        wire.decode(JSON, payload.replace(old, new))
    assert refused.value.reason == reason


def test_content_must_be_that_of_the_kind():
    with pytest.raises(WireError, match="kind observation came as"):
        wire.decode(WAVEFORM, load("observation.bin"))
    with pytest.raises(WireError, match="content"):
        wire.decode("application/octet-stream", load("observation.bin"))


def test_what_is_no_message_is_not_encoded():
    for message in (
        Outgoing("alarm", Lane.ALARM, "p1", 1, 1, b"{}", "text/plain"),
        Outgoing("gossip", Lane.LIVE, None, 1, 1, b"{}"),
        Outgoing("state", Lane.LIVE, None, 1, 1, b"{}"),
    ):
        with pytest.raises(ValueError, match=r"expected|kind state"):
            wire.encode(Spooled(1, 1, message), "gw", 1)


def test_topics_of_the_contract():
    assert topics.up("north", "gw-7", "alarm", "pump-3") == "overhaul/1/north/gw-7/up/alarm/pump-3"
    assert topics.up("north", "gw-7", "observation") == "overhaul/1/north/gw-7/up/observation"
    assert topics.down("north", "gw-7", "ack") == "overhaul/1/north/gw-7/down/ack"
    assert topics.status("north", "gw-7") == "overhaul/1/north/gw-7/status"
