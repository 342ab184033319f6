"""The transactions. Everything here is called by the writer's thread alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Spooled
from edge_runtime.journal import checkpoint, store
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import JournalSettings
from edge_runtime.journal.spool import Spool, name
from edge_runtime.journal.work import Work


class Writer:
    """Commits Works in groups: a group is there entirely or not at all."""

    def __init__(
        self, connection: sqlite3.Connection, ledger: Ledger, spool: Spool, settings: JournalSettings, clock: Clock
    ) -> None:
        self.connection, self.ledger, self.spool = connection, ledger, spool
        self._settings, self._clock = settings, clock
        self.to_tidy = True  # there may be something to delete

    def commit(self, works: Sequence[Work]) -> list[Spooled]:
        """One transaction; the messages that are now in the spool. If it raises, nothing has changed.

        With urgent Works nothing else is done; otherwise one step of tidying up goes with it.
        """
        connection, ledger = self.connection, self.ledger
        now = self._clock.utc()
        tidy = not any(work.urgent for work in works)
        connection.execute("BEGIN IMMEDIATE")
        try:
            store.append(connection, ledger, [entry for work in works for entry in work.entries], now)
            spooled = self.spool.add(connection, [message for work in works for message in work.messages])
            self._point(works, now)
            deleted = self.spool.delete_acknowledged(connection) if tidy else []
            trimmed = self.spool.trim(connection)
            more = store.prune(connection, ledger, self._settings, now) if tidy else True
            ledger.save(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            ledger.discard()
            raise
        ledger.settle()
        self.spool.deleted(deleted)
        self.to_tidy = more or not trimmed or self.spool.to_delete()
        return [m for m in spooled if m.seq >= ledger.committed(f"{name(m.message.lane)}.floor")]

    def _point(self, works: Sequence[Work], now: int) -> None:
        """Cursor and checkpoint of the newest Work that has one."""
        cursors = [work.cursor for work in works if work.cursor is not None]
        if cursors:
            self.ledger["cursor"] = cursors[-1]
        checkpoints = [work.checkpoint for work in works if work.checkpoint is not None]
        if checkpoints:
            checkpoint.write(self.connection, self.ledger, checkpoints[-1], now)
