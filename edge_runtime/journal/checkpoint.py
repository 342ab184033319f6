"""The newest checkpoint: one row a part, the position in the ledger."""

from __future__ import annotations

import sqlite3
import zlib

from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.work import Checkpoint

POSITION = "checkpoint"
TIME = "checkpoint.time"  # UTC nanos; 0: there is none


def write(connection: sqlite3.Connection, ledger: Ledger, checkpoint: Checkpoint, now: int) -> None:
    """Replace the checkpoint. Parts that did not change, as of a class that stands still, are not written again."""
    there = dict(connection.execute("SELECT name, crc FROM checkpoint"))
    for name, body in checkpoint.parts.items():
        crc = _crc(body)
        if there.pop(name, None) == crc and _same(connection, name, body):
            continue
        connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", (name, crc, body))
    connection.executemany("DELETE FROM checkpoint WHERE name = ?", [(name,) for name in there])
    ledger[POSITION] = checkpoint.position
    ledger[TIME] = now


def read(connection: sqlite3.Connection, ledger: Ledger) -> Checkpoint | None:
    """The newest checkpoint, None if none was written; `sqlite3.DatabaseError` if it is damaged."""
    if not ledger[TIME]:
        return None
    parts = {}
    for name, crc, body in connection.execute("SELECT name, crc, body FROM checkpoint ORDER BY name"):
        if not isinstance(body, bytes) or _crc(body) != crc:
            raise sqlite3.DatabaseError(f"part '{name}' of the checkpoint is damaged")
        parts[name] = body
    return Checkpoint(ledger[POSITION], parts)


def _crc(body: bytes) -> int:
    return zlib.crc32(body)


def _same(connection: sqlite3.Connection, name: str, body: bytes) -> bool:
    """A CRC of 32 bits alone would take two states for one, once in a few thousand years of minutes."""
    row = connection.execute("SELECT body FROM checkpoint WHERE name = ?", (name,)).fetchone()
    return row is not None and row[0] == body
