"""Works that wait for the writer, and when it is time to commit them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from edge_runtime.clock import Clock
from edge_runtime.contract.message import Lane
from edge_runtime.errors import JournalError
from edge_runtime.journal.settings import JournalSettings
from edge_runtime.journal.work import Work

SECOND = 10**9
SHED = (Lane.RAW, Lane.BACKFILL)  # given up, in this order, when memory is full because the disk is


class Waiting:
    """A line of Works, bounded in bytes. Any thread may `put`; the writer takes all that wait at once.

    Bytes count until `release`: what is being committed is still in memory.
    """

    def __init__(self, settings: JournalSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._after = int(settings.commit_after * SECOND)
        self._changed = threading.Condition()
        self._works: list[Work] = []
        self._bytes = 0
        self._receipts = 0
        self._urgent = False
        self._since: int | None = None  # monotonic: when the oldest Work, or a request for tidying up, came
        self._late = False
        self._holds = 0
        self._closed = False
        self.failing = False  # the disk takes nothing: shed before refusing
        self._shed_counts: Counter[Lane] = Counter()
        self._shed_bytes: Counter[Lane] = Counter()

    def put(self, work: Work, timeout: float) -> bool:
        """False: after `timeout` seconds there was still no room."""
        size = work.size()
        with self._changed:
            if not self._changed.wait_for(lambda: self._room(size), timeout):
                return False
            if self._closed:
                raise JournalError("the journal is closed: it takes no more")
            self._works.append(work)
            self._bytes += size
            self._note(work)
            if self._since is None:
                self._since = self._clock.monotonic()
                self._changed.notify_all()
            elif self._ready():
                self._changed.notify_all()
        return True

    def put_back(self, works: Sequence[Work]) -> None:
        """These could not be committed: they stay the first in the line."""
        with self._changed:
            self._works[:0] = works
            for work in works:
                self._note(work)
            self._since = self._clock.monotonic()

    def take(self, most: int) -> list[Work] | None:
        """The Works that wait, once it is time; `most` bytes or one. [] if it is only time to tidy up.

        None: closed, and nothing is left.
        """
        with self._changed:
            while not self._ready():
                if self._since is None or self._holds:
                    self._changed.wait()
                    continue
                left = (self._since + self._after - self._clock.monotonic()) / SECOND
                # Woken by nobody: the time has passed, whatever an injected clock says.
                if left <= 0 or not self._changed.wait(left):
                    self._late = True
            works = self._first(most)
            rest = self._works = self._works[len(works) :]
            self._receipts, self._urgent, self._late = 0, bool(rest), False
            self._since = self._clock.monotonic() if rest else None
            for work in rest:
                self._note(work)
            return None if self._closed and not works else works

    def pause(self, seconds: float) -> None:
        """Wait before trying again; not when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def nudge(self) -> None:
        """There is something to tidy up, in `commit_after`."""
        with self._changed:
            if self._since is None:
                self._since = self._clock.monotonic()
                self._changed.notify_all()

    def hurry(self) -> None:
        """The writer is to look at once: at what waits, or at something else that has happened."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()

    def hold(self, on: bool) -> None:
        """While held (several may), only urgent Works are taken, and what waits before them."""
        with self._changed:
            self._holds += 1 if on else -1
            if not self._holds:
                self._changed.notify_all()

    def release(self, works: Sequence[Work]) -> None:
        """These are out of memory."""
        size = sum(work.size() for work in works)
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()

    def shed(self) -> dict[Lane, tuple[int, int]]:
        """Messages, and their bytes, that Works lost which are not committed yet."""
        with self._changed:
            return {lane: (count, self._shed_bytes[lane]) for lane, count in self._shed_counts.items() if count}

    def forget_shed(self, works: Sequence[Work]) -> None:
        """What these lost is counted in the ledger."""
        with self._changed:
            for lane, (count, size) in [item for work in works for item in work.shed.items()]:
                self._shed_counts[lane] -= count
                self._shed_bytes[lane] -= size

    def ready(self) -> bool:
        with self._changed:
            return self._ready()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def bytes(self) -> int:
        return self._bytes

    def _first(self, most: int) -> list[Work]:
        size = 0
        for count, work in enumerate(self._works):
            size += work.size()
            if size > most and count:
                return self._works[:count]
        return self._works

    def _note(self, work: Work) -> None:
        self._receipts += len(work.receipts)
        self._urgent = self._urgent or work.urgent

    def _ready(self) -> bool:
        enough = self._late or self._receipts >= self._settings.commit_messages
        return self._urgent or self._closed or (enough and not self._holds)

    def _room(self, size: int) -> bool:
        if self._closed or not self._bytes or self._bytes + size <= self._settings.waiting_bytes:
            return True
        if self.failing:
            self._shed(self._bytes + size - self._settings.waiting_bytes)
        return self._bytes + size <= self._settings.waiting_bytes

    def _shed(self, excess: int) -> None:
        """Give up waiting messages, the oldest of the least important lane first.

        Entries are never given up.
        """
        for lane in SHED:
            for work in self._works:
                if excess <= 0:
                    return
                kept = [message for message in work.messages if message.lane != lane or work.replaces]
                if len(kept) == len(work.messages):
                    continue
                before, lost = work.size(), len(work.messages) - len(kept)
                work.messages = kept
                freed = before - work.size()
                count, size = work.shed.get(lane, (0, 0))
                work.shed[lane] = count + lost, size + freed
                self._shed_counts[lane] += lost
                self._shed_bytes[lane] += freed
                self._bytes -= freed
                excess -= freed
