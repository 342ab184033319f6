"""How long to wait before a connection is tried again: doubling, with jitter, so that a hundred gateways whose broker
comes back do not knock at the same moment."""

from __future__ import annotations

import random
from typing import Protocol

from edge_runtime.clock import Clock

FIRST = 0.5  # seconds
MOST = 60.0


class Uniform(Protocol):
    """What is used of `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float: ...


class Backoff:
    """`failed` says how many seconds to wait; each time in a row up to twice as long, never more than `most`.

    A connection must hold for as long as the last wait before the waits start anew: one that is accepted and dropped at
    once is not tried twice a second for ever.

    >>> class Middle:
    ...     def uniform(self, a, b):
    ...         return (a + b) / 2
    >>> from edge_runtime.clock import SystemClock
    >>> backoff = Backoff(SystemClock(), first=1, most=5, random=Middle())
    >>> [backoff.failed() for _ in range(4)]
    [0.75, 1.5, 3.0, 3.75]
    """

    def __init__(self, clock: Clock, first: float = FIRST, most: float = MOST, random: Uniform | None = None) -> None:
        self.first = first
        self.most = max(first, most)
        self.attempts = 0  # failed in a row
        self._clock = clock
        self._random = random if random is not None else _OWN
        self._last = 0.0
        self._since: int | None = None  # when it was found to work, monotonic nanos

    def worked(self) -> None:
        """The other side gave a valid answer. Cheap: call it as often as it does."""
        if self._since is None:
            self._since = self._clock.monotonic()

    def failed(self) -> float:
        """It failed or was lost: seconds to wait, between half of the present step and all of it."""
        if self._since is not None and self._clock.monotonic() - self._since >= self._last * 1e9:
            self.attempts = 0
        self._since = None
        step = min(self.most, self.first * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        self._last = self._random.uniform(step / 2, step)
        return self._last


_OWN = random.SystemRandom()  # gateways are cloned from one image: their seeds must not be
