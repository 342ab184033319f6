"""Waveforms in MQTT payloads: little-endian float32, axis by axis, described by MQTT 5 user properties.

Content type `application/vnd.overhaul.waveform+float32le`. User properties, all text and all optional: `channel`,
`asset` (where the topic does not name them), `time` (of the last sample), `axes` (default 1), `samples` of each axis.
What is larger than the broker's packets comes in parts: `id`, `part` (from 0), `parts`, `sha256` (of the whole, hex).
Others, such as `rate` and `unit`, are not read: the class of the machine declares both.

Reasons of refusal, besides those of `payload`:

    bad_properties    user properties that cannot be read
    bad_content_type  the message says that it is something else
    bad_channel       no channel is named, neither by the topic nor by a property
    bad_shape         the payload is not axes × samples × 4 bytes, or empty
    bad_part          parts that contradict each other
    bad_checksum      all parts came, but what they make is not what was sent
    incomplete        parts did not come within 60 s, or too much was waiting
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from edge_runtime.arrays import F32
from edge_runtime.contract.names import is_identifier
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.sources.mqtt.payload import Refusal, Times

CONTENT_TYPE = "application/vnd.overhaul.waveform+float32le"
MOST_AXES = 64
MOST_PARTS = 4096
MOST_BYTES = 64 << 20  # of parts that wait for others
PATIENCE = 60_000_000_000  # nanos

_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,19}\.\d{1,18}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Header:
    """What user properties say about a payload. `part` of `parts` of the waveform `id`."""

    asset: str | None = None
    channel: str | None = None
    time: int | None = None
    axes: int = 1
    samples: int | None = None
    id: str = ""
    part: int = 0
    parts: int = 1
    sha256: str = ""


def read_header(properties: bytes, times: Times) -> Header:
    """From the encoded properties of a PUBLISH packet, without their length; or a `Refusal`."""
    content, named = read_properties(properties)
    if content not in (None, CONTENT_TYPE):
        raise Refusal("bad_content_type")
    header = Header(
        asset=named.get("asset"),
        channel=named.get("channel"),
        time=_time(named["time"], times) if "time" in named else None,
        axes=_count(named.get("axes", "1"), MOST_AXES),
        samples=_count(named["samples"], MOST_BYTES) if "samples" in named else None,
        id=named.get("id", "")[:200],
        part=_count(named.get("part", "0"), MOST_PARTS - 1, least=0),
        parts=_count(named.get("parts", "1"), MOST_PARTS),
        sha256=named.get("sha256", ""),
    )
    if header.part >= header.parts or (header.parts > 1 and not (header.id and _SHA256.fullmatch(header.sha256))):
        raise Refusal("bad_part")
    return header


def read_properties(properties: bytes) -> tuple[str | None, dict[str, str]]:
    """Content type and user properties; of a name that is there twice, the last."""
    if not properties:
        return None, {}
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    try:
        found.unpack(VariableByteIntegers.encode(len(properties)) + properties)  # type: ignore[no-untyped-call]
        user = dict(getattr(found, "UserProperty", []))
        content = getattr(found, "ContentType", None)
    except Exception:  # paho raises whatever a malformed packet leads to
        raise Refusal("bad_properties") from None
    return content, user


def samples_of(payload: bytes, header: Header) -> F32:
    """f32[axes, N] of a whole waveform."""
    each, rest = divmod(len(payload), 4 * header.axes)
    if rest or not each or header.samples not in (None, each):
        raise Refusal("bad_shape")
    return np.frombuffer(payload, "<f4").astype(np.float32, copy=False).reshape(header.axes, each)


class Whole(NamedTuple):
    """All parts of one waveform, and their receipts as one."""

    payload: bytes
    receipt: Receipt | None


@dataclass
class _Transfer:
    """Parts that have come."""

    parts: int
    sha256: str
    since: int
    payloads: dict[int, bytes] = field(default_factory=dict)
    receipts: dict[int, Receipt | None] = field(default_factory=dict)
    size: int = 0


class Parts:
    """Puts waveforms together. What is given up is handed to `refuse` (reason, receipts of its parts)."""

    def __init__(self, refuse: Callable[[str, list[Receipt]], None]) -> None:
        self._refuse = refuse
        self._open: dict[tuple[str, str, str], _Transfer] = {}  # in the order they began
        self._size = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self, asset: str, channel: str, header: Header, payload: bytes, receipt: Receipt | None, now: int
    ) -> Whole | None:
        """The waveform, if this was the part that was missing. `now` monotonic nanos."""
        key = (asset, channel, header.id)
        transfer = self._open.get(key)
        if transfer is None:
            transfer = self._open[key] = _Transfer(header.parts, header.sha256, now)
        if (transfer.parts, transfer.sha256) != (header.parts, header.sha256):
            raise Refusal("bad_part")
        before, old = transfer.payloads.get(header.part, b""), transfer.receipts.get(header.part)
        if old is not None:
            self._refuse("redelivered", [old])  # it came again after a reconnect: the old receipt is worth nothing
            if receipt is not None and receipt[0] != old[0]:  # all of them come again now, however long it was away
                transfer.since = now
        transfer.payloads[header.part], transfer.receipts[header.part] = payload, receipt
        transfer.size += len(payload) - len(before)
        self._size += len(payload) - len(before)
        if len(transfer.payloads) < transfer.parts:
            self._make_room(key)
            return None
        self._forget(key)
        whole = b"".join(transfer.payloads[i] for i in range(transfer.parts))
        if hashlib.sha256(whole).hexdigest() != transfer.sha256:
            self._refuse("bad_checksum", _receipts(transfer))
            return None
        return Whole(whole, _joined(_receipts(transfer)))

    def expire(self, now: int) -> None:
        """Give up what has waited too long: its receipts hold up those behind them."""
        late = [key for key, transfer in self._open.items() if now - transfer.since > PATIENCE]
        for key in late:
            self._refuse("incomplete", _receipts(self._forget(key)))

    def _make_room(self, last: tuple[str, str, str]) -> None:
        while self._size > MOST_BYTES or len(self._open) > MOST_PARTS:
            oldest = next(iter(self._open))
            self._refuse("incomplete", _receipts(self._forget(oldest)))
            if oldest == last:
                return

    def _forget(self, key: tuple[str, str, str]) -> _Transfer:
        transfer = self._open.pop(key)
        self._size -= transfer.size
        return transfer


def name_channel(topic: str | None, header: Header) -> str:
    """The channel that topic (or settings) or, else, properties name."""
    channel = topic if topic is not None else header.channel
    if channel is None or not is_identifier(channel):
        raise Refusal("bad_channel")
    return channel


def user_properties(values: Mapping[str, object]) -> Properties:
    """What a publisher of waveforms sends along."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = CONTENT_TYPE
    properties.UserProperty = [(name, str(value)) for name, value in values.items()]
    return properties


def _receipts(transfer: _Transfer) -> list[Receipt]:
    return [receipt for receipt in transfer.receipts.values() if receipt is not None]


def _joined(receipts: list[Receipt]) -> Receipt | None:
    """One receipt for all; those of earlier connections are worth nothing."""
    if not receipts:
        return None
    newest = max(receipt[0] for receipt in receipts)
    return (newest, *sorted(receipt[1] for receipt in receipts if receipt[0] == newest))


def _time(text: str, times: Times) -> int:
    if _WHOLE.fullmatch(text):
        return times(int(text))
    return times(float(text) if _DECIMAL.fullmatch(text) else text)


def _count(text: str, most: int, least: int = 1) -> int:
    if not (_WHOLE.fullmatch(text) and least <= int(text) <= most):
        raise Refusal("bad_properties")
    return int(text)
