"""Signs what gateways are to be told about machines, for the hub's outbox."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from edge_runtime.contract import topics
from edge_runtime.contract.assignment import AssignedSettings, Assignment, sign
from edge_runtime.contract.limits import DEFAULT
from edge_runtime.contract.signature import PrivateKey
from serving.assignments.handover import Handover, hand_over
from serving.assignments.settings import AssignmentSettings
from serving.database.queries import find_asset
from serving.database.tables import asset_settings, assets, assignments, gateways
from serving.hub.outbox import Parcel
from serving.registry.assignments import OPEN, REFUSED, SENT
from serving.twins.replaying import FindServed

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
_AGAIN = 2 * SECOND  # after the broker has not taken it
_AT_ONCE = 50
_KEPT = 500  # states of twins that are put together and not settled yet
_BUDGET = 0.25  # seconds of putting states together at each look, so that commands never wait for many
_EXPIRY = 60  # seconds; the hub sends again
_WITHOUT = Handover(None, "")


class AssignmentSender:
    """`find` gives the bundles that snapshots are brought forward with; None: they go as they are. `rest`: seconds
    between two looks that find nothing.

    What is told is what the registry says when it is sent. States are put together while looking, in a transaction
    that holds nothing: a replay takes a while.
    """

    name = "assignments"

    def __init__(
        self, settings: AssignmentSettings, key: PrivateKey, find: FindServed | None = None, rest: float = 0.0
    ) -> None:
        self._settings, self._key, self._find, self._rest = settings, key, find, rest
        self._next = 0.0  # monotonic seconds
        self._prepared: dict[str, Handover] = {}

    def waiting(self, connection: Connection, now: int) -> bool:
        began = time.monotonic()
        if began < self._next:
            return False
        due = connection.execute(_due(now)).all()
        for row in due:
            if row.resume and row.id not in self._prepared:
                if len(self._prepared) >= _KEPT:
                    self._prepared.clear()
                self._prepared[row.id] = self._hand_over(connection, row)
                if time.monotonic() - began > _BUDGET:
                    break
        self._next = 0.0 if due else began + self._rest
        return bool(due)

    def claim(self, connection: Connection, now: int, until: int) -> Sequence[Parcel]:
        rows = connection.execute(_due(now).with_for_update(of=assignments, skip_locked=True)).all()
        ready = [row for row in rows if not row.resume or row.id in self._prepared]
        parcels = [self._claim(connection, row, now, until) for row in ready]
        return [parcel for parcel in parcels if parcel is not None]

    def sent(self, connection: Connection, parcels: Sequence[Parcel], now: int) -> None:
        for row in _locked(connection, parcels):
            pause = min(self._settings.again * 2.0 ** (min(row.claims, 40) - 1), self._settings.again_most)
            _set(connection, row, status=SENT, sent_at=now, claimed=now + int(pause * SECOND))

    def unsent(self, connection: Connection, parcels: Sequence[Parcel], why: str, now: int) -> None:
        for row in _locked(connection, parcels):
            _set(connection, row, claimed=now + _AGAIN, reason=f"not sent yet: {why}"[:2000])

    def _hand_over(self, connection: Connection, row: Row[Any]) -> Handover:
        asset = find_asset(connection, row.name)
        model_id = (row.bundles or {}).get(asset.asset_class)
        try:
            found = hand_over(connection, asset, model_id, self._find)
        except ValueError as error:  # what is stored is no state
            found = Handover(None, f"what is stored of its twin cannot be sent ({error}): it starts anew there")
        log.info("assignment of %s to %s: %s", row.name, row.gateway_name, found.told)
        return found

    def _claim(self, connection: Connection, row: Row[Any], now: int, until: int) -> Parcel | None:
        """Compare and set: of several hubs that have seen `row`, one gets it."""
        try:
            payload, version, told = self._sign(connection, row, now)
        except ValueError as error:  # settings that were set without looking at the class
            log.error("assignment of %s cannot be sent: %s", row.name, error)
            _set(connection, row, status=REFUSED, answered_at=now, reason=f"settings: {error}"[:2000])
            return None
        same = assignments.c.asset == row.asset, assignments.c.id == row.id, assignments.c.claims == row.claims
        values = {"claimed": until, "claims": row.claims + 1, "sent": told[:2000]}
        values |= {"term": row.owner_term, "settings_version": version}
        if not connection.execute(update(assignments).where(*same).values(**values)).rowcount:
            return None
        topic = topics.down(row.site, row.gateway_name, "assignment")
        return Parcel(row.id, topic, payload, expiry=_EXPIRY)

    def _sign(self, connection: Connection, row: Row[Any], now: int) -> tuple[bytes, int, str]:
        """Payload, version of the settings, and what there is to say of the state."""
        handover = self._prepared[row.id] if row.resume else _WITHOUT
        settings = _settings(connection, row.asset)
        assignment = Assignment(
            row.id,
            row.gateway_name,
            row.name,
            row.asset_class,
            row.owner_term,
            now,
            settings,
            handover.state if handover.state is None or handover.state.term <= row.owner_term else None,
        )
        payload = sign(self._key, assignment)
        told = handover.told or row.sent
        if len(payload) > DEFAULT.json:
            log.error("assignment of %s: its state does not fit a message, and is left out", row.name)
            told = "its state does not fit a message: the twin starts anew there"
            payload = sign(self._key, dataclasses.replace(assignment, state=None))
        return payload, 0 if settings is None else settings.version, told


def _due(now: int) -> Any:
    """Rows of machines whose owner is online, the oldest first."""
    columns = (
        assignments,
        gateways.c.name.label("gateway_name"),
        gateways.c.site,
        gateways.c.bundles,
        assets.c.name,
        assets.c.asset_class,
        assets.c.term.label("owner_term"),
    )
    query = select(*columns).join(assets, assignments.c.asset == assets.c.id)
    query = query.join(gateways, assignments.c.gateway == gateways.c.id)
    return query.where(_is_due(now)).order_by(assignments.c.at, assignments.c.asset).limit(_AT_ONCE)


def _is_due(now: int) -> ColumnElement[bool]:
    return and_(
        assignments.c.status.in_(OPEN),
        assignments.c.claimed <= now,
        gateways.c.state == "online",
        assets.c.gateway == assignments.c.gateway,
        assets.c.asset_class != "",  # not known yet: its gateway tells
    )


def _settings(connection: Connection, asset: int) -> AssignedSettings | None:
    table = asset_settings.c
    query = select(table.version, table["values"]).where(table.asset == asset).order_by(table.version.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else AssignedSettings(row[0], row[1])


def _locked(connection: Connection, parcels: Sequence[Parcel]) -> Sequence[Row[Any]]:
    """Those that are still to be settled."""
    table = assignments.c
    query = select(assignments).where(table.id.in_([parcel.of for parcel in parcels]), table.status.in_(OPEN))
    return connection.execute(query.order_by(table.asset).with_for_update()).all()


def _set(connection: Connection, row: Row[Any], **values: Any) -> None:
    connection.execute(update(assignments).where(assignments.c.asset == row.asset).values(**values))
