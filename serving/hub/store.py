"""A group of messages into the database, in one transaction; and what may be said to the gateways after it.

Order: registry held → transport keys → rows → waveforms → happenings → gateways → dead letters → counts → acks.
All hubs lock in this order, and within a table by key, so that they wait for each other but never in a circle.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select

from edge_runtime.clock import Clock
from edge_runtime.contract.acks import Acknowledgement
from edge_runtime.contract.bodies import to_json
from edge_runtime.contract.rows import Rows
from serving.commands.record import follow
from serving.database import bulk
from serving.database.engine import Database
from serving.database.tables import (
    alarm_changes,
    alarms,
    command_answers,
    counts,
    dead_letters,
    events,
    gateways,
    latest,
    messages,
    observations,
    prognoses,
    states,
    summaries,
    waveform_features,
)
from serving.hub import acknowledge, waveforms
from serving.hub.collect import Collected, Collector, layout_for, machines_in
from serving.hub.names import Names
from serving.hub.reading import Dead, Read
from serving.hub.reuse import reused
from serving.registry.assignments import settle
from serving.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)

_NEWER = "(excluded.term, excluded.number) > ({0}.term, {0}.number)"
_ROWS = (observations, waveform_features, prognoses, summaries, states)


class Told(NamedTuple):
    """What is to be published to a gateway."""

    site: str
    gateway: str
    ack: Acknowledgement


class Store:
    """`commit` may be called again with the same group if it raised: nothing of it was kept. Belongs to one thread."""

    def __init__(self, database: Database, registry: RegistrySettings, clock: Clock, dead_letter: int) -> None:
        self._database, self._clock, self._most = database, clock, dead_letter
        self._names = Names(registry)

    def commit(self, group: Sequence[Read], letters: Sequence[int] = ()) -> list[Told]:
        """All of `group`; on disk when it returns. Messages without a key are taken without one.

        `letters`: dead letters that `group` was read from; those that are no better now are dead anew.
        """
        at = self._clock.utc()
        self._learn(group, at)
        sites = {read.gateway: read.site for read in group if read.gateway}
        with self._database.write() as connection:
            self._names.refresh(connection)
            if letters:
                connection.execute(delete(dead_letters).where(dead_letters.c.id.in_(letters)))
            new, repeated = self._transport(connection, group, at)
            collector = Collector(self._names, at)
            for read in new:
                collector.add(read)
            found = collector.found
            again = set(map(id, repeated))
            for read in group:
                if read.dead is not None and id(read) not in again:
                    found.bury(read, *read.dead)
            self._count(found, group, repeated)
            if self._write(connection, found, at):
                for read, why, rows in reused(connection, new, self._names.assets):
                    found.bury(read, *why)
                    found.counts[read.gateway, f"refused_{why.reason}"] += rows
                    _log.warning("gateway %s: %s", read.gateway, why.detail)
            self._statuses(connection, group, at)
            self._bury(connection, found.dead, at)
            _add_counts(connection, found.counts)
            said = self._acknowledge(connection, group, at)
        return [Told(sites[name], name, ack) for name, acks in said.items() for ack in acks]

    def _learn(self, group: Sequence[Read], at: int) -> None:
        kept = [read.message for read in group if read.message is not None]
        layouts = [layout for message in kept if (layout := layout_for(message)) is not None]
        self._names.learn(
            self._database,
            at,
            {read.gateway: read.site for read in group if read.gateway},
            [message.envelope.model_id or "" for message in kept],
            layouts,
            [machine for read in group for machine in machines_in(read)],
        )

    def _transport(self, connection: Connection, group: Sequence[Read], at: int) -> tuple[list[Read], list[Read]]:
        """Messages that are new, and letters whose key is there already."""
        keyed: dict[tuple[int, int, int, int], Read] = {}
        repeated = []
        for read in group:
            if read.key is not None:
                key = (self._names.gateways[read.gateway], *read.key[:3])
                if key in keyed:
                    repeated.append(read)
                else:
                    keyed[key] = read
        for key in _known(connection, list(keyed)):
            repeated.append(keyed.pop(key))
        rows = [_transport_row(key, read, at) for key, read in sorted(keyed.items(), key=lambda item: item[0])]
        if rows:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            bulk.insert(connection, messages, columns)
        new = [*keyed.values(), *(read for read in group if read.key is None)]
        return [read for read in new if read.message is not None], repeated

    def _count(self, found: Collected, group: Sequence[Read], repeated: Sequence[Read]) -> None:
        for read in group:
            found.counts[read.gateway, "received"] += 1
            if read.message is not None and isinstance(read.message.body, Rows):
                found.counts[read.gateway, "rows"] += len(read.message.body.keys)
        for read in repeated:
            found.counts[read.gateway, "repeated_messages"] += 1

    def _write(self, connection: Connection, found: Collected, at: int) -> int:
        """How many observations and prognoses were left out, since their key is there already."""
        columns = found.columns
        known = 0
        for table in _ROWS:
            if table in columns:
                new = bulk.insert(connection, table, columns[table])
                lost = len(columns[table]["asset"]) - new
                if lost:
                    found.counts["", f"repeated_{table.name}"] += lost
                known += lost if table in (observations, prognoses) else 0
        if prognoses in columns:
            newest = _newest(columns[prognoses], "asset")
            newest["at"] = [at] * len(newest["asset"])
            bulk.upsert(connection, latest, newest, _NEWER.format("latest"))
        for part in sorted(found.parts, key=_order_of_part):
            model = self._names.models[part.envelope.model_id or ""]
            result = waveforms.store(connection, part, model, at)
            if isinstance(result, Dead):
                found.bury(part.read, *result)
            else:
                found.counts[part.read.gateway, f"waveforms_{result}"] += 1
        if alarms in columns:
            bulk.insert(connection, alarm_changes, columns[alarm_changes])
            bulk.upsert(connection, alarms, _newest(columns[alarms], "asset", "id"), _NEWER.format("alarms"))
        for table in (events, command_answers):
            if table in columns:
                bulk.insert(connection, table, columns[table])
        if command_answers in columns:
            follow(connection, columns[command_answers], at)
            settle(connection, columns[command_answers], at)
        return known

    def _statuses(self, connection: Connection, group: Sequence[Read], at: int) -> None:
        """The last one of each gateway, as they came."""
        told = {read.gateway: read for read in group if read.status is not None}
        for name, read in sorted(told.items()):
            status = read.status
            assert status is not None
            values: dict[str, Any] = {"site": read.site, "state": status.state, "epoch": status.epoch}
            values |= {"t": status.t, "heard_at": at, "clock": status.clock}
            if status.state == "online":  # the last will knows no more
                values |= {"version": status.version, "bundles": dict(status.bundles)}
                values |= {"insecure": list(status.insecure)}
                values["heartbeat"] = None if status.heartbeat is None else to_json(status.heartbeat)
            connection.execute(gateways.update().where(gateways.c.id == self._names.gateways[name]).values(**values))

    def _bury(self, connection: Connection, dead: Sequence[tuple[Read, Dead]], at: int) -> None:
        """Keep dead letters; the same one again is counted."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for read, why in dead:
            letter = read.letter
            key = hashlib.sha256(letter.topic + b"\0" + letter.payload).hexdigest(), why.reason
            rows.setdefault(
                key,
                {
                    "sha256": key[0],
                    "reason": key[1],
                    "detail": _clean(why.detail)[:2000],
                    "gateway": read.gateway,
                    "topic": _clean(letter.topic.decode("utf-8", "replace"))[:1000],
                    "content": _clean(letter.content)[:200],
                    "payload": letter.payload[: self._most],
                    "size": len(letter.payload),
                    "at": at,
                    "last_at": at,
                    "times": 0,
                },
            )["times"] += 1
        if rows:
            ordered = [rows[key] for key in sorted(rows)]
            columns = {name: [row[name] for row in ordered] for name in ordered[0]}
            again = "last_at = excluded.last_at, times = dead_letters.times + excluded.times"
            bulk.merge(connection, dead_letters, columns, ("sha256", "reason"), again)

    def _acknowledge(self, connection: Connection, group: Sequence[Read], at: int) -> dict[str, list[Acknowledgement]]:
        """Everything with a key; and all that is known of gateways that have just come online."""
        committed = [(self._names.gateways[read.gateway], read.key) for read in group if read.key is not None]
        said = acknowledge.by_gateway(acknowledge.commit(connection, committed, at))
        names = {self._names.gateways[read.gateway]: read.gateway for read in group if read.gateway}
        for read in group:
            if read.status is not None and read.status.state == "online":
                gateway = self._names.gateways[read.gateway]
                said[gateway] = acknowledge.known(connection, gateway)
        return {names[gateway]: acks for gateway, acks in said.items()}


def _known(connection: Connection, keys: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Those of `keys` that are stored."""
    spools: dict[tuple[int, int, int], set[int]] = {}
    for *spool, seq in keys:
        spools.setdefault((spool[0], spool[1], spool[2]), set()).add(seq)
    found = []
    table = messages.c
    for (gateway, epoch, lane), wanted in spools.items():
        query = select(table.seq).where(
            table.gateway == gateway,
            table.epoch == epoch,
            table.lane == lane,
            table.seq >= min(wanted),
            table.seq <= max(wanted),
        )
        stored = connection.execute(query).scalars()
        found += [(gateway, epoch, lane, seq) for seq in stored if seq in wanted]
    return found


def _transport_row(key: tuple[int, int, int, int], read: Read, at: int) -> dict[str, Any]:
    assert read.key is not None
    names = ("gateway", "epoch", "lane", "seq")
    row: dict[str, Any] = dict(zip(names, key, strict=True)) | {"at": at, "bytes": len(read.letter.payload)}
    if read.message is None:
        return row | {"kind": "dead", "t_rx": at, "backfill": False, "synced": False, "rows": 0}
    envelope, body = read.message.envelope, read.message.body
    row |= {"kind": envelope.kind, "t_rx": envelope.t_rx, "backfill": envelope.backfill}
    return row | {"synced": envelope.clock == "synced", "rows": len(body.keys) if isinstance(body, Rows) else 1}


def _newest(columns: Mapping[str, Sequence[Any]], *names: str) -> dict[str, list[Any]]:
    """Of rows with equal `names` only that of the highest (term, number), in order of the names."""
    best: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    keys = zip(*(columns[name] for name in names), strict=True)
    for at, (key, term, number) in enumerate(zip(keys, columns["term"], columns["number"], strict=True)):
        known = best.get(key)
        if known is None or (term, number) > known[:2]:
            best[key] = term, number, at
    chosen = [at for _, (_, _, at) in sorted(best.items())]
    return {name: [values[at] for at in chosen] for name, values in columns.items()}


def _add_counts(connection: Connection, counted: Counter[tuple[str, str]]) -> None:
    ordered = sorted(counted.items())
    columns: dict[str, list[Any]] = {
        "gateway": [gateway for (gateway, _), _ in ordered],
        "name": [name for (_, name), _ in ordered],
        "value": [value for _, value in ordered],
    }
    bulk.merge(connection, counts, columns, ("gateway", "name"), "value = counts.value + excluded.value")


def _order_of_part(part: Any) -> tuple[Any, ...]:
    described = part.envelope.part
    return part.asset, described.term, described.number, described.channel, described.part


def _clean(text: str) -> str:
    """What both databases take: no NUL, no lone surrogates."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()
