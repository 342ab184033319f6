"""Topics of the wire: `overhaul/1/<site>/<gateway>/{up/<kind>[/<asset>], down/<kind>, status}`.

>>> up("north", "gw-7", "alarm", "pump-3")
'overhaul/1/north/gw-7/up/alarm/pump-3'
>>> parse("overhaul/1/north/gw-7/up/alarm/pump-3")
Topic(site='north', gateway='gw-7', direction='up', kind='alarm', asset='pump-3')
"""

from __future__ import annotations

from typing import NamedTuple

from edge_runtime.contract.message import KINDS
from edge_runtime.contract.names import check_identifier, is_identifier
from edge_runtime.contract.text import MAJOR, short
from edge_runtime.errors import MajorError, WireError

ROOT = f"overhaul/{MAJOR}"
DOWN = ("ack", "command", "request", "assignment")
_LONGEST = 512  # characters; the longest valid one has under 250


class Topic(NamedTuple):
    """`direction` is up, down or status; `kind` is "" for status, `asset` None where the topic names none."""

    site: str
    gateway: str
    direction: str
    kind: str = ""
    asset: str | None = None


def up(site: str, gateway: str, kind: str, asset: str | None = None) -> str:
    """Where the gateway publishes; `ValueError` for a kind or an identifier that is none."""
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    topic = f"{_base(site, gateway)}/up/{kind}"
    return topic if asset is None else f"{topic}/{check_identifier('asset', asset)}"


def down(site: str, gateway: str, kind: str) -> str:
    """Where the centre publishes to one gateway."""
    if kind not in DOWN:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(DOWN)}")
    return f"{_base(site, gateway)}/down/{kind}"


def status(site: str, gateway: str) -> str:
    """Retained; also the topic of the last will."""
    return f"{_base(site, gateway)}/status"


def downward(site: str, gateway: str) -> str:
    """What a gateway subscribes to."""
    return f"{_base(site, gateway)}/down/+"


def upward(site: str = "+") -> tuple[str, str]:
    """What the centre subscribes to: all that gateways send, and whether they are there."""
    if site != "+":
        check_identifier("site", site)
    return f"{ROOT}/{site}/+/up/#", f"{ROOT}/{site}/+/status"


def parse(topic: str) -> Topic:
    """What `topic` says; `WireError` "topic" when it is none of ours, `MajorError` when it is of a newer contract."""
    parts = topic.split("/") if len(topic) <= _LONGEST else []
    if len(parts) < 5 or parts[0] != "overhaul" or not (is_identifier(parts[2]) and is_identifier(parts[3])):
        raise _wrong(topic)
    if parts[1] != str(MAJOR):
        if parts[1].isascii() and parts[1].isdigit():
            raise MajorError("major", f"topic {short(topic)!r} is of contract {parts[1]}; this one is {MAJOR}")
        raise _wrong(topic)
    site, gateway, direction, rest = parts[2], parts[3], parts[4], parts[5:]
    if direction == "status" and not rest:
        return Topic(site, gateway, direction)
    if direction == "down" and len(rest) == 1 and rest[0] in DOWN:
        return Topic(site, gateway, direction, rest[0])
    if direction == "up" and rest and rest[0] in KINDS:
        if len(rest) == 1:
            return Topic(site, gateway, direction, rest[0])
        if len(rest) == 2 and is_identifier(rest[1]):
            return Topic(site, gateway, direction, rest[0], rest[1])
    raise _wrong(topic)


def _base(site: str, gateway: str) -> str:
    return f"{ROOT}/{check_identifier('site', site)}/{check_identifier('gateway', gateway)}"


def _wrong(topic: str) -> WireError:
    return WireError("topic", f"{short(topic)!r} is no topic of {ROOT}/<site>/<gateway>/…")
