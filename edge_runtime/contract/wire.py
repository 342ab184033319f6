"""Messages as bytes: `encode` for who sends what was committed, `decode` for who receives it.

`decode` takes whatever comes: a message, or a `WireError` whose `reason` is counted. A `MajorError` is for the
dead-letter table: a newer reader will understand the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.bodies import BODIES, Ack, Alarm, Event, Status
from edge_runtime.contract.envelope import Envelope, envelope_of, frame, parse_envelope, unframe
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.message import BLOCK, JSON, WAVEFORM, Spooled
from edge_runtime.contract.part import Part
from edge_runtime.contract.rows import Rows
from edge_runtime.contract.tables import unpack
from edge_runtime.contract.text import check_schema, dump, load, short
from edge_runtime.decode import decode as from_json
from edge_runtime.errors import WireError

Body = Alarm | Event | Ack | Rows | bytes  # bytes: a part of a waveform, for `waveform.Assembler`


REASONS = (  # of every `WireError`, so that counters have a fixed set of names
    "topic",
    "content",
    "size",
    "frame",
    "json",
    "schema",
    "major",
    "envelope",
    "body",
    "kind",
    "encoding",
    "packing",
    "block",
    "rows",
)


@dataclass(frozen=True)
class Message:
    envelope: Envelope
    body: Any  # a Body, by the envelope's kind


def encode(spooled: Spooled, gateway: str, floor: int) -> tuple[str, bytes]:
    """Content type and payload. `floor`: the lowest seq of the lane that has not been dropped or acknowledged."""
    message = spooled.message
    if message.content == JSON:
        envelope = dump(envelope_of(spooled, gateway, floor).to_json())
        return JSON, b"".join((envelope[:-1], b',"body":', message.body, b"}"))
    if message.content == BLOCK:
        return BLOCK, frame(envelope_of(spooled, gateway, floor).to_json(), message.body)
    if message.content == WAVEFORM:
        header, data = unframe(message.body, len(message.body))
        part = from_json(Part, header, "part")
        return WAVEFORM, frame(envelope_of(spooled, gateway, floor, part).to_json(), data)
    raise ValueError(f"content {message.content!r}: expected {JSON}, {BLOCK} or {WAVEFORM}")


def decode(content: str, payload: bytes, limits: Limits = DEFAULT) -> Message:
    """The message in `payload`; nothing but `WireError` is raised, whatever came."""
    if len(payload) > limits.payload:
        raise WireError("size", f"{len(payload)} bytes: at most {limits.payload} are read")
    if content == JSON:
        return _json(payload, limits)
    if content not in (BLOCK, WAVEFORM):
        raise WireError("content", f"content type {short(repr(content))} is none of the contract's")
    header, data = unframe(payload, limits.header)
    envelope = parse_envelope(header)
    _same(content, envelope)
    if envelope.part is not None:
        if envelope.part.bytes > limits.waveform:
            raise WireError("size", f"a waveform of {envelope.part.bytes} bytes: at most {limits.waveform} are read")
        return Message(envelope, data)
    assert envelope.bytes is not None
    assert envelope.encoding is not None  # as the envelope of each block has checked
    return Message(envelope, unpack(envelope.kind, data, envelope.bytes, envelope.encoding, limits))


def _json(payload: bytes, limits: Limits) -> Message:
    if len(payload) > limits.json:
        raise WireError("size", f"{len(payload)} bytes of JSON: at most {limits.json} are read")
    value = load(payload, "a message")
    body = value.pop("body", None)
    envelope = parse_envelope(value)
    _same(JSON, envelope)
    try:
        return Message(envelope, from_json(BODIES[envelope.kind], body, envelope.kind))
    except ValueError as error:
        raise WireError("body", str(error)) from None


def _same(content: str, envelope: Envelope) -> None:
    if envelope.content != content:
        raise WireError("content", f"kind {envelope.kind} came as {content}: expected {envelope.content}")


def decode_status(payload: bytes, limits: Limits = DEFAULT) -> Status:
    """What is retained under `…/status`; nothing but `WireError` is raised."""
    if len(payload) > limits.json:
        raise WireError("size", f"{len(payload)} bytes of status: at most {limits.json} are read")
    value = load(payload, "a status")
    check_schema(value, "a status")
    try:
        return from_json(Status, value, "status")
    except ValueError as error:
        raise WireError("body", str(error)) from None
