"""When each moment of a recording is played, and what time it then claims to be."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.clock import Clock
from edge_runtime.contract.event import Event
from edge_runtime.sources.replay.recording import Block, Recording, Row

NANOS = 1_000_000_000


def as_now(first: int, last: int, speed: float, now: int) -> int:
    """What to add to the times of a recording from `first` to `last`, so that playback begun at `now` seems live.

    All in nanos. Intervals are kept and nothing is dated in the future, so at another speed than 1 it cannot be live
    throughout: faster, it is at its end; slower, at its beginning.

    >>> as_now(first=0, last=100 * NANOS, speed=1, now=5000)
    5000
    >>> as_now(first=0, last=100 * NANOS, speed=10, now=5000 * NANOS) // NANOS  # in 10 s it is 5010, the end
    4910
    """
    if 0 < speed <= 1:
        return now - first
    length = last - first
    return now + (round(length / speed) if speed else 0) - last


def schedule(
    recording: Recording, clock: Clock, speed: float, loop: bool = False, shift: bool = False
) -> Iterator[tuple[int, Row | Block]]:
    """When to play (monotonic nanos) and what, at the time it is to have.

    `speed`: seconds (or cycles) of the recording a second; 0 = all at once. `loop`: again and again, one usual step
    later each time; what follows is a new life of each machine. `shift`: see `as_now`.
    """
    offset = as_now(recording.first, recording.last, speed, clock.utc()) if shift else 0
    began = clock.monotonic()
    length = recording.last - recording.first + recording.step
    turn = 0
    while turn == 0 or loop:
        anew = set(recording.assets) if turn else set()
        for item in recording.play():
            passed = item.time - recording.first + turn * length
            if isinstance(item, Row) and item.asset in anew:
                anew.remove(item.asset)
                item.values["event"] = float(Event.NEW_LIFE)
            due = began + (round(passed / speed) if speed else 0)
            yield due, item._replace(time=item.time + offset + turn * length)
        turn += 1
