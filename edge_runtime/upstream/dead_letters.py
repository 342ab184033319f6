"""Messages that could not be delivered and must not hold up others: kept in a small database for people to look at."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Spooled

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS dead_letters (epoch INTEGER, lane TEXT, seq INTEGER, at INTEGER NOT NULL, "
    "reason TEXT NOT NULL, kind TEXT NOT NULL, asset TEXT, t INTEGER NOT NULL, content TEXT NOT NULL, "
    "size INTEGER NOT NULL, model_id TEXT, body BLOB NOT NULL, PRIMARY KEY (epoch, lane, seq))"
)
MOST_BYTES = 64 << 20


class DeadLetters:
    """`path` is the database file, made at the first message. Over `most` bytes of bodies the oldest are dropped.

    One thread adds; whoever looks opens the file for itself.
    """

    def __init__(self, path: Path, clock: Clock, most: int = MOST_BYTES) -> None:
        self.dropped = 0
        self._path, self._clock, self._most = path, clock, most
        self._connection: sqlite3.Connection | None = None

    def add(self, message: Spooled, reason: str) -> None:
        """Durable when this returns; `sqlite3.Error` when it cannot be written."""
        outgoing = message.message
        connection = self._open()
        with connection:  # one transaction
            connection.execute(
                "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    message.epoch,
                    outgoing.lane.label,
                    message.seq,
                    self._clock.utc(),
                    reason,
                    outgoing.kind,
                    outgoing.asset,
                    outgoing.t,
                    outgoing.content,
                    outgoing.size,
                    outgoing.model_id,
                    outgoing.body,
                ),
            )
            self._trim(connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Whoever closes it does so when the thread that adds has ended.
            connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_SCHEMA)
            self._path.chmod(0o600)
            self._connection = connection
        return self._connection

    def _trim(self, connection: sqlite3.Connection) -> None:
        size = connection.execute("SELECT coalesce(sum(length(body)), 0) FROM dead_letters").fetchone()[0]
        if size <= self._most:
            return
        # Not by `at`: where the clock was set back, that which was just added would be the oldest.
        rows = connection.execute("SELECT rowid, length(body) FROM dead_letters ORDER BY rowid").fetchall()
        for rowid, length in rows[:-1]:
            if size <= self._most:
                break
            connection.execute("DELETE FROM dead_letters WHERE rowid = ?", (rowid,))
            size -= length
            self.dropped += 1
