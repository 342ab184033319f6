"""The journal as others see it: Works are handed in, the spool is read, all is found again after a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane, Spooled
from edge_runtime.errors import JournalError
from edge_runtime.journal import checkpoint, spool, store
from edge_runtime.journal.committer import Committer
from edge_runtime.journal.database import PAGE, FolderLock
from edge_runtime.journal.opening import open_database
from edge_runtime.journal.readers import Readers
from edge_runtime.journal.reserve import Reserve
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from edge_runtime.journal.waiting import Waiting
from edge_runtime.journal.work import Entry, Recovered, Work
from edge_runtime.journal.writer import Writer

SECOND = 10**9


@dataclass(frozen=True)
class JournalReport:
    """How the journal fares; counters since the start. `problem`: what is wrong with the disk, else None."""

    problem: str | None = None
    disk_full: bool = False
    commits: int = 0
    works: int = 0
    refused: int = 0  # Works that found no room in memory
    failures: int = 0  # transactions and syncs that failed and were tried again
    callbacks_failed: int = 0
    damaged: int = 0  # databases moved aside
    waiting_bytes: int = 0
    bytes_written: int = 0  # to the disk
    bytes_per_day: float = 0.0
    database_bytes: int = 0
    position: int = 0
    cursor: int = 0
    checkpoint: int | None = None  # when the last one was written, UTC nanos
    commit_seconds: float = 0.0
    dropped: Mapping[Lane, int] = field(default_factory=dict)  # since the spool was made
    dropped_bytes: Mapping[Lane, int] = field(default_factory=dict)


class Journal:
    """`path` is the database file; its folder belongs to one gateway at a time.

    open → start → submit, read, acknowledge, … → close. All but `submit` may be called by any thread, once it is open.
    """

    def __init__(self, path: Path, settings: JournalSettings, spool: SpoolSettings, clock: Clock) -> None:
        self._path, self._settings, self._spool_settings, self._clock = Path(path), settings, spool, clock
        self._lock = FolderLock(self._path.with_name(self._path.name + ".lock"))
        self._waiting = Waiting(settings, clock)
        self._started = False
        self._submitted = self._refused = self._damaged = 0
        self._position = 0  # of the newest entry handed in
        self._pages = 0  # of the database, when last looked at

    def open(self) -> Recovered:
        """Lock the folder, recover from whatever ended the last run; `JournalError` if somebody else has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            Reserve(self._path).give()  # a disk may be too full even to look
            opened = open_database(self._path, self._spool_settings, self._clock)
        except BaseException:
            self._lock.release()
            raise
        self._ledger, self._spool, self._position = opened.ledger, opened.spool, opened.position
        self._damaged = int(opened.moved_aside is not None and not opened.other_version)
        self._writer = Writer(opened.connection, opened.ledger, opened.spool, self._settings, self._clock)
        self._committer = Committer(self._path, self._writer, self._waiting, opened.ledger, self._clock)
        self._readers = Readers(self._path, self._committer.stop)
        newest = opened.checkpoint
        return Recovered(
            newest,
            self._entries(lambda reader: store.after(reader, 0 if newest is None else newest.position)),
            opened.ledger["cursor"],
            opened.position + 1,
            opened.ledger["epoch"],
            opened.moved_aside,
            opened.other_version,
        )

    def start(self, on_commit: Callable[[list[Spooled]], None]) -> None:
        """Begin to write. `on_commit` gets what went into the spool, in a thread of the journal; it must be quick."""
        self._committer.start(on_commit)
        self._started = True

    @property
    def epoch(self) -> int:
        """Of the spool, UTC seconds at which it was made."""
        return self._spool.epoch

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
        if positions:  # only the engine's Works have entries; others must not touch what it counts
            self._position = positions[-1]
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
        if epoch == self._spool.epoch:  # else it is of a spool that is gone
            self._spool.acknowledge(lane, upto, ranges)
            self._waiting.nudge()

    def read(self, lane: Lane, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Spooled]:
        """Durable messages of `lane` with seq > `after`, in order; at least one, if there is one."""
        upto = self._ledger.durable(f"{spool.name(lane)}.last")
        after = max(after, self._spool.acknowledged_upto(lane))
        if after >= upto:
            return []
        with self._readers.reading() as reader:
            return spool.read(reader, self._spool.epoch, lane, after, upto, limit, max_bytes)

    def floor(self, lane: Lane) -> int:
        """The lowest seq that was not dropped; what is below stays gone after a power cut."""
        return max(1, self._ledger.durable(f"{spool.name(lane)}.floor"))

    def backlog(self) -> dict[Lane, tuple[int, int, int | None]]:
        """Of each lane: messages, bytes, and when its oldest message was received (UTC nanos)."""
        found = {}
        with self._readers.reading() as reader:
            for lane in Lane:
                count, size = (self._ledger.written(f"{spool.name(lane)}.{what}") for what in ("count", "bytes"))
                found[lane] = count, size, spool.oldest(reader, lane) if count else None
        return found

    def history(self, asset_class: str, since_position: int) -> Iterator[Entry]:
        """Observations entries after `since_position` that are still kept, oldest first."""
        return self._entries(lambda reader: store.observations(reader, asset_class, since_position))

    def status(self) -> JournalReport:
        """Raises nothing: the engine looks at it, and a disk that cannot be read for a moment must not end it."""
        ledger, committer, unread = self._ledger, self._committer, None
        try:
            with self._readers.reading() as reader:
                self._pages = reader.execute("PRAGMA page_count").fetchone()[0]
        except JournalError as error:
            unread = str(error)
        shed = self._waiting.shed()
        return JournalReport(
            problem=committer.trouble() or unread,
            disk_full=committer.disk_full,
            commits=committer.counts["commits"],
            works=committer.done,
            refused=self._refused,
            failures=committer.counts["failures"],
            callbacks_failed=committer.counts["callbacks_failed"],
            damaged=self._damaged,
            waiting_bytes=self._waiting.bytes,
            bytes_written=committer.wear.bytes(),
            bytes_per_day=committer.wear.per_day(),
            database_bytes=self._pages * PAGE,
            position=self._position,
            cursor=ledger.durable("cursor"),
            checkpoint=ledger.durable(checkpoint.TIME) or None,
            commit_seconds=committer.commit_nanos / SECOND,
            dropped={lane: self._dropped(lane, "dropped") + shed.get(lane, (0, 0))[0] for lane in Lane},
            dropped_bytes={lane: self._dropped(lane, "dropped_bytes") + shed.get(lane, (0, 0))[1] for lane in Lane},
        )

    def close(self) -> None:
        """Commit what waits, if the disk lets it, and let go of everything."""
        if self._started:
            self._committer.close()
            self._started = False
        self._readers.close()
        self._writer.connection.close()
        self._committer.release()
        self._lock.release()

    def _dropped(self, lane: Lane, what: str) -> int:
        return self._ledger.written(f"{spool.name(lane)}.{what}")

    def _raise_if_fatal(self) -> None:
        if self._committer.fatal is not None:
            raise JournalError(self._committer.fatal)

    def _entries(self, read: Callable[[sqlite3.Connection], Iterator[Entry]]) -> Iterator[Entry]:
        with self._readers.reading() as reader:
            yield from read(reader)
