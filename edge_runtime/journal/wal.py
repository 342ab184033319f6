"""Copies the log back into the database, in a thread and on a connection of its own, so that no commit waits for it.

SQLite begins the log anew when all of it has been copied back. While Works keep coming a copy is never complete; so it
is done twice, the second time, when little is left, with ordinary Works held back for that moment. Alarms go on: should
one come just then, the log grows a little until the next round. Should it ever grow to `LARGEST`, the writer waits.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_runtime.journal.database import connect_copier
from edge_runtime.journal.files import Files
from edge_runtime.journal.wear import Wear

logger = logging.getLogger(__name__)

COPY_FROM = 4 << 20  # bytes of log
LARGEST = 2 * COPY_FROM
LOOK_AFTER = COPY_FROM // 4  # bytes written until the writer looks how large it is
EVERY = 0.5  # seconds between looks


class WalKeeper:
    """`hold(True)` … `hold(False)`: ordinary Works wait. `failed` is called when the log cannot be copied back."""

    def __init__(
        self, path: Path, hold: Callable[[bool], None], failed: Callable[[sqlite3.OperationalError], None], wear: Wear
    ) -> None:
        self._path, self._hold, self._failed, self._wear = path, hold, failed, wear
        self._log = path.with_name(path.name + "-wal")
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-wal", daemon=True)
        self._files: Files | None = None
        self._unseen = 0
        self._suspended = threading.Event()
        self._copying = threading.Lock()

    def start(self) -> None:
        self._files = Files(self._path)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def release(self) -> None:
        """When the last connection is closed."""
        files, self._files = self._files, None
        if files is not None:
            files.close()

    def suspend(self) -> None:
        """Nothing may be copied back from a log that may not be on the disk as it is in memory, until `renew`."""
        self._suspended.set()

    def renew(self) -> None:
        """For the writer, after a failed sync; `OSError` if that fails too."""
        assert self._files is not None
        with self._copying:
            self._files.renew()
        self._suspended.clear()

    def limit(self, connection: sqlite3.Connection, written: int) -> None:
        """For the writer, before it writes about `written` bytes: copies the log back itself if it is too large.

        `sqlite3.OperationalError` if that fails.
        """
        assert self._files is not None
        self._unseen += written
        if self._unseen < LOOK_AFTER:
            return
        while self._files.used()[1] >= LARGEST and not copied(connection):
            time.sleep(0.01)  # the keeper is at it
        self._unseen = 0

    def _run(self) -> None:
        assert self._files is not None
        self._wear.count_this_thread()
        connection = connect_copier(self._path)
        try:
            done = (b"", 0)
            while not self._closed.wait(EVERY):
                salt, size = self._files.used()
                if size < COPY_FROM or (salt, size) == done or self._suspended.is_set():
                    continue
                if self._copy(connection):
                    done = self._files.used()
        finally:
            connection.close()

    def _copy(self, connection: sqlite3.Connection) -> bool:
        """Whether all was copied."""
        try:
            with self._copying:
                if copied(connection):
                    return True
            self._hold(True)
            try:
                with self._copying:
                    return not self._suspended.is_set() and copied(connection)
            finally:
                self._hold(False)
        except sqlite3.OperationalError as error:
            self._suspended.set()
            self._failed(error)
            return False


def copied(connection: sqlite3.Connection) -> bool:
    """Copy what can be; whether that was all."""
    busy, frames, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and frames == done
