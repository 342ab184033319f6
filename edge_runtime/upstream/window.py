"""What of one lane is on its way: sent, and not acknowledged by the centre.

Bounded in messages and bytes, so a centre that is away costs neither memory nor bandwidth without end. Times are
monotonic nanos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge_runtime.contract.message import Spooled

_LONGEST_WAIT = 4  # doublings of the time after which a message is sent again


@dataclass
class _Sent:
    message: Spooled
    first: int
    last: int
    turn: int  # of its last sending, among all sendings of the lane
    again: bool = False
    overtaken: int = 0  # sendings after which a later one was acknowledged, and it was not
    counted: int = 0  # the turn that is counted in `overtaken`
    refused: int | None = None  # how many others the broker had taken by then


class Window:
    """Messages of one lane between their first sending and their acknowledgement.

    `messages` and `size` (bytes of bodies) bound it; one message of any size always fits. What is not acknowledged
    within `patience` is sent again, each time after twice as long while nothing more is acknowledged. A message is
    overtaken when one that was sent after it is acknowledged and it is not: it was lost, and is sent again once
    `overtaken` nanos have passed, each time after twice as long: a broker that is overrun loses more than one.
    Overtaken after each of `tries` sendings, it is handed back by `acknowledge`: the centre cannot take it.
    """

    def __init__(self, messages: int, size: int, patience: int, *, overtaken: int, tries: int = 5) -> None:
        self.size = 0
        self._messages, self._most, self._patience, self._overtaken = messages, size, patience, overtaken
        self._tries = tries
        self._sent: dict[int, _Sent] = {}  # by seq, ascending
        self._doublings = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, seq: object) -> bool:
        return seq in self._sent

    def __iter__(self) -> Iterator[Spooled]:
        return (sent.message for sent in self._sent.values())

    def has_room(self, size: int = 0) -> bool:
        """Whether a message of `size` bytes may be sent."""
        return not self._sent or (len(self._sent) < self._messages and self.size + size <= self._most)

    def add(self, message: Spooled, now: int) -> None:
        """`message` is sent for the first time; its seq is above all earlier ones."""
        self._turn += 1
        self._sent[message.seq] = _Sent(message, now, now, self._turn)
        self.size += len(message.message.body)

    def first_to_repeat(self) -> Spooled | None:
        """The oldest message that must be sent again; what the broker has refused comes after all others."""
        waiting = [sent for sent in self._sent.values() if sent.again]
        return min(waiting, key=lambda sent: sent.refused is not None).message if waiting else None

    def repeated(self, seq: int, now: int) -> None:
        """Message `seq` is sent again."""
        self._turn += 1
        sent = self._sent[seq]
        sent.again, sent.last, sent.turn = False, now, self._turn

    def disconnected(self) -> None:
        """Whatever is not acknowledged must be sent again: a broker's PUBACK is no delivery."""
        for sent in self._sent.values():
            sent.again = True

    def check_time(self, now: int) -> None:
        """Mark what waits for its acknowledgement for too long."""
        latest = now - (self._patience << self._doublings)
        overdue = [sent for sent in self._sent.values() if not sent.again and sent.last <= latest]
        for sent in overdue:
            sent.again = True
        if overdue:
            self._doublings = min(self._doublings + 1, _LONGEST_WAIT)

    def acknowledge(
        self, upto: int, ranges: Sequence[tuple[int, int]], now: int
    ) -> tuple[list[Spooled], list[Spooled]]:
        """The centre has all up to `upto` and those within `ranges` (both ends included).

        Returns what is delivered with it, and what the centre cannot take; both have left the window.
        """
        delivered = [seq for seq in self._sent if seq <= upto or any(a <= seq <= b for a, b in ranges)]
        if delivered:  # what repeats an answer, because we repeated ourselves, is no sign that it gets faster
            self._doublings = 0
        newest = max((self._sent[seq].turn for seq in delivered), default=0)
        done = self._remove(delivered)
        hopeless = []
        for seq, sent in self._sent.items():
            if sent.turn > newest:
                continue
            if sent.counted != sent.turn:
                sent.counted = sent.turn
                sent.overtaken += 1
            if sent.overtaken >= self._tries:
                hopeless.append(seq)
            elif sent.last <= now - (self._overtaken << (sent.overtaken - 1)):
                sent.again = True
        return done, self._remove(hopeless)

    def delivered(self, seq: int) -> Spooled | None:
        """The one message `seq` is delivered; None if it was before."""
        return self._remove([seq])[0] if seq in self._sent else None

    def refuse(self, seq: int, taken: int) -> Spooled | None:
        """The broker refused message `seq`; it has taken `taken` messages so far.

        It is sent again as if there had been no answer, after all others: some brokers (mosquitto 2.0) hang up after a
        refusal. Returned, and gone from here, if that was refused too although the broker takes others: one that takes
        nothing at all has been set up wrongly, and loses nothing.
        """
        sent = self._sent.get(seq)
        if sent is None:
            return None
        if sent.refused is not None and taken > sent.refused:
            return self._remove([seq])[0]
        if sent.refused is None:
            sent.refused = taken
        return None

    def oldest(self) -> int | None:
        """When the first of them was first sent."""
        return next((sent.first for sent in self._sent.values()), None)

    def lowest(self) -> int | None:
        """The lowest seq in it."""
        return next(iter(self._sent), None)

    def _remove(self, seqs: Iterable[int]) -> list[Spooled]:
        gone = [self._sent.pop(seq).message for seq in seqs]
        self.size -= sum(len(message.message.body) for message in gone)
        return gone
