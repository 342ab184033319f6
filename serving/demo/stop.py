"""Whether the user wants the demo to end. Imports next to nothing: Ctrl-C is heard while large libraries load."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

LOOK = 0.05  # s
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the user wants it to end: Ctrl-C, SIGTERM, or the terminal was closed. Twice: at once."""

    def __init__(self) -> None:
        self._wanted = False  # no threading.Event: its lock may be taken by whom the signal interrupts
        self._before: dict[int, Any] = {}
        self.at_once: Callable[[], None] = _nothing

    @property
    def wanted(self) -> bool:
        return self._wanted

    def set(self) -> None:
        self._wanted = True

    def wait(self, seconds: float) -> bool:
        """Whether it came within `seconds`."""
        until = time.monotonic() + seconds
        while not self._wanted and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK))
        return self._wanted

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # Who presses Ctrl-C once more while Python ends has been heard already.
            signal.signal(number, signal.SIG_IGN if self.wanted else handler)

    def _came(self, number: int, _: FrameType | None) -> None:
        if self.wanted and number != signal.SIGHUP:
            self.at_once()
        self._wanted = True


def _nothing() -> None:
    pass
