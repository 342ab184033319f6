"""The JSON Schemas say what the dataclasses say: whoever builds a reader from either can talk to the other."""

import dataclasses
import json
from importlib import resources

import jsonschema
import numpy as np
import pytest
import referencing
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import bodies
from edge_runtime.contract.acks import Acknowledgement, LaneAck, parse_ack
from edge_runtime.contract.assignment import AssignedAlarm, AssignedSettings, AssignedState, Assignment
from edge_runtime.contract.bodies import Ack, Alarm, Contribution, Event, Excerpt, Heartbeat, Status
from edge_runtime.contract.command import Command, sign, verify
from edge_runtime.contract.envelope import Envelope, envelope_of, parse_envelope
from edge_runtime.contract.message import BLOCK, JSON, KINDS, LANES, Lane, Spooled
from edge_runtime.contract.packing import ENCODINGS
from edge_runtime.contract.part import Part
from edge_runtime.contract.request import Request, parse_request
from edge_runtime.contract.text import dump
from edge_runtime.contract.waveform import split
from edge_runtime.contract.wire import decode_status, encode
from edge_runtime.decode import decode as from_json
from edge_runtime.errors import AssignmentRefusedError, CommandRefusedError, WireError
from tests.edge_runtime.contract import test_assignment as assigning
from tests.edge_runtime.contract.messages import PATIENT, names, spooled, statuses
from tests.edge_runtime.contract.test_acks import acks
from tests.edge_runtime.contract.test_command import KEY, signed

FILES = {
    path.name.removesuffix(".json"): json.loads(path.read_text())
    for path in resources.files("edge_runtime.contract.schemas").iterdir()
    if path.name.endswith(".json")
}
REGISTRY = referencing.Registry().with_resources(
    (schema["$id"], referencing.Resource.from_contents(schema)) for schema in FILES.values()
)
VALIDATORS = {name: jsonschema.Draft202012Validator(schema, registry=REGISTRY) for name, schema in FILES.items()}
COMMAND = Command("c", "gw", "p1", 1, "speed", 5.5, issued=0, expires=2, ttl=1.5)
REQUESTS = st.builds(
    Request, id=names, what=st.just("state"), assets=st.none() | st.lists(names, max_size=2).map(tuple)
)


