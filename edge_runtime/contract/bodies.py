"""Bodies of JSON messages: an alarm's occurrence, the gateway's own events, answers to commands, its status.

Each is a frozen dataclass that checks itself, whoever makes it; `pack` makes the body of an `Outgoing` of it. Numbers
that are not known are null, never NaN.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.contract.names import check_identifier
from edge_runtime.contract.text import SCHEMA, dump, short

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_LONGEST_TEXT = 2000

ALARM_STATES = ("raised", "changed", "cleared")
EVENT_STATES = ("raised", "cleared", "noted")
SEVERITIES = ("info", "warning", "error")
ANSWERS = ("accepted", "refused", "done", "failed", "unknown")


@dataclass(frozen=True)
class Excerpt:
    """One machine's prognosis in short. `open`: a remaining life that is null reaches beyond what the model tells."""

    health: float | None = None
    anomaly_score: float | None = None
    failure_probability: float | None = None
    rul: float | None = None
    rul_lower: float | None = None
    rul_upper: float | None = None
    open: bool = False
    warming_up: float | None = None
    unfamiliar: float | None = None

    @classmethod
    def of(cls, outputs: Mapping[str, Array], row: int) -> Excerpt:
        """That of the graph's outputs in `row`; what the graph does not give stays null.

        >>> import numpy as np
        >>> excerpt = Excerpt.of({"health": np.float32([0.9]), "rul": np.float32([np.inf])}, 0)
        >>> excerpt.health, excerpt.rul, excerpt.open
        (0.9, None, True)
        """
        names = [f.name for f in dataclasses.fields(cls) if f.name != "open"]
        values = {name: outputs[name][row] for name in names if name in outputs}
        lives = [float(values[name]) for name in ("rul", "rul_lower", "rul_upper") if name in values]
        reaches = any(life == math.inf for life in lives) and not any(map(math.isnan, lives))
        return cls(**{name: number(value) for name, value in values.items()}, open=reaches)


@dataclass(frozen=True)
class Contribution:
    channel: str
    value: float

    def __post_init__(self) -> None:
        check_identifier("channel", self.channel)
        _finite("value", self.value)


@dataclass(frozen=True)
class Alarm:
    """A durable occurrence: raised at level 1 to 3, changed to another one, or cleared to 0.

    `id` is the same in all messages of one occurrence, and made again alike when the gateway replays its journal.
    `since`: source time at which it was raised. (asset, term, number): the observation that brought this message about.
    """

    id: str
    state: str
    level: int
    previous: int
    since: int
    asset: str
    term: int
    number: int
    t: int
    prognosis: Excerpt = Excerpt()
    contributions: tuple[Contribution, ...] = ()  # the largest first
    simulated: bool = False

    def __post_init__(self) -> None:
        _matches("id", self.id, _ID)
        _one_of("state", self.state, ALARM_STATES)
        check_identifier("asset", self.asset)
        if not (0 <= self.level <= 3 and 0 <= self.previous <= 3):
            raise ValueError(f"level {self.previous} to {self.level}: levels are 0 to 3")
        if self.level == self.previous:
            raise ValueError(f"level {self.previous} to {self.level} from one message to the next is no change")
        if (self.state == "raised") != (self.previous == 0) or (self.state == "cleared") != (self.level == 0):
            raise ValueError(
                f"state {self.state} from level {self.previous} to {self.level}: raised is from 0, cleared to 0"
            )
        _counts(term=self.term, number=self.number)


@dataclass(frozen=True)
class Event:
    """What the gateway itself has to say: a machine is silent, a source stale, the disk full, messages were dropped.

    `code`: what it is about, for programs (see `EVENTS`; a reader takes others too). `id` ties "cleared" to "raised";
    what is merely "noted" ends by itself. `counts` are by name; `simulated` as in an alarm.
    """

    id: str
    code: str
    state: str
    severity: str
    t: int
    asset: str | None = None
    source: str | None = None
    detail: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    simulated: bool = False

    def __post_init__(self) -> None:
        _matches("id", self.id, _ID)
        _matches("code", self.code, _CODE)
        _one_of("state", self.state, EVENT_STATES)
        _one_of("severity", self.severity, SEVERITIES)
        if self.asset is not None:
            check_identifier("asset", self.asset)
        _text("source", self.source or "")
        _text("detail", self.detail)
        _tally(self.counts)


