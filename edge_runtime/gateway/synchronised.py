"""Whether this computer's clock is synchronised, as the kernel knows it."""

from __future__ import annotations

import ctypes
from pathlib import Path

from edge_runtime.clock import Clock

SECOND = 1_000_000_000
_TIME_ERROR = 5  # returned by adjtimex(2): nobody keeps the clock right
_TIMEX = 512  # bytes, more than `struct timex` has anywhere; zeros: only look
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")


class Synchronised:
    """Asks the kernel at most once a second; systemd-timesyncd's mark where that is not allowed.

    NTP daemons tell the kernel (chrony with `rtcsync`). What cannot be known counts as not synchronised.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked = clock.monotonic() - SECOND
        self._known = False

    def __call__(self) -> bool:
        now = self._clock.monotonic()
        if now - self._asked >= SECOND:
            self._asked, self._known = now, _ask()
        return self._known


def _ask() -> bool:
    timex = ctypes.create_string_buffer(_TIMEX)
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (AttributeError, OSError):  # a C library without it
        state = -1
    if state < 0:  # ProtectClock of systemd forbids even looking
        return _TIMESYNCD.exists()
    return state != _TIME_ERROR
