"""The folder that a running class's bundle lies in: whether what lies there now is still to be judged.

A bundle is copied file by file, so what has just changed is left alone until it has rested. Sizes and times of the
files count, not the model's id alone: a torn copy of the model that runs would be found by the next restart otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

RESTS = 30.0  # seconds without a change after which nobody is copying any more

Stamp = tuple[tuple[str, int, int, int], ...]


class BundleFolder:
    """`problem`: why a restart could not use what lies here, None while it could. `rests`: seconds."""

    def __init__(self, path: Path, rests: float = RESTS) -> None:
        self.path = path
        self.problem: str | None = None
        self._rests = rests
        self._seen: Stamp | None = None
        self._since = 0.0  # when `_seen` was seen first
        self._judged: Stamp | None = None

    def is_due(self, now: float) -> bool:
        """Whether something lies here that was not judged, and has rested. `now`: seconds, monotonic."""
        stamp = stamp_of(self.path)
        if stamp != self._seen:
            self._seen, self._since = stamp, now
        return stamp != self._judged and now - self._since >= self._rests

    def ask(self) -> None:
        """Somebody wants it judged now."""
        self._judged = None
        self._since = float("-inf")

    def judge(self, problem: str | None) -> None:
        """What `is_due` saw is usable, or is not because of `problem`."""
        self.problem, self._judged = problem, self._seen


def stamp_of(folder: Path) -> Stamp:
    """Name, inode, size and time of each file; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in found))
