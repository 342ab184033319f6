"""Who changed what, and why: written in the transaction of the change, never altered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from serving.database.tables import audit


@dataclass(frozen=True)
class Act:
    """`by` whom, at which time (UTC nanos) and for which `reason` something is changed."""

    by: str
    at: int
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    id: int
    at: int
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


def record(connection: Connection, act: Act, action: str, subject: str, **detail: Any) -> None:
    """`action` such as "asset.assign", done to `subject` such as "asset/pump-3"."""
    if act.reason:
        detail["reason"] = act.reason
    connection.execute(insert(audit).values(at=act.at, actor=act.by, action=action, subject=subject, detail=detail))


def read_audit(
    connection: Connection, subject: str | None = None, limit: int = 100, before: int | None = None
) -> list[Entry]:
    """The newest entries, of one subject or of all; `before` an id to page on."""
    query = select(audit.c.id, audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [Entry(*row) for row in connection.execute(query.order_by(audit.c.id.desc()).limit(limit))]
