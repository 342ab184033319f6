"""Letters between the connection, which puts them in, and the hub, which takes them in groups."""

from __future__ import annotations

import threading
import time
from collections import deque

from serving.hub.reading import Letter

_OVERHEAD = 200  # bytes of memory that a letter costs besides its payload


class Inbox:
    """Never refuses a letter; whoever puts them in looks at `full` and stops reading until it is so no more."""

    def __init__(self, most: int) -> None:
        self.closed = False
        self._most = most
        self._letters: deque[Letter] = deque()
        self._size = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    @property
    def full(self) -> bool:
        return self.closed or self._size >= self._most

    def put(self, letter: Letter) -> None:
        with self._changed:
            self._letters.append(letter)
            self._size += len(letter.payload) + _OVERHEAD
            self._changed.notify()

    def take(self, messages: int, size: int, wait: float, patience: float) -> list[Letter]:
        """Up to so many letters or bytes (but one at least), once they are there or `wait` seconds after the first one.

        None within `patience` seconds: an empty list. When closed, what is there comes at once.
        """
        with self._changed:
            if not self._letters and not self.closed:
                self._changed.wait(patience)
            if not self._letters:
                return []
            deadline = time.monotonic() + wait
            while not self.closed and len(self._letters) < messages and self._size < size:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            group: list[Letter] = []
            while self._letters and len(group) < messages and size > 0:
                letter = self._letters.popleft()
                cost = len(letter.payload) + _OVERHEAD
                self._size -= cost
                size -= cost
                group.append(letter)
            return group

    def close(self) -> None:
        """It is full from now on, and nobody waits for more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
