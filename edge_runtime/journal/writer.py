"""The transactions. Everything here is called by the writer's thread alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Spooled
from edge_runtime.journal import checkpoint, store
from edge_runtime.journal.database import PAGE
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import JournalSettings
from edge_runtime.journal.spool import Spool, name
from edge_runtime.journal.waiting import SHED
from edge_runtime.journal.work import Work


@dataclass(frozen=True)
class Committed:
    """One transaction: what it held, and what it changed in the ledger."""

    works: Sequence[Work]
    spooled: list[Spooled]
    changed: Mapping[str, int]


class Writer:
    """Commits Works in groups: a group is there entirely or not at all."""

    def __init__(
        self, connection: sqlite3.Connection, ledger: Ledger, spool: Spool, settings: JournalSettings, clock: Clock
    ) -> None:
        self.connection, self.ledger, self.spool = connection, ledger, spool
        self._settings, self._clock = settings, clock
        self._to_prune = True
        self._to_trim = False

    def to_tidy(self) -> bool:
        """Whether there is something to delete."""
        return self._to_prune or self._to_trim or self.spool.to_delete()

    def commit(self, works: Sequence[Work]) -> Committed:
        """One transaction. With urgent Works nothing else is done; otherwise a step of tidying up goes with it.

        If it raises, nothing has changed.
        """
        tidy = not any(work.urgent for work in works)
        now = self._clock.utc()
        entries = [entry for work in works for entry in work.entries]
        messages = [message for work in works for message in work.messages]
        spooled: list[Spooled] = []

        def write() -> None:
            store.append(self.connection, self.ledger, entries, now)
            spooled.extend(self.spool.add(self.connection, messages))
            self._point(works, now)
            for work in works:
                self.spool.count_dropped(work.shed)

        changed = self._transaction(write, now, tidy, steps=1 + len(entries) // 100 + len(messages) // 100)
        kept = [m for m in spooled if m.seq >= self.ledger.written(f"{name(m.message.lane)}.floor")]
        return Committed(works, kept, changed)

    def _transaction(self, write: Callable[[], None], now: int, tidy: bool, steps: int = 1) -> Mapping[str, int]:
        """`write`, and up to `steps` of deleting: more than is added, so that it keeps up."""
        connection, ledger = self.connection, self.ledger
        to_prune, deleted = self._to_prune, []
        connection.execute("BEGIN IMMEDIATE")
        try:
            write()
            if tidy or self.spool.full():  # what the centre has is not dropped
                deleted = self.spool.delete_acknowledged(connection, steps)
            while tidy and to_prune and steps > 0:
                to_prune = store.prune(connection, ledger, self._settings, now)
                steps -= 1
            while not (trimmed := self.spool.trim(connection)) and steps > 0:
                steps -= 1
            ledger.save(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            ledger.discard()
            raise
        self._to_trim = not trimmed
        self._to_prune = to_prune or ledger.moved(checkpoint.TIME)
        self.spool.deleted(deleted)
        return ledger.settle()

    def _point(self, works: Sequence[Work], now: int) -> None:
        """Cursor and checkpoint of the newest Work that has one."""
        cursors = [work.cursor for work in works if work.cursor is not None]
        if cursors:
            self.ledger["cursor"] = cursors[-1]
        checkpoints = [work.checkpoint for work in works if work.checkpoint is not None]
        if checkpoints:
            checkpoint.write(self.connection, self.ledger, checkpoints[-1], now)

    def make_room(self, size: int) -> Mapping[str, int] | None:
        """On a full disk: delete history and what the centre has, then drop raw data and backlog; `size` bytes free.

        Alarms and live data stay: rather nothing new is taken in. One step; None: enough is free, or nothing is left
        to delete.
        """
        free = self.connection.execute("PRAGMA freelist_count").fetchone()[0] * PAGE
        before = self.ledger["entries.bytes"] + self.spool.bytes()
        if free >= size or before == 0:
            return None

        def write() -> None:
            history = self.ledger["entries.bytes"]
            store.forget(self.connection, self.ledger)
            if self.ledger["entries.bytes"] == history and not self.spool.to_delete():
                self.spool.trim(self.connection, max(0, self.spool.bytes() - (size - free)), SHED)

        changed = self._transaction(write, self._clock.utc(), tidy=True)
        after = self.ledger["entries.bytes"] + self.spool.bytes()
        return changed if after < before else None