@pytest.mark.parametrize("name", FILES)
def test_each_is_a_schema_with_its_own_name(name):
    jsonschema.Draft202012Validator.check_schema(FILES[name])
    assert FILES[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert FILES[name]["$id"] == f"urn:overhaul:1:{name}"


def inner(schema):
    """The object in a field that may be null."""
    return schema["oneOf"][0]


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Envelope, FILES["envelope"]),
        (Part, inner(FILES["envelope"]["properties"]["part"])),
        (Alarm, FILES["alarm"]),
        (Excerpt, FILES["alarm"]["properties"]["prognosis"]),
        (Contribution, FILES["alarm"]["properties"]["contributions"]["items"]),
        (Event, FILES["event"]),
        (Ack, FILES["ack"]),
        (Status, FILES["status"]),
        (Heartbeat, inner(FILES["status"]["properties"]["heartbeat"])),
        (Command, FILES["down-command"]),
        (Request, FILES["down-request"]),
        (Assignment, FILES["down-assignment"]),
        (AssignedSettings, inner(FILES["down-assignment"]["properties"]["settings"])),
        (AssignedState, inner(FILES["down-assignment"]["properties"]["state"])),
        (AssignedAlarm, inner(inner(FILES["down-assignment"]["properties"]["state"])["properties"]["alarm"])),
    ],
)
def test_fields_and_what_may_be_left_out(kind, schema):
    fields = dataclasses.fields(kind)
    extra = {"signature"} if kind in (Command, Assignment) else set()
    assert set(schema["properties"]) == {field.name for field in fields} | extra
    optional = {
        field.name
        for field in fields
        if (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
    }
    assert set(schema["required"]) == {field.name for field in fields} - optional | extra | (
        {"schema"} & set(schema["properties"])
    )


def test_lists_of_words():
    envelope = FILES["envelope"]["properties"]
    assert envelope["kind"]["enum"] == list(KINDS)
    assert envelope["lane"]["enum"] == list(LANES)
    assert envelope["encoding"]["enum"] == [*ENCODINGS, None]
    assert inner(envelope["part"])["properties"]["encoding"]["enum"] == list(ENCODINGS)
    assert list(FILES["down-ack"]["properties"]["lanes"]["properties"]) == list(LANES)
    assert FILES["alarm"]["properties"]["state"]["enum"] == list(bodies.ALARM_STATES)
    assert FILES["event"]["properties"]["state"]["enum"] == list(bodies.EVENT_STATES)
    assert FILES["ack"]["properties"]["status"]["enum"] == list(bodies.ANSWERS)


@PATIENT
@given(spooled)
def test_what_is_sent_is_valid(made):
    message = made[1]
    if message.message.content == JSON:
        payload = json.loads(encode(message, "gw", 1)[1])
        VALIDATORS["message"].validate(payload)
        VALIDATORS[message.message.kind].validate(payload["body"])
    elif message.message.content == BLOCK:
        VALIDATORS["envelope"].validate(envelope_of(message, "gw", 1).to_json())


def test_a_part_is_valid():
    samples = np.ones((1, 9), np.float32)
    (message,) = split(samples, asset="a", channel="c", term=0, number=1, t=1, t_rx=1)
    _, payload = encode(Spooled(1, 1, message), "gw", 1)
    length = int.from_bytes(payload[:4], "little")
    VALIDATORS["envelope"].validate(json.loads(payload[4 : 4 + length]))


@PATIENT
@given(statuses, acks, REQUESTS)
def test_other_payloads_are_valid(status, ack, request):
    VALIDATORS["status"].validate(json.loads(bodies.pack(status)))
    VALIDATORS["down-ack"].validate(json.loads(ack.pack()))
    VALIDATORS["down-request"].validate(json.loads(request.pack()))


def test_what_is_signed_is_valid():
    VALIDATORS["down-command"].validate(json.loads(sign(KEY, COMMAND)))
    VALIDATORS["down-assignment"].validate(json.loads(assigning.sign(KEY, assigning.assignment())))


JUNK = [
    *(None, True, False, -(2**63), -1, 0, 1, 2, 4, 5, 4096, 5000, 2**31, 2**63 - 1, -0.5, 0.5, 3600.5),
    *("", "a", "A", "a b", "a/b", "a\nb", "é", "x" * 64, "x" * 65, "x" * 201, "x" * 2000, "x" * 2001),
    *("1.0", "1.10", "2.0", "01.0", "1", "alarm", "live", "cleared", "raised", "raw", "shuffle4+zlib", "f" * 64),
    *([], {}, [1, 2], [2, 1], [0, 1], [[7, 9]], [[7, 9, 9]], ["a"], ["a/b"], [None], {"a": 1}, {"a": "x"}),
    *({"a b": "x"}, {"x" * 129: 1}, {"a": -1}, {"a": None}),
    {str(i): i for i in range(257)},
]
# Rules that tie fields to each other, which the schemas leave to prose.
TIES = (
    "is no change",
    " from level ",
    "of a part",
    "parts count",
    "shape",
    "ranges ascend",
    "is not after",
    "no shape of",
)

PART = Part("i", 0, 2, 4, "0" * 64, (1, 2), "c", 1, 1, "raw")
ALARM = Alarm("a", "changed", 2, 1, 5, "p1", 1, 9, 5, Excerpt(health=0.5), (Contribution("flow", 1.5),))
EVENT = Event("e", "disk", "raised", "error", 1, "p1", "plc", "full", {"live": 3})
BEAT = Heartbeat(1.5, 2, 3, {"late": 1}, {"raw": 7}, 5, 6, 7)
ENVELOPE = {"gateway": "gw", "epoch": 1, "lane": "live", "seq": 1, "floor": 1, "t": 1, "t_rx": 1}
EXAMPLES = [
    ("alarm", bodies.to_json(ALARM), lambda value: from_json(Alarm, value, "alarm")),
    ("event", bodies.to_json(EVENT), lambda value: from_json(Event, value, "event")),
    ("ack", bodies.to_json(Ack("c", "done", "p1", "flow", "why", 2.5)), lambda value: from_json(Ack, value, "ack")),
    (
        "status",
        bodies.to_json(Status("online", "gw", 1, 1, "1.0", {"pump": "m"}, ("plain",), "free", BEAT)),
        lambda value: decode_status(dump(value)),
    ),
    ("envelope", Envelope(**ENVELOPE, kind="alarm", asset="p1", model_id="m").to_json(), parse_envelope),
    ("envelope", Envelope(**ENVELOPE, kind="state", bytes=5, encoding="raw").to_json(), parse_envelope),
    ("envelope", Envelope(**ENVELOPE, kind="waveform", part=PART).to_json(), parse_envelope),
    (
        "down-ack",
        json.loads(Acknowledgement(1, {Lane.LIVE: LaneAck(5, ((7, 9),))}).pack()),
        lambda value: parse_ack(dump(value)),
    ),
    ("down-request", json.loads(Request("r", "state", ("p1",)).pack()), lambda value: parse_request(dump(value))),
    ("down-command", vars(COMMAND), lambda value: verify(KEY.public_key(), signed(value), "gw", 1)),
    (
        "down-assignment",
        dataclasses.asdict(assigning.assignment()),
        lambda value: assigning.verify(KEY.public_key(), assigning.signed(value), "gw-7", assigning.NOW),
    ),
]
SIGNED = {"down-command": signed, "down-assignment": assigning.signed}


def spoilt(value):
    """`value` with one of its fields, however deep, left out or replaced, one at a time."""
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value, dict):
            yield {name: item for name, item in value.items() if name != key}
        inner_values = spoilt(value[key]) if isinstance(value[key], dict | list) else ()
        for item in [*inner_values, *JUNK]:
            yield {**value, key: item} if isinstance(value, dict) else [*value[:key], item, *value[key + 1 :]]


def refusal(read, value):
    try:
        read(value)
    except (CommandRefusedError, AssignmentRefusedError) as error:
        return None if error.reason in ("gateway", "expired", "future") else str(error)
    except (WireError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(("name", "example", "read"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_schema_and_reader_refuse_the_same(name, example, read):
    assert refusal(read, example) is None
    refused = taken = 0
    for value in spoilt(example):
        problem = refusal(read, value)
        whole = json.loads(SIGNED[name](value)) if name in SIGNED else value
        errors = [error.message for error in VALIDATORS[name].iter_errors(whole)]
        if problem is None:
            assert not errors, f"only the reader takes {value}"
            taken += 1
        else:
            assert errors or any(tie in problem for tie in TIES), f"only the schema takes {value}: {problem}"
            refused += 1
    assert refused > 100
    assert taken > 10
