"""What the gateway that owns a machine is to be told of it: its term, its settings, where its twin goes on.

Wanted in the transaction that changes it, sent by a hub (`serving.assignments`), settled by the gateway's answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from serving.database.queries import find_asset
from serving.database.tables import asset_settings, assets, assignments, gateways
from serving.registry.audit import Act, record

WAITING, SENT, DONE, REFUSED = "waiting", "sent", "done", "refused"
OPEN = (WAITING, SENT)
NO_MODEL = "model"  # why a gateway refuses a state that its bundle cannot read
AT_THE_GATEWAY = ("off", "asset", "class", "future")  # refusals that a person puts right there: it is told again


@dataclass(frozen=True)
class Wanted:
    """`status`: waiting, sent, done or refused (`reason`: why). `settings_version` 0: nothing was ever set.

    `sent`: which state went with it, and what that lacks. Times in UTC nanos.
    """

    id: str
    gateway: str
    term: int
    settings_version: int
    status: str
    at: int
    sent_at: int | None
    answered_at: int | None
    sent: str
    reason: str


def want(connection: Connection, at: int, asset: int, *, new_owner: bool) -> None:
    """Have the owner of `asset` told what the registry says now; `new_owner`: also where the twin goes on.

    Locks the asset: of two changes at the same time, the later one knows the earlier one.
    """
    query = select(assets.c.gateway, assets.c.term).where(assets.c.id == asset)
    gateway, term = connection.execute(query.with_for_update(key_share=True)).one()
    before = connection.execute(select(assignments).where(assignments.c.asset == asset)).first()
    connection.execute(delete(assignments).where(assignments.c.asset == asset))
    if gateway is None:
        return
    pending = before is not None and before.term == term and before.status != DONE and before.resume
    newest = select(func.max(asset_settings.c.version)).where(asset_settings.c.asset == asset)
    row = {
        "asset": asset,
        "id": _id(),
        "gateway": gateway,
        "term": term,
        "settings_version": connection.execute(newest).scalar() or 0,
        "resume": new_owner or pending,
        "at": at,
        "status": WAITING,
        "claimed": 0,
        "claims": 0,
        "sent": "",
        "reason": "",
    }
    connection.execute(insert(assignments).values(**row))


def find_wanted(connection: Connection, name: str) -> Wanted | None:
    """The newest of machine `name`, and what became of it; None: there is nothing to tell."""
    table = assignments.c
    asset = find_asset(connection, name)
    owner = table.id, gateways.c.name, table.term, table.settings_version, table.status
    rest = table.at, table.sent_at, table.answered_at, table.sent, table.reason
    joined = select(*owner, *rest).join(gateways, table.gateway == gateways.c.id)
    row = connection.execute(joined.where(table.asset == asset.id)).first()
    return None if row is None else Wanted(*tuple(row))


def settle(connection: Connection, answers: Mapping[str, Sequence[Any]], at: int) -> None:
    """Answers of gateways, as columns of `command_answers`: old, new, repeated, to whatever ids.

    A gateway that cannot read the state is asked again without it: its twin starts anew there, and warms up. One that
    does not have the machine, or takes no assignments yet, is told again later.
    """
    names = ("id", "gateway", "status", "reason")
    given = {row[:2]: row[2:] for row in zip(*(answers[name] for name in names), strict=True)}
    if not any(is_assignment(id_) for id_, _ in given):
        return
    query = select(assignments, assets.c.name, gateways.c.name.label("gateway_name"))
    joined = query.join(assets, assignments.c.asset == assets.c.id).join(
        gateways, assignments.c.gateway == gateways.c.id
    )
    mine = joined.where(assignments.c.id.in_(sorted({id_ for id_, _ in given})), assignments.c.status.in_(OPEN))
    for row in connection.execute(mine.order_by(assignments.c.asset).with_for_update(of=assignments)).all():
        if (row.id, row.gateway) not in given:
            continue
        status, reason = given[row.id, row.gateway]
        why = (reason or "").partition(":")[0]
        values: dict[str, Any] = {"status": status, "answered_at": at, "reason": reason or ""}
        if status not in (DONE, REFUSED):
            continue
        if status == REFUSED and row.resume and why == NO_MODEL:
            values |= {"id": _id(), "status": WAITING, "resume": False, "claimed": 0, "claims": 0}
        elif status == REFUSED and why in AT_THE_GATEWAY:
            values["status"] = row.status
        connection.execute(update(assignments).where(assignments.c.asset == row.asset).values(**values))
        said = {"term": row.term, "settings": row.settings_version, "detail": reason, "sent": row.sent}
        record(connection, Act(f"gateway/{row.gateway_name}", at), f"assignment.{status}", f"asset/{row.name}", **said)


def is_assignment(id_: str) -> bool:
    """Whether an answer is to an assignment."""
    return id_.startswith("a-")


def _id() -> str:
    return f"a-{secrets.token_hex(12)}"
