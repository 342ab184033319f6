"""What has been committed of each spool, kept in the database, where all hubs add to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, select, tuple_

from edge_runtime.contract.acks import MOST_RANGES, Acknowledgement, LaneAck, LaneTracker
from edge_runtime.contract.message import Lane
from serving.database import bulk
from serving.database.tables import acks
from serving.hub.reading import Key


class Spool(NamedTuple):
    """One lane of one spool."""

    gateway: int
    epoch: int
    lane: int


def commit(connection: Connection, committed: Iterable[tuple[int, Key]], at: int) -> dict[Spool, LaneAck]:
    """Add (gateway, key) of messages that this transaction stores, or an earlier one has; what may be said after it.

    The rows stay locked until the end of the transaction: two hubs that add to one spool do so one after the other, and
    what one says includes what the other had committed.
    """
    by_spool: dict[Spool, list[Key]] = {}
    for gateway, key in committed:
        by_spool.setdefault(Spool(gateway, key.epoch, key.lane), []).append(key)
    if not by_spool:
        return {}
    spools = sorted(by_spool)
    count = len(spools)
    columns = dict(zip(Spool._fields, map(list, zip(*spools, strict=True)), strict=True))
    bulk.insert(connection, acks, {**columns, "upto": [0] * count, "ranges": ["[]"] * count, "at": [at] * count})
    before = _read(connection, spools)
    after: dict[Spool, LaneAck] = {}
    tracked: dict[Spool, LaneAck] = {}
    for spool in spools:
        tracker = LaneTracker(before[spool])
        for key in sorted(by_spool[spool], key=lambda key: key.seq):
            tracker.commit(key.seq, min(key.floor, key.seq))
        tracked[spool], after[spool] = tracker.ack(tracker.most), tracker.ack()
    changed = [spool for spool in spools if tracked[spool] != before[spool]]
    if changed:
        columns = dict(zip(Spool._fields, map(list, zip(*changed, strict=True)), strict=True))
        columns["upto"] = [tracked[spool].upto for spool in changed]
        ranges = [bulk.json_text(tracked[spool].ranges) for spool in changed]
        bulk.upsert(connection, acks, {**columns, "ranges": ranges, "at": [at] * len(changed)}, "true")
    return after


def known(connection: Connection, gateway: int) -> list[Acknowledgement]:
    """All that has been committed of a gateway, one for each epoch."""
    query = select(acks.c.epoch, acks.c.lane, acks.c.upto, acks.c.ranges).where(acks.c.gateway == gateway)
    found: dict[int, dict[Lane, LaneAck]] = {}
    for epoch, lane, upto, ranges in connection.execute(query):
        found.setdefault(epoch, {})[Lane(lane)] = LaneAck(upto, tuple(map(tuple, ranges[:MOST_RANGES])))
    return [Acknowledgement(epoch, lanes) for epoch, lanes in sorted(found.items())]


def by_gateway(after: dict[Spool, LaneAck]) -> dict[int, list[Acknowledgement]]:
    """What is to be told to whom."""
    lanes: dict[tuple[int, int], dict[Lane, LaneAck]] = {}
    for spool, said in after.items():
        lanes.setdefault((spool.gateway, spool.epoch), {})[Lane(spool.lane)] = said
    found: dict[int, list[Acknowledgement]] = {}
    for (gateway, epoch), said_of in lanes.items():
        found.setdefault(gateway, []).append(Acknowledgement(epoch, said_of))
    return found


def _read(connection: Connection, spools: list[Spool]) -> dict[Spool, LaneAck]:
    place = tuple_(acks.c.gateway, acks.c.epoch, acks.c.lane)
    query = select(acks.c.gateway, acks.c.epoch, acks.c.lane, acks.c.upto, acks.c.ranges)
    query = query.where(place.in_([tuple(spool) for spool in spools])).order_by(*place).with_for_update()
    return {
        Spool(gateway, epoch, lane): LaneAck(upto, tuple(map(tuple, ranges)))
        for gateway, epoch, lane, upto, ranges in connection.execute(query)
    }
