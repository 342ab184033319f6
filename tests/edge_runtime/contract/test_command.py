import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.command import CONTEXT, REASONS, Command, public_key, sign, verify
from edge_runtime.contract.request import Request, parse_request
from edge_runtime.contract.text import dump
from edge_runtime.errors import CommandRefusedError, EdgeError, MajorError, WireError
from edge_runtime.manifest import canonical_json
from tests.edge_runtime.contract.messages import FUZZ, PATIENT, counts, finite, is_read_or_refused, names

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
NOW = 1_767_225_600_000_000_000
SECOND = 1_000_000_000


def command(**changes):
    fields = {
        "id": "c-1",
        "gateway": "gw-7",
        "asset": "pump-3",
        "term": 2,
        "channel": "speed_setpoint",
        "value": 1450.5,
        "issued": NOW,
        "expires": NOW + 60 * SECOND,
        "ttl": 30.0,
    }
    return Command(**fields | changes)


def signed(value, key=KEY):
    """Fields that `Command` would not take, signed all the same."""
    signature = base64.b64encode(key.sign(CONTEXT + canonical_json(value))).decode()
    return json.dumps({**value, "signature": signature}).encode()


def refusal(payload, gateway="gw-7", now=NOW):
    with pytest.raises(CommandRefusedError) as refused:
        verify(PUBLIC, payload, gateway, now)
    return refused.value.reason


def test_a_signed_command():
    assert verify(PUBLIC, sign(KEY, command()), "gw-7", NOW) == command()


@PATIENT
@given(finite, names, names, counts)
def test_any_command_that_can_be_made(value, asset, channel, term):
    made = command(value=value, asset=asset, channel=channel, term=term)
    assert verify(PUBLIC, sign(KEY, made), "gw-7", NOW) == made


def test_spacing_and_order_do_not_matter_and_unknown_fields_are_signed_too():
    fields = vars(command()) | {"reason": "für den Sommer"}
    payload = json.dumps(dict(reversed(json.loads(signed(fields)).items())), indent=4).encode()
    assert verify(PUBLIC, payload, "gw-7", NOW) == command()
    assert refusal(payload.replace(b"Sommer", b"Winter")) == "signature"


def test_a_whole_number_is_a_value():
    assert verify(PUBLIC, signed(vars(command()) | {"value": 1450}), "gw-7", NOW).value == 1450.0


@pytest.mark.parametrize("field", ["id", "gateway", "asset", "term", "channel", "value", "issued", "expires", "ttl"])
def test_every_field_is_signed(field):
    value = json.loads(sign(KEY, command()))
    value[field] = value[field] + 1 if isinstance(value[field], int | float) else value[field] + "x"
    assert refusal(dump(value)) == "signature"


def test_another_key_or_purpose():
    assert refusal(signed(vars(command()), Ed25519PrivateKey.generate())) == "signature"
    value = vars(command())
    bare = base64.b64encode(KEY.sign(canonical_json(value))).decode()
    assert refusal(dump({**value, "signature": bare})) == "signature"
    assert refusal(dump({**value, "signature": base64.b64encode(b"short").decode()})) == "signature"


def test_for_another_gateway():
    assert refusal(sign(KEY, command()), gateway="gw-8") == "gateway"


def test_both_clocks():
    payload = sign(KEY, command())
    assert verify(PUBLIC, payload, "gw-7", NOW + 60 * SECOND - 1)
    assert refusal(payload, now=NOW + 60 * SECOND) == "expired"
    assert verify(PUBLIC, payload, "gw-7", NOW - 300 * SECOND)
    assert refusal(payload, now=NOW - 301 * SECOND) == "future"
    assert command().deadline(came=5 * SECOND) == 35 * SECOND


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "a b"},
        {"asset": "a/b"},
        {"gateway": "+"},
        {"channel": ""},
        {"value": "1"},
        {"value": True},
        {"value": None},
        {"term": -1},
        {"term": 1.5},
        {"ttl": 0},
        {"ttl": 3601},
        {"expires": NOW},
        {"schema": None},
        {"schema": "one"},
    ],
)
def test_signed_nonsense(changes):
    assert refusal(signed(vars(command()) | changes)) == "malformed"


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"signature":1}', b'{"signature":"?"}', b'{"value":NaN,"signature":""}', b"{" * 70_000],
    ids=lambda payload: repr(payload[:20]),
)
def test_what_is_no_command(payload):
    assert refusal(payload) == "malformed"


def test_nested_too_deep():
    assert refusal(b'{"signature":"","a":' + b"[" * 900 + b"]" * 900 + b"}") in ("malformed", "signature")


def test_a_newer_major():
    assert refusal(signed(vars(command()) | {"schema": "2.0"})) == "major"


@FUZZ
@given(st.data())
def test_a_damaged_command_is_refused(data):
    text = bytearray(sign(KEY, command()))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    found = is_read_or_refused(lambda: verify(PUBLIC, bytes(text), "gw-7", NOW), REASONS)
    assert found in (None, command())  # some bits of base64 say nothing


def test_public_keys_as_people_write_them():
    encoding, form = serialization.Encoding, serialization.PublicFormat
    raw = base64.b64encode(PUBLIC.public_bytes(encoding.Raw, form.Raw)).decode()
    pem = PUBLIC.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).decode()
    for text in (raw, f" {raw}\n", pem):
        assert verify(public_key(text), sign(KEY, command()), "gw-7", NOW)
    other = X25519PrivateKey.generate().public_key().public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).decode()
    for text in ("", "key", raw[:-4], other, "-----BEGIN PUBLIC KEY-----"):
        with pytest.raises(EdgeError, match="Ed25519"):
            public_key(text)


def test_requests():
    for request in (Request("r-1", "state"), Request("r-1", "state", ("pump-3", "pump-4"))):
        assert parse_request(request.pack()) == request


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"id":"r","what":"state"}',
        b'{"schema":"1.0","id":"r","what":"reboot"}',
        b'{"schema":"1.0","id":"a b","what":"state"}',
        b'{"schema":"1.0","id":"r","what":"state","assets":["a/b"]}',
        b'{"schema":"1.0","id":"r","what":"state","assets":"a"}',
        b'{"schema":"1.0","id":"r","what":"state","x":"' + b"x" * (300 << 10) + b'"}',
    ],
    ids=lambda text: repr(text[:50]),
)
def test_what_is_no_request(text):
    with pytest.raises(WireError):
        parse_request(text)


def test_a_request_of_another_major():
    with pytest.raises(MajorError):
        parse_request(b'{"schema":"2.0","id":"r","what":"state"}')
