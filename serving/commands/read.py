"""Commands as they are told of; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, and_, not_, or_, select

from edge_runtime.timestamps import format_times
from serving.commands.forms import CommandAnswer, CommandChange
from serving.commands.record import overdue, shown, unknown
from serving.commands.settings import CommandSettings
from serving.commands.status import OPEN
from serving.database.tables import assets, command_changes, commands, gateways


def read_command(
    connection: Connection, asset: int, command: str, now: int, settings: CommandSettings
) -> CommandAnswer:
    """`RequestError` if this machine has no such command."""
    found = _told(connection, _select().where(commands.c.asset == asset, commands.c.id == command), now, settings)
    if not found:
        raise unknown(command)
    return found[0]


def list_commands(
    connection: Connection,
    asset: int,
    now: int,
    settings: CommandSettings,
    *,
    limit: int,
    before: str | None = None,
    open_only: bool = False,
) -> list[CommandAnswer]:
    """The newest first."""
    query = _select().where(commands.c.asset == asset)
    if before is not None:
        at = connection.execute(
            select(commands.c.at).where(commands.c.id == before, commands.c.asset == asset)
        ).scalar()
        if at is None:
            raise unknown(before)
        query = query.where(or_(commands.c.at < at, and_(commands.c.at == at, commands.c.id < before)))
    if open_only:
        query = query.where(commands.c.status.in_(OPEN), not_(overdue(now, settings)))
    newest = query.order_by(commands.c.at.desc(), commands.c.id.desc()).limit(limit)
    return _told(connection, newest, now, settings)


def _select() -> Any:
    query = select(commands, assets.c.name, gateways.c.name.label("gateway_name"))
    return query.join(assets, commands.c.asset == assets.c.id).join(gateways, commands.c.gateway == gateways.c.id)


def _told(connection: Connection, query: Any, now: int, settings: CommandSettings) -> list[CommandAnswer]:
    rows = connection.execute(query).all()
    history: dict[str, list[CommandChange]] = {row.id: [] for row in rows}
    changes = select(command_changes).where(command_changes.c.command.in_(list(history)))
    for change in connection.execute(changes.order_by(command_changes.c.place)):
        told = CommandChange(status=change.status, at=_utc(change.at), by=change.by, detail=change.detail)
        history[change.command].append(told)
    return [_answer(row, history[row.id], now, settings) for row in rows]


def _answer(row: Row[Any], history: Sequence[CommandChange], now: int, settings: CommandSettings) -> CommandAnswer:
    status, detail = shown(row, now, settings)
    same = ("id", "term", "channel", "value", "unit", "reason", "by", "ttl", "approvals", "approved_by", "read_back")
    return CommandAnswer(
        **{name: getattr(row, name) for name in same},
        asset=row.name,
        gateway=row.gateway_name,
        at=_utc(row.at),
        status=status,
        detail=detail,
        expires=_utc(row.expires),
        approved_at=None if row.approved_at is None else _utc(row.approved_at),
        sent_at=None if row.sent_at is None else _utc(row.sent_at),
        changed=_utc(row.changed),
        history=list(history),
    )


def _utc(nanos: int) -> str:
    return format_times(np.array([nanos], np.int64), "s")[0]
