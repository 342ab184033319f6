"""`down/command`: the centre asks for a set-point to be written, and signs it.

One JSON object; `signature` is Ed25519 in base64 over `CONTEXT` and the canonical JSON of all its other fields, unknown
ones too. A command is bound to gateway, asset, channel and term, and ends on two clocks: `expires` in UTC, and `ttl`
seconds after it came, by a clock that nobody sets. It is for the gateway to see that an id is used once, and that its
own allow-list has machine, channel, value and rate.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.text import SCHEMA, check_schema, dump, load, short
from edge_runtime.decode import decode
from edge_runtime.errors import CommandRefusedError, EdgeError, MajorError, WireError
from edge_runtime.manifest import canonical_json

CONTEXT = b"overhaul command 1\n"  # so that nothing else this key has signed can pass for a command
MOST_AHEAD = 300 * 1_000_000_000  # nanos by which the centre's clock may be ahead
LONGEST_TTL = 3600.0  # seconds
REASONS = ("malformed", "major", "signature", "gateway", "future", "expired")  # of `verify`
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class PrivateKey(Protocol):
    """An `Ed25519PrivateKey` of cryptography, or whatever asks a safer place to sign."""

    def sign(self, data: bytes, /) -> bytes: ...


class PublicKey(Protocol):
    """An `Ed25519PublicKey` of cryptography; raises its `InvalidSignature`."""

    def verify(self, signature: bytes, data: bytes, /) -> None: ...


@dataclass(frozen=True)
class Command:
    """Write `value` to `channel` of `asset` if its term is `term`. `issued`, `expires` in UTC nanos, `ttl` seconds."""

    id: str
    gateway: str
    asset: str
    term: int
    channel: str
    value: float
    issued: int
    expires: int
    ttl: float
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id {short(repr(self.id))}: expected up to 64 letters, digits, '_', '.', ':' or '-'")
        for name in ("gateway", "asset", "channel"):
            check_identifier(name, getattr(self, name))
        if not math.isfinite(self.value):
            raise ValueError(f"value {self.value}: expected a finite number")
        if self.term < 0:
            raise ValueError(f"term {self.term}: it counts up from 0")
        if not 0 < self.ttl <= LONGEST_TTL:
            raise ValueError(f"ttl {self.ttl}: expected seconds up to {LONGEST_TTL:g}")
        if not self.issued < self.expires:
            raise ValueError(f"expires {self.expires} is not after issued {self.issued}")

    def deadline(self, came: int) -> int:
        """Monotonic nanos after which it must not be carried out, if it came at monotonic nanos `came`."""
        return came + int(self.ttl * 1e9)


def sign(key: PrivateKey, command: Command) -> bytes:
    """The payload of a command: what the centre does."""
    fields = asdict(command)
    signature = key.sign(CONTEXT + canonical_json(fields))
    return dump({**fields, "signature": base64.b64encode(signature).decode()})


def verify(key: PublicKey, payload: bytes, gateway: str, now: int, limits: Limits = DEFAULT) -> Command:
    """The command in `payload`, if the holder of `key` gave it to this gateway and it may still be carried out.

    `now` in UTC nanos. Raises `CommandRefusedError`, its reason one of `REASONS`, and nothing else.
    """
    value, signature = _signed(payload, limits)
    try:
        text = CONTEXT + canonical_json(value)
    except RecursionError:
        raise CommandRefusedError("malformed", "a command that is nested too deep") from None
    _check_signature(key, signature, text)
    try:
        check_schema(value, "a command")
        command = decode(Command, value, "command")
    except MajorError as error:
        raise CommandRefusedError("major", error.detail) from None
    except (WireError, ValueError) as error:
        raise CommandRefusedError("malformed", str(error)) from None
    if command.gateway != gateway:
        raise CommandRefusedError("gateway", f"command {command.id} is for {command.gateway}, this is {gateway}")
    if command.issued > now + MOST_AHEAD:
        ahead = (command.issued - now) / 1e9
        raise CommandRefusedError("future", f"command {command.id} was issued {ahead:.0f} s from now: check the clocks")
    if now >= command.expires:
        late = (now - command.expires) / 1e9
        raise CommandRefusedError("expired", f"command {command.id} expired {late:.1f} s ago")
    return command


def public_key(text: str) -> PublicKey:
    """The key in `text`, as PEM or its 32 bytes in base64; `EdgeError` when it is none."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise EdgeError("commands are signed: install overhaul[gateway], which brings cryptography") from error
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
        else:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a key of another kind")
        return key
    except Exception as error:  # cryptography raises its own for what it does not support
        raise EdgeError(
            f"the public key of commands cannot be read ({error}): give an Ed25519 public key, as PEM or as the "
            "base64 of its 32 bytes"
        ) from error


def _signed(payload: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """All fields but the signature, and the signature."""
    if len(payload) > min(limits.json, 64 << 10):
        raise CommandRefusedError("malformed", f"{len(payload)} bytes are no command")
    try:
        value = load(payload, "a command")
        signature = value.pop("signature", None)
        if not isinstance(signature, str):
            raise ValueError("a command without a signature")
        return value, base64.b64decode(signature, validate=True)
    except (WireError, ValueError, binascii.Error) as error:
        raise CommandRefusedError("malformed", str(error)) from None


def _check_signature(key: PublicKey, signature: bytes, text: bytes) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        raise CommandRefusedError("signature", "a command that the pinned key has not signed") from None
