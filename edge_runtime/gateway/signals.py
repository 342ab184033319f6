"""Signals of the process, taken one by one by whoever waits for them: nothing is interrupted in the middle."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any


class Signals:
    """While it is entered, in the main thread, `wait` gets the signals `wanted`, and they do nothing else.

    A handler that did more might find any lock taken. They are not blocked either: libraries have threads from before,
    and the kernel would give them to one of those.
    """

    def __init__(self, wanted: Sequence[signal.Signals]) -> None:
        self._wanted = tuple(wanted)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {one: signal.signal(one, lambda *_: None) for one in self._wanted}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float) -> set[signal.Signals]:
        """Those that came, as soon as one did, at the latest after `seconds`."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        came = self._reader.recv(4096) if ready else b""
        return {one for one in self._wanted if one in came}
