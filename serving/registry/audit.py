"""Who changed what, and why: written in the transaction of the change, never altered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, select

from serving.database.tables import api_keys, audit

_KEY = "key/"  # begins who acted by a key


@dataclass(frozen=True)
class Act:
    """`by` whom, at which time (UTC nanos) and for which `reason` something is changed."""

    by: str
    at: int
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """`actor` as it was recorded; `who`: the same for people, see `named`."""

    id: int
    at: int
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    who: str


def record(connection: Connection, act: Act, action: str, subject: str, **detail: Any) -> None:
    """`action` such as "asset.assign", done to `subject` such as "asset/pump-3"."""
    if act.reason:
        detail["reason"] = act.reason
    connection.execute(insert(audit).values(at=act.at, actor=act.by, action=action, subject=subject, detail=detail))


def named(by: ColumnElement[str]) -> ColumnElement[str]:
    """Who did it, for people: a key with its name, "key/1d194a3a472c (maintenance-app)"; others as they are."""
    own = select(api_keys.c.name).where(api_keys.c.id == func.substr(by, len(_KEY) + 1)).correlate(by.table)
    name = own.scalar_subquery()
    return case((by.startswith(_KEY) & (func.coalesce(name, "") != ""), by + " (" + name + ")"), else_=by)


def told(detail: Mapping[str, Any]) -> str:
    """As a person reads it, whatever the order in the database: `before: gw-7, after: none, reason: repair`."""
    order = {"before": -2, "after": -1, "reason": 1}
    names = sorted(detail, key=lambda name: (order.get(name, 0), name))
    return ", ".join(f"{name}: {_plain(detail[name])}" for name in names)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({told(value)})"
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value is None or value == "" else str(value)


def read_audit(
    connection: Connection, subject: str | None = None, limit: int = 100, before: int | None = None
) -> list[Entry]:
    """The newest entries, of one subject or of all; `before` an id to page on."""
    query = select(
        audit.c.id, audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail, named(audit.c.actor)
    )
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [Entry(*row) for row in connection.execute(query.order_by(audit.c.id.desc()).limit(limit))]
