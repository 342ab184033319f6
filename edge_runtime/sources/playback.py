"""When each moment of a recording is played, and what time it then claims to be."""

from __future__ import annotations

from dataclasses import dataclass

NANOS = 1_000_000_000


@dataclass(frozen=True)
class Playback:
    """`first`, `last`: nanos of the recording; `speed`: its seconds (or cycles) a second, 0 = without waiting.

    `began`: monotonic nanos. `offset` is added to the times of the recording.
    """

    first: int
    began: int
    speed: float
    offset: int = 0

    def due(self, time: int) -> int:
        """Monotonic nanos at which `time` of the recording is played."""
        return self.began if self.speed == 0 else self.began + round((time - self.first) / self.speed)


def as_now(first: int, last: int, speed: float, now: int) -> int:
    """The offset that makes a playback begun at `now` (UTC nanos) seem live: intervals are kept, nothing is dated in
    the future. At another speed than 1 the recording cannot be live throughout: faster, it ends now; slower, it begins.

    >>> as_now(first=0, last=100 * NANOS, speed=1, now=5000)
    5000
    >>> as_now(first=0, last=100 * NANOS, speed=10, now=5000 * NANOS) // NANOS  # in 10 s it is 5010, the end
    4910
    """
    if 0 < speed <= 1:
        return now - first
    length = last - first
    return now + (round(length / speed) if speed else 0) - last
