"""Which commands were begun and what became of them, on disk before anything is written to a machine."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.command import Command

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS commands (id TEXT PRIMARY KEY, asset TEXT NOT NULL, channel TEXT NOT NULL, "
    "value REAL NOT NULL, came INTEGER NOT NULL, expires INTEGER NOT NULL, status TEXT NOT NULL, read_back REAL, "
    "reason TEXT, answered INTEGER NOT NULL) WITHOUT ROWID"
)
_COLUMNS = "id, asset, channel, value, came, status, read_back, reason"
BEGUN = "begun"  # all other values of status are those of an answer
MOST = 100_000


@dataclass(frozen=True)
class Record:
    """`came` in UTC nanos."""

    id: str
    asset: str
    channel: str
    value: float
    came: int
    status: str = BEGUN
    read_back: float | None = None
    reason: str | None = None


class CommandLog:
    """An id is begun at most once, ever; that is durable when `begin` returns. `sqlite3.Error` if it cannot be written.

    Calls may come from any thread, one at a time.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_SCHEMA)
        path.chmod(0o600)

    def begin(self, command: Command, now: int) -> bool:
        """False: this id was begun before. `now` in UTC nanos."""
        values = command.id, command.asset, command.channel, command.value, now, command.expires, BEGUN
        with self._connection:
            done = self._connection.execute("INSERT OR IGNORE INTO commands VALUES (?,?,?,?,?,?,?,NULL,NULL,0)", values)
            self._forget(now)
        return done.rowcount == 1

    def end(self, record: Record) -> None:
        """What became of a command, to be answered."""
        with self._connection:
            self._connection.execute(
                "UPDATE commands SET status = ?, read_back = ?, reason = ?, answered = 0 WHERE id = ?",
                (record.status, record.read_back, record.reason, record.id),
            )

    def answered(self, ids: list[str]) -> None:
        """The answers to these are in the spool."""
        with self._connection:
            self._connection.executemany("UPDATE commands SET answered = 1 WHERE id = ?", [(one,) for one in ids])

    def find(self, id_: str) -> Record | None:
        return next(iter(self._records("id = ?", id_)), None)

    def begun(self) -> list[Record]:
        """Those that were begun and did not end: the gateway stopped in between."""
        return self._records("status = ?", BEGUN)

    def unanswered(self) -> list[Record]:
        """Those that ended, and whose answer is not known to be in the spool."""
        return self._records("status != ? AND answered = 0", BEGUN)

    def since(self, asset: str, channel: str, utc: int) -> int:
        """How many were begun for this channel since `utc`."""
        query = "SELECT count(*) FROM commands WHERE asset = ? AND channel = ? AND came >= ?"
        return int(self._connection.execute(query, (asset, channel, utc)).fetchone()[0])

    def close(self) -> None:
        self._connection.close()

    def _records(self, condition: str, value: str) -> list[Record]:
        query = f"SELECT {_COLUMNS} FROM commands WHERE {condition} ORDER BY came"
        return [Record(*row) for row in self._connection.execute(query, (value,))]

    def _forget(self, now: int) -> None:
        """Of more than `MOST` ids the oldest that have expired: they are refused for that."""
        count = self._connection.execute("SELECT count(*) FROM commands").fetchone()[0]
        if count > MOST:
            self._connection.execute(
                "DELETE FROM commands WHERE id IN (SELECT id FROM commands WHERE expires < ? AND answered = 1 "
                "ORDER BY came LIMIT ?)",
                (now, count - MOST),
            )
