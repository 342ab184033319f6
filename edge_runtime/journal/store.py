"""The entries: written, read again after a restart, kept as history for a while, deleted in small steps."""

from __future__ import annotations

import heapq
import sqlite3
import zlib
from collections.abc import Iterator, Sequence

from edge_runtime.journal.database import ERRORS
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import JournalSettings
from edge_runtime.journal.work import OBSERVATIONS, SAMPLES, Entry

DAY = 86400 * 10**9
ROW = 160  # bytes of an entry besides its body, about
STEP_ROWS, STEP_BYTES = 256, 2 << 20  # deleted or read at once
_TABLES = ("entries", "samples")


def append(connection: sqlite3.Connection, ledger: Ledger, entries: Sequence[Entry], now: int) -> None:
    """Samples go into their own table: they are deleted at the next checkpoint, observations are kept."""
    for table in _TABLES:
        rows = [
            (entry.position, now, entry.kind, entry.asset_class, entry.model_id, _crc(*entry[1:]), entry.body)
            for entry in entries
            if (entry.kind == SAMPLES) is (table == "samples")
        ]
        if rows:
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            ledger[f"{table}.bytes"] += sum(len(row[-1]) + ROW for row in rows)


def last_position(connection: sqlite3.Connection) -> int:
    """Of the newest entry, 0 if there is none."""
    found = [connection.execute(f"SELECT max(position) FROM {table}").fetchone()[0] for table in _TABLES]
    return max(position or 0 for position in found)


def prune(connection: sqlite3.Connection, ledger: Ledger, settings: JournalSettings, now: int) -> bool:
    """One step of deleting what neither a restart nor the history needs; whether there may be more."""
    checkpoint = ledger["checkpoint"]
    if _delete(connection, ledger, "samples", checkpoint, ledger["samples.bytes"], None):
        return True
    too_much = ledger["entries.bytes"] - settings.history_bytes
    too_old = now - int(settings.history_days * DAY)
    return _delete(connection, ledger, "entries", checkpoint, too_much, too_old)


def forget(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """One step of deleting all history, and all else that a restart does not need."""
    checkpoint = ledger["checkpoint"]
    for table in _TABLES:
        _delete(connection, ledger, table, checkpoint, ledger[f"{table}.bytes"], None)


def _delete(
    connection: sqlite3.Connection, ledger: Ledger, table: str, upto: int, too_much: int, too_old: int | None
) -> bool:
    """Delete from the beginning, up to position `upto`, while `too_much` bytes are there or rows are `too_old`."""
    last, size, count = 0, 0, 0
    rows = connection.execute(
        f"SELECT position, t, length(body) FROM {table} WHERE position <= ? ORDER BY position LIMIT {STEP_ROWS}",
        (upto,),
    )
    for position, t, length in rows.fetchall():
        if size >= STEP_BYTES or (size >= too_much and (too_old is None or t >= too_old)):
            break
        last, size, count = position, size + length + ROW, count + 1
    if count:
        connection.execute(f"DELETE FROM {table} WHERE position <= ?", (last,))
        ledger[f"{table}.bytes"] -= size
    return count == STEP_ROWS or size >= STEP_BYTES


def after(connection: sqlite3.Connection, position: int) -> Iterator[Entry]:
    """All entries after `position` in order, a page at a time; `sqlite3.DatabaseError` if one is damaged or missing."""
    expected = position + 1
    for row in heapq.merge(*(_pages(connection, table, position, "") for table in _TABLES)):
        if row[0] != expected:
            raise sqlite3.DatabaseError(f"entry {expected} of the journal is missing")
        expected = row[0] + 1
        yield _entry(row)


def observations(connection: sqlite3.Connection, asset_class: str, position: int) -> Iterator[Entry]:
    """The observations entries of a class after `position` that are still kept."""
    for row in _pages(connection, "entries", position, f"AND kind = '{OBSERVATIONS}' AND asset_class = ?", asset_class):
        yield _entry(row)


def _entry(row: tuple[int, str, str, str, int, bytes]) -> Entry:
    entry = Entry(*row[:4], row[5])
    if not isinstance(entry.body, bytes) or _crc(*entry[1:]) != row[4]:
        raise sqlite3.DatabaseError(f"entry {entry.position} of the journal is damaged")
    return entry


def _crc(kind: str, asset_class: str, model_id: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{kind}/{asset_class}/{model_id}".encode()))


def _pages(
    connection: sqlite3.Connection, table: str, position: int, condition: str, *values: str
) -> Iterator[tuple[int, str, str, str, int, bytes]]:
    """Rows in short reads: a read that stays open would keep the log from being copied back."""
    while True:
        query = connection.execute(
            f"SELECT position, kind, asset_class, model_id, crc, body FROM {table} WHERE position > ? {condition} "
            "ORDER BY position",
            (position, *values),
        )
        page, size, failure = [], 0, None
        try:
            for row in query:
                page.append(row)
                size += len(row[5] or b"")
                if len(page) >= STEP_ROWS or size >= STEP_BYTES:
                    break
        except ERRORS as error:  # what came before it is good
            failure = error
        query.close()
        yield from page
        if failure is not None:
            raise failure
        if not page:
            return
        position = page[-1][0]
