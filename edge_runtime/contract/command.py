"""`down/command`: the centre asks for a set-point to be written, and signs it.

One JSON object; `signature` is Ed25519 in base64 over `CONTEXT` and the canonical JSON of all its other fields, unknown
ones too. A command is bound to gateway, asset, channel and term, and ends on two clocks: `expires` in UTC, and `ttl`
seconds after it came, by a clock that nobody sets. It is for the gateway to see that an id is used once, and that its
own allow-list has machine, channel, value and rate.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass

from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.signature import PrivateKey as PrivateKey
from edge_runtime.contract.signature import PublicKey as PublicKey
from edge_runtime.contract.signature import public_key as public_key
from edge_runtime.contract.signature import sign_fields, verify_fields
from edge_runtime.contract.text import SCHEMA, check_schema, short
from edge_runtime.decode import decode
from edge_runtime.errors import CommandRefusedError, MajorError, WireError

CONTEXT = b"overhaul command 1\n"  # so that nothing else this key has signed can pass for a command
MOST_AHEAD = 300 * 1_000_000_000  # nanos by which the centre's clock may be ahead
LONGEST_TTL = 3600.0  # seconds
REASONS = ("malformed", "major", "signature", "gateway", "future", "expired")  # of `verify`
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


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
    return sign_fields(key, CONTEXT, asdict(command))


def verify(key: PublicKey, payload: bytes, gateway: str, now: int, limits: Limits = DEFAULT) -> Command:
    """The command in `payload`, if the holder of `key` gave it to this gateway and it may still be carried out.

    `now` in UTC nanos. Raises `CommandRefusedError`, its reason one of `REASONS`, and nothing else.
    """
    try:
        value = verify_fields(key, CONTEXT, payload, "a command", min(limits.json, 64 << 10))
    except WireError as error:
        raise CommandRefusedError(error.reason, error.detail) from None
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
