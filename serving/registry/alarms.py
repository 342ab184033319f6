"""Alarms at the centre: listed, and acknowledged. The graph and its gateway raise and clear them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, tuple_, update

from serving.database import bulk
from serving.database.queries import Asset
from serving.database.tables import acknowledgements, alarms, assets, models
from serving.errors import UnknownError
from serving.registry.audit import Act, named, record

_SAID = acknowledgements.c
_COLUMNS = (
    assets.c.name,
    assets.c.asset_class,
    models.c.model_id,
    _SAID.level.label("said_level"),
    _SAID.at.label("said_at"),
    named(_SAID.by).label("said_by"),
    _SAID.comment,
)

# Seen to: somebody has said so, and it has not risen since.
SEEN_TO: ColumnElement[bool] = and_(_SAID.level.is_not(None), alarms.c.level <= _SAID.level)
Place = tuple[int, int, str]  # of an alarm in a list: when its last message was stored, asset, id


def list_alarms(
    connection: Connection, where: Sequence[ColumnElement[bool]] = (), *, after: Place | None = None, limit: int = 100
) -> Sequence[Row[Any]]:
    """Rows of `alarms` with asset, model and acknowledgement, the last to change first."""
    query = (
        select(alarms, *_COLUMNS)
        .join(assets, assets.c.id == alarms.c.asset)
        .join(models, models.c.id == alarms.c.model)
        .outerjoin(acknowledgements, and_(_SAID.asset == alarms.c.asset, _SAID.id == alarms.c.id))
        .where(*where)
    )
    place = (alarms.c.at, alarms.c.asset, alarms.c.id)
    if after is not None:
        query = query.where(tuple_(*place) < after)
    return connection.execute(query.order_by(*(column.desc() for column in place)).limit(limit)).all()


def acknowledge(connection: Connection, act: Act, asset: Asset, alarm: str) -> Row[Any]:
    """The alarm, seen to by whoever was first; `act.reason` is the comment. Again is no change.

    One that has risen since may be acknowledged anew. `UnknownError` if there is none of this id.
    """
    mine = [alarms.c.asset == asset.id, alarms.c.id == alarm]
    found = list_alarms(connection, mine, limit=1)
    if not found:
        raise UnknownError(f"asset '{asset.name}' has no alarm '{alarm[:200]}': list its alarms", "alarm")
    level = found[0].level
    row = {"asset": asset.id, "id": alarm, "level": level, "at": act.at, "by": act.by, "comment": act.reason}
    new = bulk.insert(connection, acknowledgements, {name: [value] for name, value in row.items()})
    if not new:
        risen = and_(_SAID.asset == asset.id, _SAID.id == alarm, _SAID.level < level)
        changed = {name: row[name] for name in ("level", "at", "by", "comment")}
        new = connection.execute(update(acknowledgements).where(risen).values(**changed)).rowcount
    if new:
        record(connection, act, "alarm.acknowledge", f"asset/{asset.name}", alarm=alarm, level=level)
    return list_alarms(connection, mine, limit=1)[0]


def waiting() -> ColumnElement[bool]:
    """Nobody has seen to it, or it has risen since."""
    return or_(_SAID.level.is_(None), alarms.c.level > _SAID.level)
