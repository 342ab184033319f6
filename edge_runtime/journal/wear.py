"""How many bytes the journal gives the disk to write: flash wears out."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

from edge_runtime.clock import Clock

DAY, MINUTE = 86400 * 10**9, 60 * 10**9


class Wear:
    """Counts, as the kernel does, pages that the journal's threads made dirty: log, database and reserve.

    What the file system adds for itself is not in it. 0 where the kernel does not tell, as on a disk in memory.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._threads: dict[int, int] = {}  # native id → bytes when last asked
        self._samples: deque[tuple[int, int]] = deque([(clock.monotonic(), 0)])

    def count_this_thread(self) -> None:
        """From now on the calling thread's writing is counted."""
        self._threads[threading.get_native_id()] = 0

    def bytes(self) -> int:
        """Since the start."""
        for thread in list(self._threads):
            self._threads[thread] = _written(thread) or self._threads[thread]
        return sum(self._threads.values())

    def per_day(self) -> float:
        """Bytes a day, at the rate of up to the last 24 hours."""
        now, written = self._clock.monotonic(), self.bytes()
        if now - self._samples[-1][0] >= 10 * MINUTE:
            self._samples.append((now, written))
        while len(self._samples) > 1 and now - self._samples[0][0] > DAY:
            self._samples.popleft()
        since, before = self._samples[0]
        return (written - before) * DAY / max(now - since, MINUTE)


def _written(thread: int) -> int | None:
    """None: the thread has ended, or the kernel does not count."""
    try:
        lines = Path(f"/proc/self/task/{thread}/io").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    except (OSError, ValueError, StopIteration):
        return None
