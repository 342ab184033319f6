"""The journal's thread: takes what waits, commits it, tells everybody when it is durable, and survives bad disks.

                      ┌ urgent, or enough, or late
    Waiting ──take──▶ Writer.commit ──▶ Syncer ──▶ on_commit(messages), source.acknowledge(receipts)
                         │ WalKeeper copies the log back meanwhile
                         └ failed: put back, make room, try again

A disk that is full is told by the space in `Reserve`, which is given up then: history is deleted and messages are
dropped by the spool's policy, so that the database has room inside itself for what comes. It is over when the reserve
can be had again.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Spooled
from edge_runtime.errors import JournalError
from edge_runtime.journal.database import LOG_KEPT, PAGE, is_damage, leave_syncing
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.opening import mark_damaged
from edge_runtime.journal.reserve import Reserve, allocate
from edge_runtime.journal.sync import Syncer
from edge_runtime.journal.waiting import Waiting
from edge_runtime.journal.wal import WalKeeper
from edge_runtime.journal.wear import Wear
from edge_runtime.journal.work import Work
from edge_runtime.journal.writer import Committed, Writer
from edge_runtime.sources.source import Source

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between tries while the disk takes nothing
ROOM = 2 << 20  # bytes free inside the database, on a full disk
RESERVE = 2 * LOG_KEPT  # the log, of at most `wal.LARGEST` and one group, can be copied back into it
GROUP = 4 << 20  # bytes of Works in one transaction
STALLED = 10.0  # seconds without an answer that are worth telling
STEP = 1 << 20  # bytes that one step of making room writes, at most


class Committer:
    """Runs from `start` to `close`. `problem` says why nothing can be written now, `fatal` why never again."""

    def __init__(self, path: Path, writer: Writer, waiting: Waiting, ledger: Ledger, clock: Clock) -> None:
        self._writer, self._waiting, self._ledger, self._clock = writer, waiting, ledger, clock
        self._path, self._log = path, path.with_name(path.name + "-wal")
        self.wear = Wear(clock)
        self._reserve = Reserve(path, RESERVE)
        self._syncer = Syncer(self._log, clock, self._durable, self._sync_failed, waiting.hold)
        self._keeper = WalKeeper(path, waiting.hold, self._copying_failed, self.wear)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._unsettled: deque[tuple[int, Committed]] = deque()
        self._ticket = 0
        self._started = False
        self._pause = FIRST_PAUSE
        self._next_try = 0  # monotonic: when to look for the reserve again
        self._log_stuck = self._doubtful = False
        self.settled = threading.Condition()
        self.done = 0  # Works that are durable
        self.counts: Counter[str] = Counter()
        self.commit_nanos = 0
        self.problem: str | None = None
        self.fatal: str | None = None

    def trouble(self) -> str | None:
        """What is wrong with the disk, if anything."""
        stalled = self._syncer.stalled()
        if self.fatal or self.problem:
            return self.fatal or self.problem
        if stalled > STALLED:
            return f"the disk has confirmed nothing for {stalled:.0f} s"
        return "the disk is full: history and messages are deleted to make room" if self.disk_full else None

    @property
    def disk_full(self) -> bool:
        return self._started and not self._reserve.held

    def start(self, on_commit: Callable[[list[Spooled]], None]) -> None:
        self._on_commit = on_commit
        self._started = True
        if not self._reserve.take():
            logger.warning("the disk is full: %d MiB to fall back on could not be had", RESERVE >> 20)
        try:
            allocate(self._log, LOG_KEPT)  # the log at least shall not fail for want of space
        except OSError as error:
            logger.warning("no space could be kept for the log: %s", error)
        leave_syncing(self._writer.connection)
        self._syncer.start()
        self._keeper.start()
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, if the disk lets it."""
        self._waiting.close()
        self._thread.join()
        self._keeper.close()
        self._syncer.close()

    def release(self) -> None:
        """When no connection to the database is open any more."""
        self._keeper.release()

    def stop(self, error: Exception) -> None:
        """Never again: what is in memory is not acknowledged, and the gateway has to start anew."""
        if is_damage(error):
            mark_damaged(self._path, str(error))
        self.fatal = f"the journal has stopped ({type(error).__name__}: {error}): restart the gateway"
        self._waiting.close()
        with self.settled:
            self.settled.notify_all()

    def _run(self) -> None:
        self.wear.count_this_thread()
        try:
            while (works := self._waiting.take(GROUP)) is not None:
                self._commit(works)
                while self._writer.to_tidy() and self.problem is None and not self._waiting.ready():
                    self._commit([])
        except Exception as error:
            logger.exception("the journal has stopped")
            self.stop(error)

    def _commit(self, works: list[Work]) -> None:
        """Commit `works`; on a failing disk put them back and wait a little, longer each time."""
        began = self._clock.monotonic()
        try:
            self._look_at_disk(works)
            committed = self._writer.commit(works)
        except (sqlite3.OperationalError, OSError) as error:
            if is_damage(error):
                raise
            self._fail(works, error)
            return
        self.commit_nanos += self._clock.monotonic() - began
        self.counts["commits"] += 1
        self._waiting.forget_shed(works)
        self._written(committed)
        if self.problem is not None:
            self._recovered()

    def _written(self, committed: Committed) -> None:
        """It stands in the log. What only tidied up becomes durable with whatever comes next."""
        self._ticket += 1
        self._unsettled.append((self._ticket, committed))
        if committed.works:
            self._syncer.written(self._ticket, any(work.urgent for work in committed.works))

    def _fail(self, works: list[Work], error: Exception) -> None:
        if self.problem is None:
            logger.error("the journal cannot write: %s; trying again", error)
        self.problem, self._waiting.failing = str(error), True
        self.counts["failures"] += 1
        if not _is_full(error):  # it may have been a sync of SQLite's
            self._doubt()
        full = _is_full(error) and self._give_reserve()
        if self._waiting.closed and not full:
            raise JournalError(f"{len(works)} Works could not be written before the end: {error}") from error
        self._waiting.put_back(works)
        if full:
            self._waiting.hurry()
            return
        self._waiting.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _recovered(self) -> None:
        logger.warning("the journal can write again")
        self.problem, self._waiting.failing, self._pause = None, False, FIRST_PAUSE

    def _copying_failed(self, error: sqlite3.OperationalError) -> None:
        """The log cannot be copied back, perhaps for want of room; called by the keeper's thread."""
        if not self._log_stuck and not self.disk_full:
            logger.error("the journal's log cannot be copied back: %s; trying again", error)
        self._doubtful = True
        self._log_stuck = self._log_stuck or _is_full(error)
        self._waiting.hurry()

    def _doubt(self) -> None:
        """A sync has failed: what is in the log may not be on the disk."""
        self._doubtful = True
        self._keeper.suspend()

    def _give_reserve(self) -> bool:
        """The disk is full; whether giving the reserve made some room."""
        if not self._reserve.held:
            return False
        self.counts["disk_full"] += 1
        logger.error("the disk is full: history and messages will be dropped, the oldest raw ones first")
        self._reserve.give()
        self._next_try = self._clock.monotonic() + int(LONGEST_PAUSE * 1e9)
        return True

    def _look_at_disk(self, works: list[Work]) -> None:
        """Before a commit: is there room for it?"""
        size = sum(work.size() for work in works)
        if self._log_stuck:
            self._log_stuck = False
            self._give_reserve()
        if self._doubtful:
            self._renew()
        self._keeper.limit(self._writer.connection, 8 * PAGE + 2 * size)
        if self.disk_full:
            self._make_room(size)

    def _renew(self) -> None:
        self._doubtful = False
        try:
            self._keeper.renew()
        except OSError:
            self._doubtful = True
            raise
        self._syncer.repaired()

    def _make_room(self, size: int) -> None:
        """Either the disk has room again, or the database makes room inside itself."""
        now = self._clock.monotonic()
        if now >= self._next_try:
            self._next_try = now + int(LONGEST_PAUSE * 1e9)
            if self._reserve.take():
                logger.warning("the disk has room again")
                return
        while (changed := self._writer.make_room(ROOM + 2 * size)) is not None:
            self._written(Committed([], [], changed))
            self._keeper.limit(self._writer.connection, STEP)

    def _sync_failed(self, error: OSError) -> None:
        self.counts["failures"] += 1
        logger.error("the journal's log could not be synced: %s", error)
        self.problem, self._waiting.failing = f"sync failed: {error}", True
        self._doubt()
        self._waiting.hurry()

    def _durable(self, ticket: int) -> None:
        """All commits up to `ticket` survive a power cut: tell the link and the sources."""
        works: list[Work] = []
        spooled: list[Spooled] = []
        while self._unsettled and self._unsettled[0][0] <= ticket:
            _, committed = self._unsettled.popleft()
            self._ledger.survive(committed.changed)
            works += committed.works
            spooled += committed.spooled
        if spooled:
            self._call(self._on_commit, spooled)
        for source, receipts in _by_source(works).values():
            self._call(source.acknowledge, receipts)
        self._waiting.release(works)
        with self.settled:
            self.done += len(works)
            self.settled.notify_all()

    def _call(self, function: Callable[[Any], None], argument: Any) -> None:
        try:
            function(argument)
        except Exception:
            self.counts["callbacks_failed"] += 1
            logger.exception("%r failed after a commit", function)


def _is_full(error: Exception) -> bool:
    return "is full" in str(error) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def _by_source(works: list[Work]) -> Mapping[int, tuple[Source, list[Any]]]:
    found: dict[int, tuple[Source, list[Any]]] = {}
    for work in works:
        for source, receipt in work.receipts:
            found.setdefault(id(source), (source, []))[1].append(receipt)
    return found
