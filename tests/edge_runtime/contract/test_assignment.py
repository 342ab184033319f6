import base64
import dataclasses
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.assignment import (
    CONTEXT,
    REASONS,
    AssignedAlarm,
    AssignedSettings,
    AssignedState,
    Assignment,
    sign,
    verify,
)
from edge_runtime.contract.command import CONTEXT as OF_COMMANDS
from edge_runtime.contract.limits import Limits
from edge_runtime.contract.text import dump
from edge_runtime.errors import AssignmentRefusedError
from edge_runtime.manifest import canonical_json
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, finite, is_read_or_refused, names

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
NOW = 1_767_225_600_000_000_000
SECOND = 1_000_000_000
ALARM = AssignedAlarm("pump-3-1-9", 2, NOW - 60 * SECOND, 9)
STATE = AssignedState.of("5f" * 32, 1, 9, NOW, np.array([0.5, -2, np.nan], np.float32), ALARM)


def assignment(**changes):
    fields = {
        "id": "a-1",
        "gateway": "gw-7",
        "asset": "pump-3",
        "asset_class": "pump",
        "term": 2,
        "issued": NOW,
        "settings": AssignedSettings(4, {"rated_flow": 210.0, "failure_soon.limit": 0.4}),
        "state": STATE,
    }
    return Assignment(**fields | changes)


def signed(value, key=KEY, context=CONTEXT):
    """Fields that `Assignment` would not take, signed all the same."""
    signature = base64.b64encode(key.sign(context + canonical_json(value))).decode()
    return json.dumps({**value, "signature": signature}).encode()


def fields(**changes):
    return dataclasses.asdict(assignment()) | changes


def refusal(payload, gateway="gw-7", now=NOW):
    with pytest.raises(AssignmentRefusedError) as refused:
        verify(PUBLIC, payload, gateway, now)
    return refused.value.reason


def test_an_assignment():
    assert verify(PUBLIC, sign(KEY, assignment()), "gw-7", NOW) == assignment()
    bare = assignment(settings=None, state=None)
    assert verify(PUBLIC, sign(KEY, bare), "gw-7", NOW) == bare


@PATIENT
@given(
    names, st.integers(0, 2**31 - 1), st.dictionaries(st.text(min_size=1, max_size=9), finite), st.binary(max_size=99)
)
def test_any_assignment_that_can_be_made(asset, term, values, data):
    data = data[: len(data) // 4 * 4]
    state = AssignedState.of("m", min(term, 3), 1, 5, np.frombuffer(data, "<f4"))
    values = {name: value for name, value in values.items() if "\0" not in name}
    made = assignment(asset=asset, term=term, settings=AssignedSettings(1, values), state=state)
    found = verify(PUBLIC, sign(KEY, made), "gw-7", NOW)
    assert found == made
    assert found.state.array().tobytes() == data


@pytest.mark.parametrize("field", ["id", "gateway", "asset", "asset_class", "term", "issued", "settings", "state"])
def test_every_field_is_signed(field):
    value = json.loads(sign(KEY, assignment()))
    if value[field] is not None and isinstance(value[field], dict):
        value[field] = None
    else:
        value[field] = value[field] + 1 if isinstance(value[field], int) else value[field] + "x"
    assert refusal(dump(value)) == "signature"


def test_another_key_or_purpose():
    assert refusal(signed(fields(), Ed25519PrivateKey.generate())) == "signature"
    assert refusal(signed(fields(), context=OF_COMMANDS)) == "signature"
    assert refusal(signed(fields(), context=b"")) == "signature"


def test_for_another_gateway_and_from_the_future():
    payload = sign(KEY, assignment())
    assert refusal(payload, gateway="gw-8") == "gateway"
    assert verify(PUBLIC, payload, "gw-7", NOW - 300 * SECOND)
    assert verify(PUBLIC, payload, "gw-7", NOW + 10**18)  # it does not expire: terms and versions only go up
    assert refusal(payload, now=NOW - 301 * SECOND) == "future"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a b"},
        {"asset": "a/b"},
        {"asset_class": ""},
        {"term": -1},
        {"term": 2**31},
        {"term": 1.5},
        {"term": 0},  # the state is of term 1
        {"settings": {"version": 0, "values": {}}},
        {"settings": {"version": 1, "values": {"a": "b"}}},
        {"settings": {"version": 1, "values": {"": 1}}},
        {"settings": {"version": 1, "values": {str(i): 0 for i in range(1001)}}},
        {"settings": {"version": 1}},
        {"state": {}},
        {"state": dataclasses.asdict(STATE) | {"state": "AAA="}},
        {"state": dataclasses.asdict(STATE) | {"state": "äöü"}},
        {"state": dataclasses.asdict(STATE) | {"number": 0}},
        {"state": dataclasses.asdict(STATE) | {"alarm": {"id": "a", "level": 0, "since": 1, "number": 1}}},
        {"schema": None},
    ],
)
def test_signed_nonsense(changes):
    assert refusal(signed(fields(**changes))) == "malformed"


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"signature":1}', b'{"signature":"?"}', b'{"value":NaN,"signature":""}', b"{" * 70_000],
    ids=lambda payload: repr(payload[:20]),
)
def test_what_is_no_assignment(payload):
    assert refusal(payload) == "malformed"


def test_sizes_and_versions():
    payload = sign(KEY, assignment())
    with pytest.raises(AssignmentRefusedError, match="malformed"):
        verify(PUBLIC, payload, "gw-7", NOW, Limits(json=len(payload) - 1))
    assert refusal(signed(fields(schema="2.0"))) == "major"
    assert verify(PUBLIC, signed(fields(schema="1.7", mood="good")), "gw-7", NOW).schema == "1.7"


@FUZZ
@given(st.data())
def test_a_damaged_assignment_is_refused(data):
    text = bytearray(sign(KEY, assignment()))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    found = is_read_or_refused(lambda: verify(PUBLIC, bytes(text), "gw-7", NOW), REASONS)
    assert found in (None, assignment())  # some bits of base64 say nothing


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(payload):
    assert is_read_or_refused(lambda: verify(PUBLIC, payload, "gw-7", NOW), REASONS) is None


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
@pytest.mark.parametrize("name", ["number", "t", "since"])
def test_numbers_that_no_twin_can_hold_are_refused(name, value):
    state = dataclasses.asdict(STATE)
    (state["alarm"] if name == "since" else state)[name] = value
    assert refusal(signed(fields(state=state))) == "malformed"
