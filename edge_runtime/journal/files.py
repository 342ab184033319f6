"""The two files as they lie on the disk, read past SQLite: how much of the log is in use, and how to write it again."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

_HEADER, _FRAME_HEADER = 32, 24
_PIECE = 1 << 20


class Files:
    """Log and database of `path`.

    Closing any descriptor of the database takes away all locks that this process has on it, SQLite's too: `close` when
    no connection is open.
    """

    def __init__(self, path: Path) -> None:
        self._log = os.open(path.with_name(path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
        self._database = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._log)
        os.close(self._database)

    def used(self) -> tuple[bytes, int]:
        """Salt of the log and bytes in use: it does not shrink when it begins anew.

        Frames of this turn have the salt of the header and come before all older ones.
        """
        salt, frame = self._head()
        low, high = 0, max(0, os.fstat(self._log).st_size - _HEADER) // frame
        while low < high:
            middle = (low + high) // 2
            if os.pread(self._log, 8, _HEADER + middle * frame + 8) == salt:
                low = middle + 1
            else:
                high = middle
        return salt, low * frame

    def renew(self) -> None:
        """Write and sync once more what a failed sync may have lost; `OSError` if that fails. Nobody else may write.

        Linux takes what it could not write for written: a second sync succeeds, and the data is on no disk. So the log
        is written again, and then the pages of the database that may have been copied back from it. A new process, too,
        begins with this: it does not know how the last syncs of the one before ended, or whether there were any.
        """
        end = _HEADER + self.used()[1]
        _again(self._log, ((at, min(_PIECE, end - at)) for at in range(0, end, _PIECE)))
        frame = self._head()[1]
        page = frame - _FRAME_HEADER
        numbers = {os.pread(self._log, 4, at) for at in range(_HEADER, end, frame)}
        _again(self._database, (((int.from_bytes(n, "big") - 1) * page, page) for n in sorted(numbers)))

    def _head(self) -> tuple[bytes, int]:
        """Salt of the log, and bytes of a frame."""
        header = os.pread(self._log, _HEADER, 0)
        if len(header) < _HEADER:
            return b"", 1 << 16
        return header[16:24], (struct.unpack_from(">I", header, 8)[0] or 1 << 16) + _FRAME_HEADER


def _again(descriptor: int, pieces: Iterable[tuple[int, int]]) -> None:
    """Write these pieces, of offset and size, as they are."""
    for at, size in pieces:
        if at >= 0 and (found := os.pread(descriptor, size, at)):
            os.pwrite(descriptor, found, at)
    os.fdatasync(descriptor)
