"""The next message of one lane: straight from the commit while the link keeps up, else from the spool, page by page."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

from edge_runtime.contract.message import Lane, Spooled

_PAGE = 64  # messages
_PAGE_BYTES = 1 << 20


class Spool(Protocol):
    """The part of the journal that a feed needs."""

    def read(self, lane: Lane, after: int, limit: int, max_bytes: int) -> list[Spooled]: ...

    def floor(self, lane: Lane) -> int: ...


class Feed:
    """Committed messages of `lane` in order of seq, each once; at most `fresh` of them and one page are held.

    `put` is called by the journal's thread in order of seq, `peek` and `take` by the link's. Numbers may be missing:
    what the spool has dropped is passed over, though it be held here: it is counted, and told, as lost.
    """

    def __init__(self, spool: Spool, lane: Lane, fresh: int = 64, fresh_bytes: int = 1 << 20) -> None:
        self.position = 0  # seq of the last one taken
        self._spool, self._lane, self._most, self._most_bytes = spool, lane, fresh, fresh_bytes
        self._page: deque[Spooled] = deque()
        self._lock = threading.Lock()
        self._fresh: deque[Spooled] = deque()
        self._fresh_bytes = 0
        self._behind = True  # the spool has what is neither in the page nor fresh

    def put(self, message: Spooled) -> None:
        """`message` is committed."""
        with self._lock:
            if self._behind:
                return
            self._fresh.append(message)
            self._fresh_bytes += len(message.message.body)
            if len(self._fresh) > self._most or self._fresh_bytes > self._most_bytes:
                self._forget()
                self._behind = True

    def peek(self) -> Spooled | None:
        """The next message, None when there is none now; whatever reading the spool raises."""
        lowest = self._spool.floor(self._lane)
        while True:
            while self._page and self._page[0].seq < lowest:
                self._page.popleft()
            if self._page:
                return self._page[0]
            with self._lock:
                while self._fresh and self._fresh[0].seq < max(self.position + 1, lowest):
                    self._fresh_bytes -= len(self._fresh.popleft().message.body)
                if not self._behind:
                    return self._fresh[0] if self._fresh else None
                self._behind = False  # what is committed from here on is put into `_fresh`
                self._forget()
            self._read()

    def take(self, message: Spooled) -> None:
        """Go on to what comes after `message`, which `peek` gave."""
        self.position = message.seq
        if self._page:
            self._page.popleft()

    def _read(self) -> None:
        try:
            self._page.extend(self._spool.read(self._lane, self.position, _PAGE, _PAGE_BYTES))
        except BaseException:
            with self._lock:
                self._behind = True
            raise
        if self._page:
            with self._lock:
                self._behind = True  # there may be more
                self._forget()

    def _forget(self) -> None:
        self._fresh.clear()
        self._fresh_bytes = 0
