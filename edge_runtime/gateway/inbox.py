"""The door of the gateway: sources put arrivals in from their threads, the engine takes out what has gathered."""

from __future__ import annotations

import threading
from collections import deque

from edge_runtime.sources.source import Arrival, WaveformArrival

MOST_ARRIVALS = 20_000
MOST_WAVEFORM_BYTES = 64 << 20


class GatewayInbox:
    """Bounded, so that a source that outruns the engine is told (`put` is False) instead of filling the memory.

    `put` costs well under a microsecond: many thousand messages a second pass it. One thread alone calls `wait` and
    `take`.
    """

    def __init__(self, most_arrivals: int = MOST_ARRIVALS, most_waveform_bytes: int = MOST_WAVEFORM_BYTES) -> None:
        self.most_arrivals = most_arrivals
        self.most_waveform_bytes = most_waveform_bytes
        self.overflow = 0  # refused since the start; approximate if several sources overflow at the same moment
        self._waiting: deque[Arrival | WaveformArrival] = deque()
        self._waveform_bytes = 0
        self._lock = threading.Lock()  # of `_waveform_bytes`; a deque needs none
        self._came = threading.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, arrival: Arrival | WaveformArrival) -> bool:
        """Take it in; False when the inbox is full or closed."""
        # len and append are atomic each; that two threads may both squeeze in as the last one does no harm.
        if len(self._waiting) >= self.most_arrivals or self._closed:
            self.overflow += 1
            return False
        if type(arrival) is WaveformArrival and not self._weigh(arrival.samples.nbytes):
            self.overflow += 1
            return False
        self._waiting.append(arrival)
        if not self._came.is_set():
            self._came.set()
        return True

    def wake(self) -> None:
        """End a `wait` although nothing came."""
        self._came.set()

    def close(self) -> None:
        """Nothing comes in any more."""
        self._closed = True
        self._came.set()

    def wait(self, seconds: float) -> bool:
        """Until something is there or `wake` was called, at most for `seconds`; whether so."""
        return self._came.wait(seconds)

    def take(self, most: int) -> list[Arrival | WaveformArrival]:
        """Up to `most` arrivals, in the order they came."""
        self._came.clear()  # before looking: what is put from now on sets it again
        waiting = self._waiting
        taken = [waiting.popleft() for _ in range(min(len(waiting), most))]
        if waiting:
            self._came.set()
        if self._waveform_bytes:
            size = sum(arrival.samples.nbytes for arrival in taken if type(arrival) is WaveformArrival)
            with self._lock:
                self._waveform_bytes -= size
        return taken

    def _weigh(self, size: int) -> bool:
        with self._lock:
            # One waveform may always come in, however large: the source has bounded it.
            if self._waveform_bytes and self._waveform_bytes + size > self.most_waveform_bytes:
                return False
            self._waveform_bytes += size
            return True
