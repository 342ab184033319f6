"""When to poll, and what to ask for in one request: of any protocol that is asked instead of telling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Schedule:
    """Times at whole multiples of `every` (nanos) after the first: a slow poll makes the next ones no later.

    >>> schedule = Schedule(10, now=100)
    >>> schedule.due, schedule.polled(now=103), schedule.due
    (100, 0, 110)
    >>> schedule.polled(now=135), schedule.due  # 120 and 130 passed meanwhile
    (2, 140)
    """

    def __init__(self, every: int, now: int) -> None:
        self.due = now
        self._every = every

    def polled(self, now: int) -> int:
        """The poll that was due has ended; how many others were missed by it. `due` is the next in the future."""
        passed = max(0, now - self.due) // self._every
        self.due += (passed + 1) * self._every
        return passed


@dataclass(frozen=True)
class Span(Generic[T]):
    """Items whose places lie within `count` places from `start` on: one request."""

    start: int
    count: int
    items: tuple[T, ...]


def join(items: Iterable[T], place: Callable[[T], tuple[int, int]], gap: int, most: int) -> list[Span[T]]:
    """Few requests for all `items`: `place` gives first place and number of places of each.

    Neighbours share a request if at most `gap` places between them are of no interest and it asks for at most `most`.

    >>> [span.items for span in join([(0, 2), (2, 2), (9, 1)], lambda item: item, gap=4, most=125)]
    [((0, 2), (2, 2)), ((9, 1),)]
    """
    spans: list[Span[T]] = []
    for item in sorted(items, key=place):
        start, count = place(item)
        if spans:
            last = spans[-1]
            end = max(last.start + last.count, start + count)
            if start - (last.start + last.count) <= gap and end - last.start <= most:
                spans[-1] = Span(last.start, end - last.start, (*last.items, item))
                continue
        spans.append(Span(start, count, (item,)))
    return spans


def halves(span: Span[T], place: Callable[[T], tuple[int, int]]) -> Sequence[Span[T]]:
    """Two requests instead of one of several items, to find out which of them the device refuses."""
    middle = len(span.items) // 2
    return [_around(span.items[:middle], place), _around(span.items[middle:], place)]


def _around(items: tuple[T, ...], place: Callable[[T], tuple[int, int]]) -> Span[T]:
    starts, ends = zip(*((start, start + count) for start, count in map(place, items)), strict=True)
    return Span(min(starts), max(ends) - min(starts), items)
