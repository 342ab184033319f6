"""`down/assignment`: what the centre tells a gateway about one machine: under which term it has it, how it is set, and
where its twin goes on.

Signed as a command is, for it can move the limits of alarms; the context is another one. It never expires and may come
again: the gateway takes no older term and no older version of settings than it has, and a state only for a twin that
knows less.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.contract.limits import DEFAULT, Limits
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.signature import PrivateKey, PublicKey, sign_fields, verify_fields
from edge_runtime.contract.text import SCHEMA, check_schema, short
from edge_runtime.decode import decode
from edge_runtime.errors import AssignmentRefusedError, MajorError, WireError

CONTEXT = b"overhaul assignment 1\n"  # so that nothing else this key has signed can pass for an assignment
MOST_AHEAD = 300 * 1_000_000_000  # nanos by which the centre's clock may be ahead
LARGEST_TERM = 2**31 - 1
MOST_SETTINGS = 1000
REASONS = ("malformed", "major", "signature", "gateway", "future")  # of `verify`
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ALARM_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_MODEL_ID = re.compile(r"[!-~]{1,128}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@dataclass(frozen=True)
class AssignedSettings:
    """All settings of the machine: what is not in `values` is the default of its class."""

    version: int
    values: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 1 <= self.version <= LARGEST_TERM:
            raise ValueError(f"version {self.version}: it counts up from 1")
        if len(self.values) > MOST_SETTINGS:
            raise ValueError(f"{len(self.values)} settings: at most {MOST_SETTINGS}")
        for name, value in self.values.items():
            if not 1 <= len(name) <= 128:
                raise ValueError(f"setting {short(repr(name))}: a name has 1 to 128 characters")
            if not math.isfinite(value):
                raise ValueError(f"setting {name} is {value}: expected a finite number")


@dataclass(frozen=True)
class AssignedAlarm:
    """An occurrence that is active: the next owner goes on with it, under its id. `since` in source time."""

    id: str
    level: int
    since: int
    number: int

    def __post_init__(self) -> None:
        if not _ALARM_ID.fullmatch(self.id):
            raise ValueError(f"id {short(repr(self.id))}: expected up to 200 letters, digits, '_', '.', ':' or '-'")
        if not 1 <= self.level <= 3:
            raise ValueError(f"level {self.level}: an active alarm has 1 to 3")
        if self.number < 0:
            raise ValueError(f"number {self.number}: it counts up from 0")
        _check_size("since", self.since)
        _check_size("number", self.number)


@dataclass(frozen=True)
class AssignedState:
    """A twin of model `model_id` after observation (term, number) of source time `t`; `state`: f32[S] in base64."""

    model_id: str
    term: int
    number: int
    t: int
    state: str
    alarm: AssignedAlarm | None = None

    def __post_init__(self) -> None:
        if not _MODEL_ID.fullmatch(self.model_id):
            raise ValueError(f"model_id {short(repr(self.model_id))}: expected up to 128 visible characters")
        _check_term(self.term)
        if self.number < 1:
            raise ValueError(f"number {self.number}: there is no state before the first observation")
        _check_size("number", self.number)
        _check_size("t", self.t)
        if not _BASE64.fullmatch(self.state):
            raise ValueError("state: expected base64")
        if len(base64.b64decode(self.state)) % 4:
            raise ValueError("state: no shape of float32 has so many bytes")

    @classmethod
    def of(
        cls, model_id: str, term: int, number: int, t: int, state: F32, alarm: AssignedAlarm | None = None
    ) -> AssignedState:
        """That of `state` f32[S]."""
        text = base64.b64encode(np.ascontiguousarray(state, "<f4").tobytes()).decode()
        return cls(model_id, term, number, t, text, alarm)

    def array(self) -> F32:
        """f32[S]."""
        values: F32 = np.frombuffer(base64.b64decode(self.state), "<f4").astype(np.float32)
        return values


@dataclass(frozen=True)
class Assignment:
    """`settings` None: nothing was ever set at the centre. `state` None: the twin goes on with what the gateway has."""

    id: str
    gateway: str
    asset: str
    asset_class: str
    term: int
    issued: int  # UTC nanos
    settings: AssignedSettings | None = None
    state: AssignedState | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id {short(repr(self.id))}: expected up to 64 letters, digits, '_', '.', ':' or '-'")
        for name in ("gateway", "asset", "asset_class"):
            check_identifier(name, getattr(self, name))
        _check_term(self.term)
        if self.state is not None and self.state.term > self.term:
            raise ValueError(f"state is not after term {self.term}: it is of {self.state.term}")


def sign(key: PrivateKey, assignment: Assignment) -> bytes:
    """The payload of an assignment: what the centre does."""
    return sign_fields(key, CONTEXT, asdict(assignment))


def verify(key: PublicKey, payload: bytes, gateway: str, now: int, limits: Limits = DEFAULT) -> Assignment:
    """The assignment in `payload`, if the holder of `key` gave it to this gateway; `now` in UTC nanos.

    Raises `AssignmentRefusedError`, its reason one of `REASONS`, and nothing else.
    """
    try:
        value = verify_fields(key, CONTEXT, payload, "an assignment", limits.json)
        check_schema(value, "an assignment")
        found = decode(Assignment, value, "assignment")
    except MajorError as error:
        raise AssignmentRefusedError("major", error.detail) from None
    except WireError as error:
        reason = error.reason if error.reason == "signature" else "malformed"
        raise AssignmentRefusedError(reason, error.detail) from None
    except ValueError as error:
        raise AssignmentRefusedError("malformed", str(error)) from None
    if found.gateway != gateway:
        raise AssignmentRefusedError("gateway", f"assignment {found.id} is for {found.gateway}, this is {gateway}")
    if found.issued > now + MOST_AHEAD:
        ahead = (found.issued - now) / 1e9
        raise AssignmentRefusedError(
            "future", f"assignment {found.id} was issued {ahead:.0f} s from now: see the clocks"
        )
    return found


def _check_size(name: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} {short(str(value))}: expected a whole number of 64 bits")


def _check_term(term: int) -> None:
    if not 0 <= term <= LARGEST_TERM:
        raise ValueError(f"term {term}: terms are whole numbers from 0 to {LARGEST_TERM}")