EVENTS = {
    "silent_machine": "nothing has come of a machine for longer than its class allows",
    "out_of_range": "readings of a channel are impossible, one after the other: another unit, or a broken sensor",
    "stale_source": "a source is connected, yet nothing comes, or it is not connected",
    "clock": "the clock is not synchronised, or was set",
    "disk": "the disk is full, slow or failing",
    "link": "the centre was not reachable",
    "dropped": "the spool was over its limit and dropped messages",
    "late": "samples came after their observation had closed",
    "overflow": "more came than could be taken in",
    "failed": "the graph fails at observations, which are left out",
    "bundle": "a class runs another bundle",
    "restarted": "the gateway has started, by plan or not",
    "insecure": "something can be read or forged by others",
    "self_test": "a bundle does not reproduce its recorded outputs here",
}


@dataclass(frozen=True)
class Ack:
    """The answer to a command: it was accepted, refused (why), done (with what was read back), or failed.

    "unknown": it may have been written. The machine has not answered; or the gateway stopped between persisting the id
    and the answer, read back, and did not write again.
    """

    id: str
    status: str
    asset: str | None = None
    channel: str | None = None
    reason: str | None = None
    value: float | None = None  # read back
    t: int = 0

    def __post_init__(self) -> None:
        _matches("id", self.id, _ID)
        _one_of("status", self.status, ANSWERS)
        if self.asset is not None:
            check_identifier("asset", self.asset)
        if self.channel is not None:
            check_identifier("channel", self.channel)
        _text("reason", self.reason or "")
        if self.value is not None:
            _finite("value", self.value)


@dataclass(frozen=True)
class Heartbeat:
    """Counters since the start, and what waits: by lane, messages and bytes."""

    uptime: float  # seconds
    machines: int
    observations: int
    refused: Mapping[str, int] = field(default_factory=dict)
    backlog: Mapping[str, int] = field(default_factory=dict)
    backlog_bytes: int = 0
    oldest: int | None = None  # t_rx of the oldest message that waits
    written_bytes: int = 0

    def __post_init__(self) -> None:
        _finite("uptime", self.uptime)
        _counts(machines=self.machines, observations=self.observations)
        _counts(backlog_bytes=self.backlog_bytes, written_bytes=self.written_bytes)
        _tally(self.refused)
        _tally(self.backlog)


@dataclass(frozen=True)
class Status:
    """What stands, retained, under `…/status`: sent on connecting and with each heartbeat; offline is the last will."""

    state: str  # online, offline
    gateway: str
    epoch: int
    t: int
    version: str = ""
    bundles: Mapping[str, str] = field(default_factory=dict)  # class → model_id
    insecure: tuple[str, ...] = ()  # why, for a person
    clock: str = "synced"
    heartbeat: Heartbeat | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        _one_of("state", self.state, ("online", "offline"))
        check_identifier("gateway", self.gateway)
        _one_of("clock", self.clock, ("free", "synced"))
        _counts(epoch=self.epoch)
        for text in (self.version, *self.insecure, *self.bundles.values()):
            _text("version, insecure or bundles", text)
        for name in self.bundles:
            check_identifier("class", name)


BODIES: dict[str, type[Any]] = {"alarm": Alarm, "event": Event, "ack": Ack}


def to_json(body: Any) -> dict[str, Any]:
    """Plain JSON values of one of the dataclasses here."""
    return {f.name: _plain(getattr(body, f.name)) for f in dataclasses.fields(body)}


def pack(body: Any) -> bytes:
    """The JSON text of a body, as `Outgoing` wants it, and as a status is published."""
    return dump(to_json(body))


def number(value: Any) -> float | None:
    """A float32 as the shortest decimal that reads back as it, None for NaN and infinities.

    >>> number(np.float32(0.1)), number(np.float32(np.nan))
    (0.1, None)
    """
    return float(str(np.float32(value))) if math.isfinite(value) else None


def contributions(channels: Sequence[str], values: Array, most: int = 5) -> tuple[Contribution, ...]:
    """The channels that drive a prognosis, `values` f32[C], the largest first; zeros and NaN are left out."""
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:most]
    given = ((channels[i], number(values[i])) for i in order)
    return tuple(Contribution(name, value) for name, value in given if value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} {short(repr(value))}: expected one of {', '.join(known)}")


def _matches(name: str, value: str, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{name} {short(repr(value))}: expected {pattern.pattern}")


def _text(name: str, value: str) -> None:
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"{name} has {len(value)} characters: at most {_LONGEST_TEXT}")


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} {value}: expected a finite number")


def _counts(**values: int) -> None:
    for name, value in values.items():
        if not 0 <= value < 2**63:
            raise ValueError(f"{name} {value}: it counts up from 0")


def _tally(values: Mapping[str, int]) -> None:
    if len(values) > 256 or not all(len(name) <= 128 for name in values):
        raise ValueError(f"{len(values)} counts: at most 256, with names of at most 128 characters")
    _counts(**{str(name): value for name, value in values.items()})
