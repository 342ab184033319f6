"""Space kept for the day when the disk is full: a file that is given up then.

With it the log can be copied back into the database, so that what is dropped there makes room for what comes. Should
somebody else be quicker to take it, the journal waits, and refuses, until there is space again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Reserve:
    """`held` tells whether the disk has room: it is taken again as soon as it fits."""

    def __init__(self, database: Path, size: int = 0) -> None:
        self._path, self._size = database.with_name(database.name + ".reserve"), size
        self.held = False

    def take(self) -> bool:
        """Allocate it, if there is room."""
        try:
            allocate(self._path, self._size)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.held = False
        else:
            self.held = True
        return self.held

    def give(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.held = False


def allocate(path: Path, size: int) -> None:
    """Make `path` at least `size` bytes long, with blocks on the disk for all of it; `OSError` if there are none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
