"""Signs commands that are queued, for the hub's outbox: the only place that has the private key."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from edge_runtime.contract import topics
from edge_runtime.contract.command import Command, PrivateKey, sign
from serving.commands.record import SECOND, change, expire, overdue
from serving.commands.settings import CommandSettings
from serving.commands.status import CANCELLED, QUEUED, published
from serving.database.tables import assets, commands, gateways
from serving.hub.outbox import Parcel
from serving.registry.audit import Act, record

log = logging.getLogger(__name__)

_AGAIN = 2 * SECOND  # after the broker has not taken it
_AT_ONCE = 100
_MOVED = "the machine has got another owner since"


class CommandSender:
    """`key` None: this hub sends none; it does end those that nobody waits for any longer.

    What is for a gateway that has said good-bye waits until it is back: so its end is known to be "expired".
    """

    name = "commands"

    def __init__(self, settings: CommandSettings, key: PrivateKey | None) -> None:
        self._settings, self._key = settings, key

    def waiting(self, connection: Connection, now: int) -> bool:
        conditions = [overdue(now, self._settings)]
        if self._key is not None:
            conditions.append(_due(now))
        query = select(commands.c.id).join(gateways, commands.c.gateway == gateways.c.id)
        return connection.execute(query.where(or_(*conditions)).limit(1)).first() is not None

    def claim(self, connection: Connection, now: int, until: int) -> Sequence[Parcel]:
        expire(connection, now, self._settings)
        if self._key is None:
            return []
        query = (
            select(
                commands,
                gateways.c.name.label("gateway_name"),
                gateways.c.site,
                assets.c.name,
                assets.c.gateway.label("owner"),
                assets.c.term.label("owner_term"),
            )
            .join(gateways, commands.c.gateway == gateways.c.id)
            .join(assets, commands.c.asset == assets.c.id)
            .where(_due(now))
            .order_by(commands.c.at, commands.c.id)
            .limit(_AT_ONCE)
            .with_for_update(of=commands, skip_locked=True)
        )
        parcels = [self._claim(connection, row, now, until) for row in connection.execute(query).all()]
        return [parcel for parcel in parcels if parcel is not None]

    def sent(self, connection: Connection, parcels: Sequence[Parcel], now: int) -> None:
        for row in _locked(connection, parcels):
            if (after := published(row.status)) is not None:
                change(connection, row.id, after, Act("hub", now), sent_at=now)
            elif row.sent_at is None:  # the answer was faster
                connection.execute(update(commands).where(commands.c.id == row.id).values(sent_at=now))

    def unsent(self, connection: Connection, parcels: Sequence[Parcel], why: str, now: int) -> None:
        for row in _locked(connection, parcels):
            if row.status == QUEUED:
                values = {"claimed": now + _AGAIN, "detail": f"not sent yet: {why}"}
                connection.execute(update(commands).where(commands.c.id == row.id).values(**values))

    def _claim(self, connection: Connection, row: Row[Any], now: int, until: int) -> Parcel | None:
        """Compare and set: of several hubs that have seen `row`, one gets it."""
        if (row.owner, row.owner_term) != (row.gateway, row.term):
            self._moved(connection, row, now)
            return None
        same = commands.c.id == row.id, commands.c.status == QUEUED, commands.c.claims == row.claims
        claimed = update(commands).where(*same).values(claimed=until, claims=row.claims + 1)
        if not connection.execute(claimed).rowcount:
            return None
        left = (row.expires - now) / SECOND
        command = Command(
            row.id,
            row.gateway_name,
            row.name,
            row.term,
            row.channel,
            row.value,
            issued=now,
            expires=row.expires,
            ttl=min(left, row.ttl),
        )
        assert self._key is not None
        log.info("command %s: %s %s = %g, to %s", row.id, row.name, row.channel, row.value, row.gateway_name)
        topic = topics.down(row.site, row.gateway_name, "command")
        return Parcel(row.id, topic, sign(self._key, command), expiry=max(1, int(left)))

    def _moved(self, connection: Connection, row: Row[Any], now: int) -> None:
        if row.claims:  # its former gateway may have it: an answer may come, but it is not sent again
            connection.execute(update(commands).where(commands.c.id == row.id).values(claimed=row.expires))
            return
        change(connection, row.id, CANCELLED, Act("hub", now), detail=_MOVED)
        record(connection, Act("hub", now, _MOVED), "command.cancel", f"asset/{row.name}", command=row.id)


def _due(now: int) -> ColumnElement[bool]:
    there = or_(gateways.c.state.is_(None), gateways.c.state != "offline")
    return and_(commands.c.status == QUEUED, commands.c.claimed <= now, commands.c.expires > now, there)


def _locked(connection: Connection, parcels: Sequence[Parcel]) -> Sequence[Row[Any]]:
    ids = [parcel.of for parcel in parcels]
    query = select(commands).where(commands.c.id.in_(ids)).order_by(commands.c.id).with_for_update()
    return connection.execute(query).all()
