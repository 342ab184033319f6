"""What every message up says about itself, and the framing of the two ways it travels.

JSON kinds: one object, the envelope's fields and `body`. Binary kinds: `uint32 LE length | envelope JSON | bytes`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.message import BLOCK, CONTENT, KINDS, LANES, Lane, Spooled
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.packing import ENCODINGS, SHUFFLED
from edge_runtime.contract.part import Part
from edge_runtime.contract.text import SCHEMA, check_schema, dump, load, short
from edge_runtime.decode import decode
from edge_runtime.errors import WireError

CLOCKS = ("free", "synced")
_MODEL_ID = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


@dataclass(frozen=True)
class Envelope:
    """Transport key (gateway, epoch, lane, seq). Times in UTC nanos; `t` is the source's, in cycles for some classes.

    `floor`: the lowest seq of the lane that may still come; what is below was dropped or has been acknowledged.
    `clock` "free": the gateway's clock was not synchronised. `backfill`: made while the centre could not be reached.
    Blocks have `bytes`, their length unpacked, and `encoding`; parts of a waveform have `part`.
    """

    gateway: str
    epoch: int
    lane: str
    seq: int
    floor: int
    kind: str
    t: int
    t_rx: int
    asset: str | None = None
    clock: str = "synced"
    model_id: str | None = None
    backfill: bool = False
    bytes: int | None = None
    encoding: str | None = None
    part: Part | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        check_identifier("gateway", self.gateway)
        if self.asset is not None:
            check_identifier("asset", self.asset)
        _one_of("lane", self.lane, LANES)
        _one_of("kind", self.kind, KINDS)
        _one_of("clock", self.clock, CLOCKS)
        if self.epoch < 0 or self.seq < 1 or self.floor < 0:
            raise ValueError(
                f"epoch {self.epoch}, seq {self.seq}, floor {self.floor}: seq counts from 1, others from 0"
            )
        if self.model_id is not None and not _MODEL_ID.fullmatch(self.model_id):
            raise ValueError(f"model_id {short(repr(self.model_id))} is none")
        content = CONTENT[self.kind]
        if (content == BLOCK) != (self.bytes is not None and self.encoding is not None):
            raise ValueError(f"kind {self.kind}: blocks, and only they, have bytes and encoding")
        if self.bytes is not None and self.bytes < 0:
            raise ValueError(f"bytes {self.bytes} is below 0")
        if self.encoding is not None:
            _one_of("encoding", self.encoding, ENCODINGS)
        if (self.kind == "waveform") != (self.part is not None):
            raise ValueError(f"kind {self.kind}: waveforms, and only they, have a part")

    @property
    def order(self) -> Lane:
        return LANES[self.lane]

    @property
    def content(self) -> str:
        """The content type that this kind travels as."""
        return CONTENT[self.kind]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"schema": self.schema}
        value |= {name: item for name, item in self.__dict__.items() if name not in ("bytes", "encoding", "part")}
        if self.bytes is not None:
            value |= {"bytes": self.bytes, "encoding": self.encoding}
        if self.part is not None:
            value["part"] = self.part.to_json()
        return value


def envelope_of(spooled: Spooled, gateway: str, floor: int, part: Part | None = None) -> Envelope:
    """The envelope of a committed message; `ValueError` when the message is none of the contract's."""
    message = spooled.message
    block = message.content == BLOCK
    return Envelope(
        gateway=gateway,
        epoch=spooled.epoch,
        lane=message.lane.label,
        seq=spooled.seq,
        floor=floor,
        kind=message.kind,
        t=message.t,
        t_rx=message.t_rx,
        asset=message.asset,
        clock="synced" if message.clock_synced else "free",
        model_id=message.model_id,
        backfill=message.lane is Lane.BACKFILL,
        bytes=message.size if block else None,
        encoding=SHUFFLED if block else None,
        part=part,
    )


def parse_envelope(value: dict[str, Any]) -> Envelope:
    """`WireError` "envelope" when a field is missing or wrong, `MajorError` when it is of a newer major."""
    check_schema(value, "an envelope")
    try:
        return decode(Envelope, value, "envelope")
    except ValueError as error:
        raise WireError("envelope", str(error)) from None


def frame(header: dict[str, Any], data: bytes) -> bytes:
    text = dump(header)
    return b"".join((struct.pack("<I", len(text)), text, data))


def unframe(payload: bytes, most: int) -> tuple[dict[str, Any], bytes]:
    """Header and the bytes after it; `WireError` "frame" when its header does not fit, or has over `most` bytes."""
    if len(payload) < 4:
        raise WireError("frame", f"{len(payload)} bytes are no framed message")
    (length,) = struct.unpack_from("<I", payload)
    if length > min(most, len(payload) - 4):
        raise WireError("frame", f"a header of {length} bytes in a message of {len(payload)}; at most {most} are read")
    return load(payload[4 : 4 + length], "the header"), payload[4 + length :]


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{name} {short(repr(value))}: expected one of {', '.join(known)}")
