"""Connections for those who read, whatever thread they come in."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import JournalError
from edge_runtime.journal.database import ERRORS, connect_reader, is_damage

_IDLE = 4  # kept open


class Readers:
    """Lends a connection to one reader at a time; `damaged` is called when one finds that the file is."""

    def __init__(self, path: Path, damaged: Callable[[Exception], None]) -> None:
        self._path, self._damaged = path, damaged
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection; what goes wrong with it is a `JournalError`."""
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give(connection)
        except ERRORS as error:
            if is_damage(error):
                self._damaged(error)
                raise JournalError(f"the journal is damaged: restart the gateway: {error}") from error
            raise JournalError(f"the journal cannot be read now: {error}") from error

    def close(self) -> None:
        """Those that are lent are closed when they come back."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise JournalError("the journal is closed")
            if self._idle:
                return self._idle.pop()
        return connect_reader(self._path)

    def _give(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()
