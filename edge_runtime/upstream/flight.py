"""What lies between us and the broker, and which message it is that ends connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from edge_runtime.contract.message import Lane

BULK = (Lane.BACKFILL, Lane.RAW)
DEATHS = 3  # connections that worked, and ended with one message alone on the way

Key = tuple[Lane, int]  # lane and seq


class Flying(NamedTuple):
    """Published, and not confirmed by the broker."""

    lane: Lane
    seq: int
    size: int


class Flight:
    """Messages by packet id, until the broker confirms them; at most `bulk` bytes of backfill and raw data.

    Some brokers hang up on a packet that they cannot take, without a word. What was on the way when a connection ended
    is suspect, and goes alone from then on, so that the culprit is found: it is to blame after `DEATHS` connections
    that had confirmed something before. A broker that is only coming up blames nobody.
    """

    def __init__(self, bulk: int) -> None:
        self.open = False
        self._most = 0  # packets
        self._most_bulk, self._bulk = bulk, 0
        self._flying: dict[int, Flying] = {}
        self._proven = False  # the broker has confirmed something on this connection
        self._suspects: set[Key] = set()
        self._deaths: Counter[Key] = Counter()

    def begin(self, most: int) -> None:
        """A connection, on which `most` packets may wait for their confirmation."""
        self.open, self._most, self._proven = True, most, False

    def prove(self) -> None:
        """The broker has confirmed something: should it hang up now, it is not merely out of order."""
        self._proven = True

    def doubt(self) -> None:
        """It may hang up now for another reason than what is on the way."""
        self._proven = False

    def end(self, is_awaited: Callable[[Lane, int], bool]) -> None:
        """The connection is lost, with all that was on the way.

        What is not `is_awaited` any more (lane, seq), as the centre was quicker than the broker, is never sent again,
        so nothing would ever clear it of suspicion.
        """
        lost = {(flying.lane, flying.seq) for flying in self._flying.values() if is_awaited(flying.lane, flying.seq)}
        if self._suspects and self._proven and len(self._flying) == 1:
            self._deaths.update(lost)
        self._suspects |= lost
        self._flying.clear()
        self._bulk = 0
        self.open = False

    def has_room(self, lane: Lane) -> bool:
        """Whether a message of `lane` may be published."""
        if not self.open or len(self._flying) >= (1 if self._suspects else self._most):
            return False
        return lane not in BULK or self._bulk < self._most_bulk

    def add(self, mid: int, lane: Lane, seq: int, size: int) -> None:
        self._flying[mid] = Flying(lane, seq, size)
        if lane in BULK:
            self._bulk += size

    def confirm(self, mid: int) -> Flying | None:
        """What the broker confirms with packet id `mid`."""
        flying = self._flying.pop(mid, None)
        if flying is not None:
            self.prove()
            self.clear(flying.lane, flying.seq)
            if flying.lane in BULK:
                self._bulk -= flying.size
        return flying

    def is_to_blame(self, lane: Lane, seq: int) -> bool:
        return self._deaths[lane, seq] >= DEATHS

    def clear(self, lane: Lane, seq: int) -> None:
        """No suspicion is left: it was confirmed, delivered, or is not sent any more."""
        self._suspects.discard((lane, seq))
        self._deaths.pop((lane, seq), None)
