"""What came over MQTT, read: a message, a gateway's status, or a letter that is dead and why."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

from edge_runtime.contract import topics
from edge_runtime.contract.bodies import Status
from edge_runtime.contract.envelope import unframe
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.message import JSON, LANES
from edge_runtime.contract.names import is_identifier
from edge_runtime.contract.text import load
from edge_runtime.contract.wire import Message, decode, decode_status
from edge_runtime.errors import WireError
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.sources.mqtt.payload import Refusal
from edge_runtime.sources.mqtt.waveform import read_properties

_LARGEST = 2**63 - 1


class Key(NamedTuple):
    """What is needed to acknowledge a message of a gateway."""

    epoch: int
    lane: int
    seq: int
    floor: int


class Letter(NamedTuple):
    """As it came. `receipt`: what the broker wants to have back."""

    topic: bytes
    content: str
    payload: bytes
    receipt: Receipt | None = None


class Dead(NamedTuple):
    """Why a letter cannot be used; `reason` is one word of a small fixed set."""

    reason: str
    detail: str


class Read(NamedTuple):
    """A letter, and what is in it: exactly one of the last three. `key` None: it cannot be acknowledged."""

    letter: Letter
    site: str
    gateway: str
    key: Key | None = None
    message: Message | None = None
    status: Status | None = None
    dead: Dead | None = None


def read(letter: Letter, limits: Limits = DEFAULT) -> Read:
    """Never raises. A dead letter has a key if its envelope can be read so far: it must not hold up its lane."""
    try:
        where = topics.parse(letter.topic.decode())
    except UnicodeDecodeError:
        return Read(letter, "", "", dead=Dead("topic", "its topic is not UTF-8"))
    except WireError as error:
        return Read(letter, *_sender(letter.topic), dead=Dead(error.reason, error.detail))
    site, gateway = where.site, where.gateway
    try:
        if where.direction == "status":
            status = decode_status(letter.payload, limits)
            if status.gateway != gateway:
                raise WireError("identity", f"a status of gateway {status.gateway!r} under the topic of {gateway!r}")
            return Read(letter, site, gateway, status=status)
        message = decode(letter.content, letter.payload, limits)
        envelope = message.envelope
        if (envelope.gateway, envelope.kind, envelope.asset) != (gateway, where.kind, where.asset):
            raise WireError(
                "identity",
                f"envelope says gateway {envelope.gateway}, kind {envelope.kind}, asset {envelope.asset}; its topic "
                f"{gateway}, {where.kind}, {where.asset}",
            )
        key = Key(envelope.epoch, int(envelope.order), envelope.seq, envelope.floor)
        return Read(letter, site, gateway, key, message)
    except WireError as error:
        key_of = None if where.direction == "status" else _key(letter, gateway, limits)
        return Read(letter, site, gateway, key_of, dead=Dead(error.reason, error.detail))


def content_type(properties: bytes) -> str:
    """The content type among the encoded properties of a PUBLISH packet, "" if it has none."""
    try:
        return read_properties(properties)[0] or ""
    except Refusal:
        return ""


def _sender(topic: bytes) -> tuple[str, str]:
    """Site and gateway of a topic that is wrong otherwise, as far as they are identifiers."""
    parts = topic[:512].decode("utf-8", "replace").split("/")
    site, gateway = parts[2:4] if len(parts) >= 4 else ("", "")
    return (site, gateway) if is_identifier(site) and is_identifier(gateway) else ("", "")


def _key(letter: Letter, gateway: str, limits: Limits) -> Key | None:
    """The transport key of a message that cannot be read, even one of another major, if it says one of ours."""
    try:
        if letter.content == JSON:
            header = load(letter.payload, "a message") if len(letter.payload) <= limits.json else {}
        else:
            header, _ = unframe(letter.payload, limits.header)
    except WireError:
        return None
    lane, floor = header.get("lane"), header.get("floor", 0)
    if header.get("gateway") != gateway or not isinstance(lane, str) or lane not in LANES:
        return None
    epoch, seq = header.get("epoch"), header.get("seq")
    if not (_counts(epoch) and _counts(seq) and seq >= 1):
        return None
    return Key(epoch, int(LANES[lane]), seq, floor if _counts(floor) else 0)


def _counts(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST
