"""What waits for the centre: four lanes, each with seqs from 1 without gaps; acknowledged, read and dropped from its
beginning.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence

from edge_runtime.contract.message import Lane, Outgoing, Spooled
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import SpoolSettings

ROW = 192  # bytes of a message besides its body, about
STEP_ROWS, STEP_BYTES = 512, 4 << 20  # deleted at once
_INSERT = "INSERT INTO {} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NAMES = tuple(lane.name.lower() for lane in Lane)
_BYTES = tuple(f"{name}.bytes" for name in _NAMES)
_Interval = tuple[int, int]  # seqs, both included


class Spool:
    """The writer's side. `acknowledge` may be called by any thread, all else by the writer, inside a transaction.

    The ledger has for each lane: next seq − 1 as `<lane>.last`, `.floor` (0: nothing dropped), `.count`, `.bytes`,
    `.dropped`, `.dropped_bytes`.
    """

    def __init__(self, ledger: Ledger, settings: SpoolSettings, epoch: int) -> None:
        self.epoch = epoch
        self._ledger, self._settings = ledger, settings
        self._lock = threading.Lock()
        self._acknowledged: dict[Lane, list[_Interval]] = {lane: [] for lane in Lane}

    def bytes(self) -> int:
        return sum([self._ledger[name] for name in _BYTES])

    def full(self) -> bool:
        return self.bytes() > self._settings.max_bytes

    def add(self, connection: sqlite3.Connection, messages: Sequence[Outgoing]) -> list[Spooled]:
        """Give each message the next seq of its lane and write it; the most important lane comes first."""
        spooled = []
        for lane in sorted({message.lane for message in messages}):
            table = name(lane)
            mine = [message for message in messages if message.lane == lane]
            first = self._ledger[f"{table}.last"] + 1
            connection.executemany(_INSERT.format(table), [_row(first + i, m) for i, m in enumerate(mine)])
            self._ledger[f"{table}.last"] += len(mine)
            self._ledger[f"{table}.count"] += len(mine)
            self._ledger[f"{table}.bytes"] += sum(len(message.body) + ROW for message in mine)
            spooled += [Spooled(self.epoch, first + i, message) for i, message in enumerate(mine)]
        return spooled

    def acknowledge(self, lane: Lane, upto: int, ranges: Sequence[_Interval]) -> None:
        """The centre has these; what it never got cannot be acknowledged, whatever it says."""
        last = self._ledger.written(f"{name(lane)}.last")
        wanted = [(max(low, 1), min(high, last)) for low, high in [(1, upto), *ranges]]
        with self._lock:
            merged = merge([*self._acknowledged[lane], *(pair for pair in wanted if pair[0] <= pair[1])])
            self._acknowledged[lane] = merged

    def acknowledged_upto(self, lane: Lane) -> int:
        """Up to this seq, messages are acknowledged but may not be deleted yet."""
        first = self._acknowledged[lane][:1]
        return first[0][1] if first and first[0][0] == 1 else 0

    def to_delete(self) -> bool:
        return any(self._acknowledged.values())

    def delete_acknowledged(self, connection: sqlite3.Connection, steps: int) -> list[tuple[Lane, _Interval]]:
        """At most so many steps; what is for `deleted` once it is committed."""
        done: list[tuple[Lane, _Interval]] = []
        with self._lock:
            wanted = [(lane, low, high) for lane in Lane for low, high in self._acknowledged[lane]]
        for lane, low, high in wanted:
            more = True
            while more:
                if steps == 0:
                    return done
                last, _, more = self._delete(connection, lane, low, high)
                done.append((lane, (low, last if more else high)))
                steps -= more
        return done

    def deleted(self, done: Sequence[tuple[Lane, _Interval]]) -> None:
        """`done` is committed. What was acknowledged meanwhile, also of lower seqs, is still to be deleted."""
        with self._lock:
            for lane, gone in done:
                self._acknowledged[lane] = without(self._acknowledged[lane], gone)

    def trim(
        self, connection: sqlite3.Connection, most: int | None = None, lanes: Sequence[Lane] = tuple(reversed(Lane))
    ) -> bool:
        """Drop until no more than `most` bytes (default: the limit) are left; False: one step was not enough.

        `lanes`: of which, in this order. A little more than needed, so that not every commit has to drop.
        """
        limit = self._settings.max_bytes if most is None else most
        if self.bytes() <= limit:
            return True
        excess = self.bytes() - limit + limit // 64
        for lane in lanes:
            table = name(lane)
            last, size, more = self._delete(connection, lane, 1, self._ledger[f"{table}.last"], excess, dropped=True)
            excess -= size
            if last:
                self._ledger[f"{table}.floor"] = last + 1
            if more or excess <= 0:
                break
        return self.bytes() <= limit

    def count_dropped(self, dropped: Mapping[Lane, tuple[int, int]]) -> None:
        """Messages and bytes of each lane."""
        for lane, (count, size) in dropped.items():
            self._ledger[f"{name(lane)}.dropped"] += count
            self._ledger[f"{name(lane)}.dropped_bytes"] += size

    def _delete(
        self,
        connection: sqlite3.Connection,
        lane: Lane,
        low: int,
        high: int,
        excess: int | None = None,
        *,
        dropped: bool = False,
    ) -> tuple[int, int, bool]:
        """Delete from `low` on, at most a step or `excess` bytes: (last seq or 0, bytes, whether there may be more)."""
        table = name(lane)
        query = connection.execute(
            f"SELECT seq, length(body) FROM {table} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT {STEP_ROWS}",
            (low, high),
        )
        last, size, count = 0, 0, 0
        for seq, length in query.fetchall():
            if size >= STEP_BYTES or (excess is not None and size >= excess):
                break
            last, size, count = seq, size + length + ROW, count + 1
        if count:
            connection.execute(f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?", (low, last))
            self._ledger[f"{table}.count"] -= count
            self._ledger[f"{table}.bytes"] -= size
            if dropped:
                self.count_dropped({lane: (count, size)})
        return last, size, count == STEP_ROWS or size >= STEP_BYTES


def read(
    connection: sqlite3.Connection, epoch: int, lane: Lane, after: int, upto: int, limit: int, max_bytes: int
) -> list[Spooled]:
    """Messages with `after` < seq <= `upto`, in order: at most `limit`, and `max_bytes` of bodies, but at least one."""
    query = connection.execute(
        "SELECT seq, kind, asset, t, t_rx, content, size, model_id, synced, crc, body "
        f"FROM {name(lane)} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        (after, upto, limit),
    )
    found: list[Spooled] = []
    size = 0
    for seq, *head, crc, body in query:
        try:
            kind, asset, t, t_rx, content, length, model_id, synced = head
            message = Outgoing(kind, lane, asset, t, t_rx, body, content, length, model_id, bool(synced))
            good = _crc(message) == crc
        except (TypeError, AttributeError):
            good = False
        if not good:
            raise sqlite3.DatabaseError(f"message {seq} of lane {name(lane)} is damaged")
        size += len(body)
        if found and size > max_bytes:
            break
        found.append(Spooled(epoch, seq, message))
    query.close()
    return found


def oldest(connection: sqlite3.Connection, lane: Lane) -> int | None:
    """When the oldest message of the lane was received, UTC nanos."""
    row = connection.execute(f"SELECT t_rx FROM {name(lane)} ORDER BY seq LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def merge(intervals: Sequence[_Interval]) -> list[_Interval]:
    """The same seqs in as few intervals as possible, in order.

    >>> merge([(5, 6), (1, 3), (4, 4), (9, 9)])
    [(1, 6), (9, 9)]
    """
    merged: list[_Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def without(intervals: Sequence[_Interval], gone: _Interval) -> list[_Interval]:
    """The same seqs but for those of `gone`.

    >>> without([(1, 3), (5, 9)], (3, 6))
    [(1, 2), (7, 9)]
    """
    parts = [part for low, high in intervals for part in ((low, min(high, gone[0] - 1)), (max(low, gone[1] + 1), high))]
    return [(low, high) for low, high in parts if low <= high]


def name(lane: Lane) -> str:
    """Of its table, and in the ledger."""
    return _NAMES[lane]


def _row(seq: int, m: Outgoing) -> tuple[object, ...]:
    head = (m.kind, m.asset, m.t, m.t_rx, m.content, m.size, m.model_id, m.clock_synced)
    return (seq, *head, _crc(m), m.body)


def _crc(m: Outgoing) -> int:
    numbers = f"{m.t:d} {m.t_rx:d} {m.size:d} {m.clock_synced:d}"
    return zlib.crc32(
        m.body, zlib.crc32("/".join((m.kind, m.asset or "", m.content, m.model_id or "", numbers)).encode())
    )
