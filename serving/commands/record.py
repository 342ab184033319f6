"""Commands in the database. All functions take a connection of `Database.write()`, except those that only read.

Whoever changes a command changes it from the status that was read under its lock, and adds to its history.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from serving.commands.refusals import explained
from serving.commands.settings import CommandSettings
from serving.commands.status import (
    CANCELLED,
    EXPIRED,
    OPEN,
    QUEUED,
    SENT,
    UNKNOWN,
    WAITING,
    Status,
    answered,
    out_of_time,
    withdrawable,
)
from serving.database.tables import assets, command_changes, commands, gateways, nodes
from serving.errors import ConflictError, RequestError
from serving.registry.audit import Act, record

SECOND = 1_000_000_000
_MINUTE = 60 * SECOND
NO_HUB = "no hub has sent it in time: is one running that has the key, and is the gateway online?"
NO_APPROVAL = "nobody has approved it in time"
NO_ANSWER = "the gateway has not answered: look at the machine, at the gateway's status and at its log"


@dataclass(frozen=True)
class Order:
    """What a person asks for, checked against the class: write `value`, in `unit`, within `ttl` seconds."""

    asset: int
    name: str
    term: int
    gateway: int
    channel: str
    value: float
    unit: str
    ttl: float


def make(connection: Connection, act: Act, order: Order, settings: CommandSettings) -> str:
    """The id of a new command, `act.reason` its reason. `RequestError` "rate" if there were too many lately.

    The row of the asset is locked until the end of the transaction: commands to one machine are made one by one.
    """
    _check_rate(connection, order, settings, act.at)
    needed = approvals_needed(connection, order.asset, settings)
    status = WAITING if needed else QUEUED
    seconds = settings.approve_within if needed else order.ttl
    row = {
        "id": f"c-{secrets.token_hex(12)}",
        "asset": order.asset,
        "term": order.term,
        "gateway": order.gateway,
        "channel": order.channel,
        "value": order.value,
        "unit": order.unit,
        "reason": act.reason,
        "by": act.by,
        "at": act.at,
        "ttl": order.ttl,
        "expires": act.at + int(seconds * SECOND),
        "status": status,
        "approvals": needed,
        "claimed": 0,
        "claims": 0,
        "detail": "",
        "changed": act.at,
    }
    connection.execute(insert(commands).values(**row))
    _tell(connection, str(row["id"]), status, act, "")
    said = {"command": row["id"], "channel": order.channel, "value": order.value, "approvals": needed}
    record(connection, act, "command.make", f"asset/{order.name}", **said)
    return str(row["id"])


def approvals_needed(connection: Connection, asset: int, settings: CommandSettings) -> int:
    """Of others than who asks."""
    if settings.approvals or not settings.approve_critical:
        return settings.approvals
    found = connection.execute(select(nodes.c.criticality).where(nodes.c.asset == asset)).scalar()
    return int(found == "A")


def approve(connection: Connection, act: Act, asset: int, name: str, command: str) -> None:
    """Another person agrees; the time in which it must be carried out begins. The same again changes nothing."""
    row = lock(connection, asset, command)
    if row.approved_by == act.by:
        return
    if row.status != WAITING or row.expires <= act.at:
        raise ConflictError(f"command {command} is {_now(row, act.at)}: there is nothing to approve; make a new one")
    if row.by == act.by:
        raise RequestError(
            "approver", f"you have asked for command {command} yourself: another person with the role command approves"
        )
    owner = connection.execute(select(assets.c.gateway, assets.c.term).where(assets.c.id == asset)).one()
    if tuple(owner) != (row.gateway, row.term):
        raise ConflictError(f"'{name}' has got another owner since command {command} was made: make a new one")
    until = act.at + int(row.ttl * SECOND)
    change(connection, command, QUEUED, act, approved_by=act.by, approved_at=act.at, expires=until)
    record(connection, act, "command.approve", f"asset/{name}", command=command)


def cancel(connection: Connection, act: Act, asset: int, name: str, command: str) -> None:
    """Take it back, while it is sure that no gateway has it. The same again changes nothing."""
    row = lock(connection, asset, command)
    if row.status == CANCELLED:
        return
    if not withdrawable(row.status, row.claims) or row.expires <= act.at:
        how = "a hub is sending it" if row.status == QUEUED and row.claims else f"it is {_now(row, act.at)}"
        raise ConflictError(f"command {command} cannot be taken back, {how}: send another value, or use the stop file")
    change(connection, command, CANCELLED, act, detail=act.reason)
    record(connection, act, "command.cancel", f"asset/{name}", command=command)


def expire(connection: Connection, now: int, settings: CommandSettings) -> int:
    """End what nobody waits for any longer; how many these were."""
    rows = connection.execute(
        select(commands, assets.c.name)
        .join(assets, commands.c.asset == assets.c.id)
        .where(overdue(now, settings))
        .order_by(commands.c.id)
        .with_for_update(of=commands, skip_locked=True)
    ).all()
    for row in rows:
        status, detail = shown(row, now, settings)
        act = Act("hub", now)
        change(connection, row.id, status, act, detail=detail)
        record(connection, act, f"command.{status}", f"asset/{row.name}", command=row.id, detail=detail)
    return len(rows)


def overdue(now: int, settings: CommandSettings) -> Any:
    """Of what a hub has begun to send, answers are waited for somewhat longer."""
    late = now - int(settings.patience * SECOND)
    unsent = and_(commands.c.status.in_((WAITING, QUEUED)), commands.c.claims == 0, commands.c.expires <= now)
    unanswered = and_(commands.c.status.in_((QUEUED, SENT)), commands.c.claims > 0, commands.c.expires <= late)
    return or_(unsent, unanswered)


def shown(row: Row[Any], now: int, settings: CommandSettings) -> tuple[Status, str]:
    """Status and detail as they are now, whether or not a hub has written that down."""
    wait = int(settings.patience * SECOND) if row.claims else 0
    ended = out_of_time(row.status, row.claims) if row.expires + wait <= now else None
    if ended is None:
        return row.status, row.detail
    if ended == UNKNOWN:
        return ended, NO_ANSWER
    return ended, NO_APPROVAL if row.status == WAITING else NO_HUB


def follow(connection: Connection, answers: Mapping[str, Sequence[Any]], at: int) -> None:
    """Answers of gateways, as columns of `command_answers`: old, new, repeated, to whatever ids."""
    ids = sorted(set(answers["id"]))
    query = select(commands, assets.c.name, gateways.c.name.label("gateway_name")).where(commands.c.id.in_(ids))
    joined = query.join(assets, commands.c.asset == assets.c.id).join(gateways, commands.c.gateway == gateways.c.id)
    locked = joined.order_by(commands.c.id).with_for_update(of=commands)
    rows = {row.id: row for row in connection.execute(locked)}
    names = ("id", "gateway", "status", "reason", "value")
    given = sorted(zip(*(answers[name] for name in names), strict=True), key=lambda each: (each[0], each[2]))
    best: dict[str, tuple[Status, str]] = {}  # command → status and answer so far
    for id_, gateway, answer, reason, value in given:
        row = rows.get(id_)
        if row is None or row.gateway != gateway:
            continue
        before, known = best.get(id_, (row.status, row.answer))
        after = answered(before, row.claims, known, answer)
        if after is None:
            continue
        best[id_] = after, answer
        act = Act(f"gateway/{row.gateway_name}", at)
        detail = explained(reason)
        change(connection, id_, after, act, detail=detail, answer=answer, read_back=value)
        record(connection, act, f"command.{answer}", f"asset/{row.name}", command=id_, read_back=value, detail=detail)


def lock(connection: Connection, asset: int, command: str) -> Row[Any]:
    """`RequestError` if this machine has no such command."""
    query = select(commands).where(commands.c.id == command, commands.c.asset == asset).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise unknown(command)
    return row


def unknown(command: str) -> RequestError:
    return RequestError(
        "unknown_command", f"this machine has no command '{command[:80]}': list its commands", "command"
    )


def change(connection: Connection, command: str, status: Status, act: Act, *, detail: str = "", **values: Any) -> None:
    """Another status, on record; the row is locked."""
    changed = {"status": status, "detail": detail, "changed": act.at, **values}
    connection.execute(update(commands).where(commands.c.id == command).values(**changed))
    _tell(connection, command, status, act, detail)


def _tell(connection: Connection, command: str, status: Status, act: Act, detail: str) -> None:
    row = {"command": command, "status": status, "at": act.at, "by": act.by, "detail": detail}
    connection.execute(insert(command_changes).values(**row))


def _check_rate(connection: Connection, order: Order, settings: CommandSettings, now: int) -> None:
    connection.execute(select(assets.c.id).where(assets.c.id == order.asset).with_for_update(key_share=True))
    lately = commands.c.asset == order.asset, commands.c.channel == order.channel, commands.c.at > now - _MINUTE
    count, first = connection.execute(select(func.count(), func.min(commands.c.at)).where(*lately)).one()
    if count >= settings.per_minute:
        raise RequestError(
            "rate",
            f"{order.name} {order.channel} may be commanded {settings.per_minute} times a minute: wait",
            after=(first + _MINUTE - now) / SECOND,
        )


def _now(row: Row[Any], now: int) -> str:
    return EXPIRED if row.status in OPEN and not row.claims and row.expires <= now else str(row.status)
