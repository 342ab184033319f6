"""The state that a twin goes on from under its next owner: the newest that is known, and what it lacks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, func, select

from edge_runtime.arrays import F32
from edge_runtime.contract.assignment import AssignedAlarm, AssignedState
from serving.database.queries import END, Asset
from serving.database.tables import alarms, models, observations, states, twins
from serving.errors import RequestError
from serving.twins.past import state_at
from serving.twins.replaying import FindServed


class Handover(NamedTuple):
    """`state` None: there is none that the gateway could read; `told` says what it is, and lacks, for people."""

    state: AssignedState | None
    told: str


class _Newest(NamedTuple):
    model_id: str
    term: int
    number: int
    t: int
    state: F32


def hand_over(connection: Connection, asset: Asset, model_id: str | None, find: FindServed | None) -> Handover:
    """For the present owner of `asset`, from what older terms left.

    `model_id`: the bundle that the owner runs, None: not known. `find` gives bundles to bring a snapshot forward with.
    """
    newest = _newest(connection, asset)
    if newest is None:
        return Handover(None, "nothing is stored of its twin: it starts anew there")
    alarm = _alarm(connection, asset)
    why = ""
    if find is not None:
        try:
            past = state_at(connection, asset, END, find)
        except RequestError as error:
            why = f" ({error})"
        else:
            if past.key.term < asset.term and model_id in (None, past.served.model_id):
                state = AssignedState.of(past.served.model_id, *past.key, past.t, past.state, alarm)
                notes = "".join(f"; {note}" for note in past.notes)
                count = f": a snapshot and {past.replayed} observations since" if past.replayed else ""
                return Handover(state, f"the state after observation {past.key.number}{count}{notes}")
    if model_id is not None and newest.model_id != model_id:
        newest = _newest(connection, asset, models.c.model_id == model_id)
        if newest is None:
            return Handover(
                None, f"its owner runs model {model_id[:12]}, of which no state is stored: it starts anew there"
            )
    state = AssignedState.of(newest.model_id, newest.term, newest.number, newest.t, newest.state, alarm)
    lacking = _since(connection, asset, newest)
    lacks = f"; {lacking} observations stored since are not in it{why}" if lacking else ""
    return Handover(state, f"the snapshot after observation {newest.number} of term {newest.term}{lacks}")


def _newest(connection: Connection, asset: Asset, *where: ColumnElement[bool]) -> _Newest | None:
    """Of all that older terms have left: snapshots of gateways, and the centre's own twin."""
    found: _Newest | None = None
    for table, body in ((states, states.c.body), (twins, twins.c.state)):
        columns = (models.c.model_id, table.c.term, table.c.number, table.c.t, body.label("body"))
        query = select(*columns).join(models, models.c.id == table.c.model)
        query = query.where(table.c.asset == asset.id, table.c.term < asset.term, *where)
        row = connection.execute(query.order_by(table.c.term.desc(), table.c.number.desc()).limit(1)).first()
        if row is not None and (found is None or (row.term, row.number) > (found.term, found.number)):
            found = _Newest(*row[:-1], np.frombuffer(row.body, "<f4"))
    return found


def _alarm(connection: Connection, asset: Asset) -> AssignedAlarm | None:
    """The occurrence that is active, so that its next owner ends it."""
    table = alarms.c
    query = select(table.id, table.level, table.since, table.number)
    query = query.where(table.asset == asset.id, table.level > 0)
    row = connection.execute(query.order_by(table.term.desc(), table.number.desc()).limit(1)).first()
    return None if row is None else AssignedAlarm(*tuple(row))


def _since(connection: Connection, asset: Asset, newest: _Newest) -> int:
    table = observations.c
    query = select(func.count()).where(table.asset == asset.id, table.t > newest.t, table.term < asset.term)
    return connection.execute(query).scalar_one()
