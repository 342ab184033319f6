"""The clock that all code of the gateway is given: nothing else asks what time it is, so tests run days in seconds."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """`utc` may jump when the system's clock is set; `monotonic` never does and is what timers use. Both in nanos."""

    def utc(self) -> int: ...

    def monotonic(self) -> int: ...


class SystemClock:
    """The clock of this computer."""

    def utc(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()
