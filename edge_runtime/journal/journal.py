"""The journal: one thread that writes, in groups; others hand in Works and read the spool."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane, Spooled
from edge_runtime.errors import JournalError
from edge_runtime.journal import checkpoint, spool, store
from edge_runtime.journal.database import FolderLock, connect_reader, connect_writer, move_aside
from edge_runtime.journal.ledger import Ledger
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.spool import Spool
from edge_runtime.journal.waiting import Waiting
from edge_runtime.journal.work import Entry, Recovered, Work
from edge_runtime.journal.writer import Writer
from edge_runtime.sources.source import Source

logger = logging.getLogger(__name__)

SECOND = 10**9
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds between tries while the disk takes nothing


@dataclass(frozen=True)
class JournalReport:
    """How the journal fares; counters since the start. `problem`: why nothing can be written now."""

    problem: str | None = None
    disk_full: bool = False
    commits: int = 0
    works: int = 0
    refused: int = 0  # Works that found no room in memory
    failures: int = 0  # transactions that failed, and callbacks that raised
    waiting_bytes: int = 0
    database_bytes: int = 0
    position: int = 0
    cursor: int = 0
    checkpoint: int | None = None  # when the last one was written, UTC nanos
    commit_seconds: float = 0.0
    dropped: Mapping[Lane, int] = field(default_factory=dict)  # of all time of this epoch
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
        self._thread: threading.Thread | None = None
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._commit_nanos = 0
        self._problem: str | None = None
        self._fatal: str | None = None
        self._position = 0  # of the newest entry handed in
        self._settled = threading.Condition()
        self._submitted = self._done = 0  # Works

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
                self._counts["damaged"] += 1
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
                ledger.settle()
            newest = checkpoint.read(connection, ledger)
            start = 0 if newest is None else newest.position
            self._position = max(store.last_position(connection), start)
        except BaseException:
            connection.close()
            raise
        spooler = Spool(ledger, self._spool_settings, ledger["epoch"])
        self._writer = Writer(connection, ledger, spooler, self._settings, self._clock)
        self._ledger, self._spool = ledger, spooler
        entries = store.after(self._reader(), start)
        return Recovered(newest, entries, ledger["cursor"], self._position + 1, ledger["epoch"])

    def start(self, on_commit: Callable[[list[Spooled]], None]) -> None:
        """Begin to write. `on_commit` gets what went into the spool, in the journal's thread; it must be quick."""
        self._on_commit = on_commit
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, work: Work, timeout: float = 1.0) -> bool:
        """Hand in `work`; waits while too much waits. False: no room, nothing was taken: keep it, submit it again.

        `JournalError` after a fatal error: restart the gateway.
        """
        self._raise_if_fatal()
        positions = [entry.position for entry in work.entries]
        if positions != list(range(self._position + 1, self._position + 1 + len(positions))):
            raise ValueError(
                f"entries have positions {positions[:5]}…: they go on from {self._position + 1} without gaps"
            )
        with self._settled:
            self._submitted += 1
        if not self._waiting.put(work, timeout):
            with self._settled:
                self._submitted -= 1
            self._counts["refused"] += 1
            return False
        self._position += len(positions)
        return True

    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until all that was handed in is committed; False: it was not within `timeout` seconds."""
        with self._settled:
            wanted = self._submitted
            self._waiting.hurry()
            done = self._settled.wait_for(lambda: self._done >= wanted or self._fatal is not None, timeout)
        self._raise_if_fatal()
        return done

    def acknowledge(self, epoch: int, lane: Lane, upto: int, ranges: Sequence[tuple[int, int]] = ()) -> None:
        """The centre has committed seqs up to `upto` and in `ranges` (both ends included). Deleted soon."""
        if epoch != self._spool.epoch:
            self._counts["acknowledged_other_epoch"] += 1
            return
        self._spool.acknowledge(lane, upto, ranges)
        self._waiting.nudge()

    def read(self, lane: Lane, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Spooled]:
        """Committed messages of `lane` with seq > `after`, in order; at least one, if there is one."""
        upto = self._ledger.committed(f"{spool.name(lane)}.last")
        after = max(after, self._spool.acknowledged_upto(lane))
        if after >= upto:
            return []
        return spool.read(self._reader(), self._spool.epoch, lane, after, upto, limit, max_bytes)

    def floor(self, lane: Lane) -> int:
        """The lowest seq that was not dropped: the centre need not wait for those before."""
        return max(1, self._ledger.committed(f"{spool.name(lane)}.floor"))

    def backlog(self) -> dict[Lane, tuple[int, int, int | None]]:
        """Of each lane: messages, bytes, and when its oldest message was received (UTC nanos)."""
        found = {}
        for lane in Lane:
            count, size = (self._ledger.committed(f"{spool.name(lane)}.{what}") for what in ("count", "bytes"))
            found[lane] = count, size, spool.oldest(self._reader(), lane) if count else None
        return found

    def history(self, asset_class: str, since_position: int) -> Iterator[Entry]:
        """Observations entries after `since_position` that are still kept, oldest first."""
        return store.observations(self._reader(), asset_class, since_position)

    def status(self) -> JournalReport:
        ledger = self._ledger
        page_count = self._reader().execute("PRAGMA page_count").fetchone()[0]
        page_size = self._reader().execute("PRAGMA page_size").fetchone()[0]
        return JournalReport(
            problem=self._fatal or self._problem,
            disk_full=self._problem is not None and "full" in self._problem,
            commits=self._counts["commits"],
            works=self._done,
            refused=self._counts["refused"],
            failures=self._counts["failures"],
            waiting_bytes=self._waiting.bytes,
            database_bytes=page_count * page_size,
            position=self._position,
            cursor=ledger.committed("cursor"),
            checkpoint=ledger.committed(checkpoint.TIME) or None,
            commit_seconds=self._commit_nanos / SECOND,
            dropped={lane: ledger.committed(f"{spool.name(lane)}.dropped") for lane in Lane},
            dropped_bytes={lane: ledger.committed(f"{spool.name(lane)}.dropped_bytes") for lane in Lane},
        )

    def close(self) -> None:
        """Commit what waits, if the disk lets it, and let go of everything."""
        self._waiting.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()
        self._writer.connection.close()
        self._lock.release()

    def _run(self) -> None:
        try:
            while (works := self._waiting.take()) is not None:
                self._commit(works)
                while self._writer.to_tidy and not self._waiting.ready():
                    self._commit([])
        except Exception as error:
            logger.exception("the journal has stopped")
            self._fatal = f"the journal has stopped ({type(error).__name__}: {error}): restart the gateway"
            self._waiting.close()
            with self._settled:
                self._settled.notify_all()

    def _commit(self, works: list[Work]) -> None:
        """Commit `works`; on a failing disk put them back and wait a little, longer each time."""
        began = self._clock.monotonic()
        try:
            spooled = self._writer.commit(works)
        except sqlite3.OperationalError as error:
            self._fail(works, error)
            return
        self._commit_nanos += self._clock.monotonic() - began
        if self._problem is not None:
            logger.warning("the journal can write again")
            self._problem, self._pause, self._waiting.failing = None, _FIRST_PAUSE, False
        self._counts["commits"] += 1
        self._settle(works, spooled)

    _pause = _FIRST_PAUSE

    def _fail(self, works: list[Work], error: sqlite3.OperationalError) -> None:
        if self._problem is None:
            logger.error("the journal cannot write: %s; trying again", error)
        self._problem, self._waiting.failing = str(error), True
        self._counts["failures"] += 1
        if self._waiting.closed:
            raise JournalError(f"{len(works)} Works could not be written before the end: {error}") from error
        self._waiting.put_back(works)
        self._waiting.pause(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _settle(self, works: list[Work], spooled: list[Spooled]) -> None:
        """`works` survive a power cut: tell the link and the sources."""
        if spooled:
            self._call(self._on_commit, spooled)
        receipts: dict[int, tuple[Source, list[Any]]] = {}
        for work in works:
            for source, receipt in work.receipts:
                receipts.setdefault(id(source), (source, []))[1].append(receipt)
        for source, mine in receipts.values():
            self._call(source.acknowledge, mine)
        self._waiting.release(works)
        with self._settled:
            self._done += len(works)
            self._settled.notify_all()

    def _call(self, function: Callable[[Any], None], argument: Any) -> None:
        try:
            function(argument)
        except Exception:
            self._counts["failures"] += 1
            logger.exception("%r failed after a commit", function)

    def _raise_if_fatal(self) -> None:
        if self._fatal is not None:
            raise JournalError(self._fatal)

    def _reader(self) -> sqlite3.Connection:
        """The connection of the calling thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_reader(self._path)
            with self._readers_lock:
                self._readers.append(connection)
        return connection
