"""Copies the log back into the database, in a thread and on a connection of its own, so that no commit waits for it.

SQLite begins the log anew when all of it has been copied back. While Works keep coming a copy is never complete; so it
is done twice, the second time, when little is left, with ordinary Works held back for that moment. Alarms go on: should
one come just then, the log grows a little until the next round. Only when it has grown to `LARGEST` do all wait.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from edge_runtime.journal.database import connect_copier
from edge_runtime.journal.wear import Wear

logger = logging.getLogger(__name__)

COPY_FROM = 4 << 20  # bytes of log
LARGEST = 2 * COPY_FROM
EVERY = 0.5  # seconds between looks
_HEADER, _FRAME_HEADER = 32, 24


class WalKeeper:
    """`hold(True)` … `hold(False)`: ordinary Works wait. Inside `exclusive`, nothing is written at all.

    `full` is called when the disk is: the database cannot grow by what the log holds.
    """

    def __init__(
        self,
        path: Path,
        hold: Callable[[bool], None],
        exclusive: AbstractContextManager[object],
        full: Callable[[], None],
        wear: Wear,
    ) -> None:
        self._path, self._hold, self._exclusive, self._full, self._wear = path, hold, exclusive, full, wear
        self._log = path.with_name(path.name + "-wal")
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-wal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        self._wear.count_this_thread()
        connection = connect_copier(self._path)
        descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)  # SQLite has no locks on this file
        try:
            done = (b"", 0)
            while not self._closed.wait(EVERY):
                salt, size = used(descriptor)
                if size >= COPY_FROM and (salt, size) != done and self._copy(connection, size):
                    done = used(descriptor)
        finally:
            os.close(descriptor)
            connection.close()

    def _copy(self, connection: sqlite3.Connection, size: int) -> bool:
        """Whether all was copied."""
        try:
            if _copied(connection):
                return True
            if size >= LARGEST:
                with self._exclusive:
                    return _copied(connection)
            self._hold(True)
            try:
                return _copied(connection)
            finally:
                self._hold(False)
        except sqlite3.OperationalError as error:
            logger.warning("the log could not be copied back: %s; trying again", error)
            if "full" in str(error):
                self._full()
            return False


def _copied(connection: sqlite3.Connection) -> bool:
    busy, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and frames == copied


def used(log: int) -> tuple[bytes, int]:
    """Salt and size of what is in use of the log, a descriptor: the file does not shrink when it begins anew.

    Frames of this turn have the salt of the header and come before all older ones.
    """
    header = os.pread(log, _HEADER, 0)
    if len(header) < _HEADER:
        return b"", 0
    page = struct.unpack_from(">I", header, 8)[0] or 1 << 16
    salt, frame = header[16:24], page + _FRAME_HEADER
    low, high = 0, (os.fstat(log).st_size - _HEADER) // frame
    while low < high:
        middle = (low + high) // 2
        if os.pread(log, 8, _HEADER + middle * frame + 8) == salt:
            low = middle + 1
        else:
            high = middle
    return salt, low * frame
