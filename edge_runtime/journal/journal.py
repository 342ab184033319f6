"""The journal as others see it: Works are handed in, the spool is read, all is found again after a restart."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane, Spooled
from edge_runtime.errors import JournalError
from edge_runtime.journal import checkpoint, spool, store
from edge_runtime.journal.committer import Committer
from edge_runtime.journal.database import PAGE, FolderLock, connect_reader, connect_writer, move_aside
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.spool import Spool
from edge_runtime.journal.waiting import Waiting
from edge_runtime.journal.work import Entry, Recovered, Work
from edge_runtime.journal.writer import Writer

logger = logging.getLogger(__name__)

SECOND = 10**9


@dataclass(frozen=True)
class JournalReport:
    """How the journal fares; counters since the start. `problem`: why nothing can be written now."""

    problem: str | None = None
    disk_full: bool = False
    commits: int = 0
    works: int = 0
    refused: int = 0  # Works that found no room in memory
    failures: int = 0  # transactions and syncs that failed and were tried again
    callbacks_failed: int = 0
    damaged: int = 0  # databases moved aside
    waiting_bytes: int = 0
    database_bytes: int = 0
    position: int = 0
    cursor: int = 0
    checkpoint: int | None = None  # when the last one was written, UTC nanos
    commit_seconds: float = 0.0
    dropped: Mapping[Lane, int] = field(default_factory=dict)  # since the spool was made
    dropped_bytes: Mapping[Lane, int] = field(default_factory=dict)


class Journal:
    """`path` is the database file; its folder belongs to one gateway at a time.

    open → start → submit, read, acknowledge, … → close. `status`, `floor` and `backlog` may be called by any thread
    once it is open.
    """

    def __init__(self, path: Path, settings: JournalSettings, spool: SpoolSettings, clock: Clock) -> None:
        self._path, self._settings, self._spool_settings, self._clock = Path(path), settings, spool, clock
        self._lock = FolderLock(self._path.with_name(self._path.name + ".lock"))
        self._waiting = Waiting(settings, clock)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._started = False
        self._submitted = self._refused = self._damaged = 0
        self._position = 0  # of the newest entry handed in

    def open(self) -> Recovered:
        """Lock the folder, recover from whatever ended the last run; `JournalError` if somebody else has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        moved: Path | None = None
        try:
            try:
                recovered = self._recover()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                    raise JournalError(
                        f"{self._path} cannot be opened: {error}: check the disk and the folder"
                    ) from error
                moved = move_aside(self._path, self._clock.utc() // SECOND)
                logger.error("the journal was damaged (%s): it lies in %s now, a new one is begun", error, moved)
                self._damaged += 1
                recovered = self._recover()
        except BaseException:
            self._lock.release()
            raise
        return replace(recovered, moved_aside=moved)

    def _recover(self) -> Recovered:
        connection = connect_writer(self._path)
        try:
            ledger = Ledger(connection)
            if not ledger["epoch"]:
                ledger["epoch"] = self._clock.utc() // SECOND
                connection.execute("BEGIN IMMEDIATE")
                ledger.save(connection)
                connection.execute("COMMIT")
                ledger.survive(ledger.settle())
            newest = checkpoint.read(connection, ledger)
            start = 0 if newest is None else newest.position
            self._position = max(store.last_position(connection), start)
        except BaseException:
            connection.close()
            raise
        self._ledger, self._spool = ledger, Spool(ledger, self._spool_settings, ledger["epoch"])
        self._writer = Writer(connection, ledger, self._spool, self._settings, self._clock)
        self._committer = Committer(self._path, self._writer, self._waiting, ledger, self._clock)
        entries = store.after(self._reader(), start)
        return Recovered(newest, entries, ledger["cursor"], self._position + 1, ledger["epoch"])

    def start(self, on_commit: Callable[[list[Spooled]], None]) -> None:
        """Begin to write. `on_commit` gets what went into the spool, in a thread of the journal; it must be quick."""
        self._committer.start(on_commit)
        self._started = True

    def submit(self, work: Work, timeout: float = 1.0) -> bool:
        """Hand in `work`; waits while too much waits. False: no room, nothing was taken: keep it, submit it again.

        To be called by one thread. `JournalError` after a fatal error: restart the gateway.
        """
        self._raise_if_fatal()
        positions = [entry.position for entry in work.entries]
        if positions != list(range(self._position + 1, self._position + 1 + len(positions))):
            raise ValueError(
                f"entries have positions {positions[:5]}…: they go on from {self._position + 1} without gaps"
            )
        if not self._waiting.put(work, timeout):
            self._refused += 1
            return False
        self._submitted += 1
        self._position += len(positions)
        return True

    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until all that was handed in is committed; False: it was not within `timeout` seconds."""
        wanted, committer = self._submitted, self._committer
        self._waiting.hurry()
        with committer.settled:
            committer.settled.wait_for(lambda: committer.done >= wanted or committer.fatal is not None, timeout)
        self._raise_if_fatal()
        return committer.done >= wanted

    def acknowledge(self, epoch: int, lane: Lane, upto: int, ranges: Sequence[tuple[int, int]] = ()) -> None:
        """The centre has committed seqs up to `upto` and in `ranges` (both ends included). Deleted soon."""
        if epoch == self._spool.epoch:  # acknowledged, but of a spool that is gone: nothing to do
            self._spool.acknowledge(lane, upto, ranges)
            self._waiting.nudge()

    def read(self, lane: Lane, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Spooled]:
        """Durable messages of `lane` with seq > `after`, in order; at least one, if there is one."""
        upto = self._ledger.durable(f"{spool.name(lane)}.last")
        after = max(after, self._spool.acknowledged_upto(lane))
        if after >= upto:
            return []
        return spool.read(self._reader(), self._spool.epoch, lane, after, upto, limit, max_bytes)

    def floor(self, lane: Lane) -> int:
        """The lowest seq that was not dropped: the centre need not wait for those before."""
        return max(1, self._ledger.durable(f"{spool.name(lane)}.floor"))

    def backlog(self) -> dict[Lane, tuple[int, int, int | None]]:
        """Of each lane: messages, bytes, and when its oldest message was received (UTC nanos)."""
        found = {}
        for lane in Lane:
            count, size = (self._ledger.written(f"{spool.name(lane)}.{what}") for what in ("count", "bytes"))
            found[lane] = count, size, spool.oldest(self._reader(), lane) if count else None
        return found

    def history(self, asset_class: str, since_position: int) -> Iterator[Entry]:
        """Observations entries after `since_position` that are still kept, oldest first."""
        return store.observations(self._reader(), asset_class, since_position)

    def status(self) -> JournalReport:
        ledger, committer = self._ledger, self._committer
        pages = self._reader().execute("PRAGMA page_count").fetchone()[0]
        return JournalReport(
            problem=committer.fatal or committer.problem,
            disk_full=self._started and committer.disk_full,
            commits=committer.counts["commits"],
            works=committer.done,
            refused=self._refused,
            failures=committer.counts["failures"],
            callbacks_failed=committer.counts["callbacks_failed"],
            damaged=self._damaged,
            waiting_bytes=self._waiting.bytes,
            database_bytes=pages * PAGE,
            position=self._position,
            cursor=ledger.durable("cursor"),
            checkpoint=ledger.durable(checkpoint.TIME) or None,
            commit_seconds=committer.commit_nanos / SECOND,
            dropped={lane: ledger.written(f"{spool.name(lane)}.dropped") for lane in Lane},
            dropped_bytes={lane: ledger.written(f"{spool.name(lane)}.dropped_bytes") for lane in Lane},
        )

    def close(self) -> None:
        """Commit what waits, if the disk lets it, and let go of everything."""
        if self._started:
            self._committer.close()
            self._started = False
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()
        self._writer.connection.close()
        self._lock.release()

    def _raise_if_fatal(self) -> None:
        if self._committer.fatal is not None:
            raise JournalError(self._committer.fatal)

    def _reader(self) -> sqlite3.Connection:
        """The connection of the calling thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_reader(self._path)
            with self._readers_lock:
                self._readers.append(connection)
        return connection
