"""Acknowledging messages of one MQTT connection in the order in which they came."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from struct import Struct

Receipt = tuple[int, ...]  # generation, and the numbers of one message in it or, for a waveform in parts, of several

_PUBACK = Struct("!BBH")
_generations = itertools.count()


class Receipts:
    """Messages that wait to be committed, from the first connection packet to the last: one object a connection.

    MQTT 5 demands acknowledgements in the order of the messages (section 4.6), and rumqttd ends a connection that
    does otherwise. What is committed early therefore waits for what came before it. A packet id means something else
    on the next connection, so a receipt names its own (its generation, unique in this process).
    """

    def __init__(self) -> None:
        self.generation = next(_generations)
        self._waiting: deque[int] = deque()  # packet ids
        self._first = 0  # number of the oldest that waits
        self._next = 0
        self._early: set[int] = set()  # committed, but not the oldest

    def __len__(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._waiting)

    def add(self, mid: int) -> Receipt:
        """The receipt of the message with packet id `mid`, which has just come."""
        number = self._next
        self._next = number + 1
        self._waiting.append(mid)
        return self.generation, number

    def acknowledge(self, receipts: Iterable[Receipt]) -> list[int]:
        """Packet ids to acknowledge now that these are committed. Receipts of other connections are ignored."""
        generation, waiting, early, mids = self.generation, self._waiting, self._early, []
        first = self._first
        for receipt in receipts:
            if receipt[0] != generation:
                continue
            if receipt[1] == first and len(receipt) == 2:
                mids.append(waiting.popleft())
                first += 1
            else:
                early.update(number for number in receipt[1:] if first <= number < self._next)
        while early and first in early:
            early.remove(first)
            mids.append(waiting.popleft())
            first += 1
        if early and not waiting:
            early.clear()  # told twice
        self._first = first
        return mids


def pubacks(mids: Iterable[int]) -> bytes:
    """PUBACK packets of MQTT 5 that say "success".

    >>> pubacks([1, 258]).hex(" ")
    '40 02 00 01 40 02 01 02'
    """
    pack = _PUBACK.pack
    return b"".join([pack(0x40, 2, mid) for mid in mids])
