"""Whether the user wants the demo to end. Imports next to nothing: Ctrl-C is heard while large libraries load."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the user wants it to end: Ctrl-C, SIGTERM, or the terminal was closed. Twice: at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[int, Any] = {}
        self.at_once: Callable[[], None] = _nothing

    @property
    def wanted(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)

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
        self._event.set()


def _nothing() -> None:
    pass
