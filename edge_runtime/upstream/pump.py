"""Which message goes next, and what becomes of it: lanes, windows, acknowledgements, and what nobody takes.

No sockets and no threads here: the link's thread calls everything but `committed`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_runtime.clock import Clock
from edge_runtime.contract import topics
from edge_runtime.contract.acks import Acknowledgement
from edge_runtime.contract.message import BLOCK, Lane, Outgoing, Spooled
from edge_runtime.contract.waveform import HEADROOM
from edge_runtime.contract.wire import encode
from edge_runtime.errors import EdgeError
from edge_runtime.upstream.dead_letters import DeadLetters
from edge_runtime.upstream.feed import Feed, Spool
from edge_runtime.upstream.flight import Flight
from edge_runtime.upstream.split import smaller
from edge_runtime.upstream.window import Window

SECOND = 1_000_000_000
NO_SUBSCRIBER = 0x10  # the broker took the message, and nobody gets it
REFUSED = 0x80  # and above


class Outbox(Spool, Protocol):
    """The part of the journal that the pump needs."""

    def acknowledge(self, epoch: int, lane: Lane, upto: int, ranges: Sequence[tuple[int, int]] = ()) -> None: ...


@dataclass(frozen=True)
class Bounds:
    """Of what is on its way. `messages` and `bytes` without an acknowledgement of the centre, in each lane; `bulk`
    bytes of backfill and raw data that the broker has not confirmed, so that an alarm never waits behind more on a slow
    line. Durations in nanos.
    """

    messages: int = 256
    bytes: int = 1 << 20
    bulk: int = 128 << 10
    patience: int = 30 * SECOND
    overtaken: int = 5 * SECOND


class Pump:
    """Sends what the spool has, lane by lane, until the centre has committed it.

    `send(topic, content, payload)` publishes with QoS 1 and returns the packet id, None if it cannot now. `respool`
    takes messages that replace one that is too large, False if it cannot now. With `by_broker`, the broker's
    confirmation counts as delivery.

    `counts`: sent, repeated, refused by the broker, dead letters by reason, acknowledgements that made no sense.
    `streams`: kind → messages, bytes on the wire, bytes before packing.
    """

    def __init__(
        self,
        site: str,
        gateway: str,
        epoch: int,
        outbox: Outbox,
        clock: Clock,
        dead_letters: DeadLetters,
        send: Callable[[str, str, bytes], int | None],
        respool: Callable[[list[Outgoing]], bool],
        *,
        bounds: Bounds = Bounds(),
        by_broker: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.streams: dict[str, tuple[int, int, int]] = {}
        self.last_delivery: int | None = None  # monotonic nanos
        self._site, self._gateway, self._epoch = site, gateway, epoch
        self._outbox, self._clock, self._dead_letters = outbox, clock, dead_letters
        self._send, self._respool, self._bounds, self._by_broker = send, respool, bounds, by_broker
        self._feeds = {lane: Feed(outbox, lane) for lane in Lane}
        self._windows = {
            lane: Window(bounds.messages, bounds.bytes, bounds.patience, overtaken=bounds.overtaken) for lane in Lane
        }
        self._flight = Flight(bounds.bulk)
        self._maximum_packet = 0
        self._learnt = 1 << 30  # bytes of a packet, less than what the broker once hung up on without a word
        self._taken = 0  # messages the broker has confirmed
        self._splitting: dict[Lane, dict[int, Outgoing]] = {lane: {} for lane in Lane}  # seq → last of its pieces
        self._split: dict[int, tuple[Lane, int]] = {}  # id of the last piece → the message it replaces
        self._undead: list[tuple[Spooled, str]] = []  # dead letters that could not be written yet
        self._lock = threading.Lock()
        self._replaced: list[tuple[Lane, int]] = []

    # From the journal's thread.

    def committed(self, messages: Sequence[Spooled]) -> None:
        for message in messages:
            self._feeds[message.message.lane].put(message)
            if self._split and (done := self._split.get(id(message.message))) is not None:
                with self._lock:
                    self._replaced.append(done)

    # From the link's thread.

    def connected(self, maximum_packet: int, receive_maximum: int) -> None:
        """The broker takes packets of so many bytes, and so many at once."""
        self._maximum_packet = maximum_packet
        self._flight.begin(receive_maximum)

    def proven(self) -> None:
        """The broker has confirmed something that is not from here."""
        self._flight.prove()

    def disconnected(self) -> None:
        """Whatever was on its way may be lost."""
        self._flight.end(lambda lane, seq: seq in self._windows[lane])
        for window in self._windows.values():
            window.disconnected()

    def work(self) -> None:
        """Send what may be sent now; whatever reading the spool raises."""
        now = self._clock.monotonic()
        self._finish_splits()
        if self._undead:
            self._bury_again()
        for window in self._windows.values():
            window.check_time(now)
        for lane in Lane:
            while self._flight.has_room(lane) and self._send_next(lane, now):
                pass

    def confirmed(self, mid: int, reason: int) -> None:
        """The broker's PUBACK."""
        flying = self._flight.confirm(mid)
        if flying is None:
            return
        lane, seq = flying.lane, flying.seq
        if reason >= REFUSED:
            self._flight.doubt()  # some brokers hang up after a refusal
            self.counts[f"refused_{reason:#04x}"] += 1
            hopeless = self._windows[lane].refuse(seq, self._taken)
            if hopeless is not None:
                self._bury(hopeless, f"refused by the broker, reason {reason:#04x}")
            return
        self._taken += 1
        if reason == NO_SUBSCRIBER:
            self.counts["no_subscriber"] += 1
        elif self._by_broker:
            delivered = self._windows[lane].delivered(seq)
            if delivered is not None:
                self._delivered(lane, [delivered])

    def acknowledged(self, ack: Acknowledgement) -> None:
        """The centre says what it has committed. What it cannot have, because it was never sent, is not believed."""
        if ack.epoch != self._epoch:
            self.counts["ack_other_epoch"] += 1
            return
        now = self._clock.monotonic()
        for lane, said in ack.lanes.items():
            position = self._feeds[lane].position
            highest = max([said.upto, *(last for _, last in said.ranges)])
            if highest > position:
                self.counts["ack_ahead"] += 1
            ranges = [(first, min(last, position)) for first, last in said.ranges if first <= position]
            delivered, hopeless = self._windows[lane].acknowledge(min(said.upto, position), ranges, now)
            if delivered:
                self._delivered(lane, delivered)
            for message in hopeless:
                self._bury(message, "sent again and again, never acknowledged though later ones were")

    @property
    def outstanding(self) -> int:
        """Messages sent and not acknowledged."""
        return sum(map(len, self._windows.values()))

    def oldest(self, lane: Lane) -> int | None:
        """When the oldest unacknowledged message of `lane` was first sent, monotonic nanos."""
        return self._windows[lane].oldest()

    # What follows is its own.

    def _send_next(self, lane: Lane, now: int) -> bool:
        """Send one message of `lane`; False when there is none or it cannot go now."""
        window, feed = self._windows[lane], self._feeds[lane]
        again = window.first_to_repeat()
        message = feed.peek() if again is None else again
        if message is None or (again is None and not window.has_room(len(message.message.body))):
            return False
        try:
            topic = topics.up(self._site, self._gateway, message.message.kind, message.message.asset)
            content, payload = encode(message, self._gateway, self._floor(lane, message.seq))
        except (ValueError, KeyError, EdgeError) as error:  # not of the contract: nobody could read it
            return self._give_up(message, again is None, f"cannot be encoded: {error}")
        size = len(payload) + len(topic) + len(content) + 16
        if self._flight.is_to_blame(lane, message.seq):
            self._learnt = min(self._learnt, max(size - 1, 2 * HEADROOM))
            return self._too_large(message, size, again is None)
        if size > self._maximum_packet or (size > self._learnt and message.message.content == BLOCK):
            return self._too_large(message, size, again is None)
        mid = self._send(topic, content, payload)
        if mid is None:
            return False
        if again is None:
            feed.take(message)
            window.add(message, now)
            self._count(message, size)
        else:
            window.repeated(message.seq, now)
            self.counts["repeated"] += 1
        self._flight.add(mid, lane, message.seq, size)
        return True

    def _floor(self, lane: Lane, seq: int) -> int:
        """The lowest seq of the lane that may still come: also of what was on its way when the spool dropped it.

        And of dead letters that are not written yet: the next start sends them again, and must not be told that the
        centre has them.
        """
        waiting = [seq, *self._splitting[lane]]
        waiting += [message.seq for message, _ in self._undead if message.message.lane == lane]
        lowest = self._windows[lane].lowest()
        if lowest is not None:
            waiting.append(lowest)
        return min(waiting)

    def _count(self, message: Spooled, size: int) -> None:
        outgoing = message.message
        plain = outgoing.size if outgoing.content == BLOCK else len(outgoing.body)
        messages, sent, before = self.streams.get(outgoing.kind, (0, 0, 0))
        self.streams[outgoing.kind] = messages + 1, sent + size, before + plain
        self.counts["sent"] += 1

    def _delivered(self, lane: Lane, messages: Sequence[Spooled]) -> None:
        self.last_delivery = self._clock.monotonic()
        self.counts["delivered"] += len(messages)
        ranges: list[tuple[int, int]] = []
        for message in messages:
            if ranges and ranges[-1][1] == message.seq - 1:
                ranges[-1] = ranges[-1][0], message.seq
            else:
                ranges.append((message.seq, message.seq))
            self._flight.clear(lane, message.seq)
        self._outbox.acknowledge(self._epoch, lane, 0, ranges)

    def _too_large(self, message: Spooled, size: int, new: bool) -> bool:
        """Put pieces into the spool in place of a message that the broker cannot take; False: not now."""
        lane, seq = message.message.lane, message.seq
        largest = min(self._maximum_packet, self._learnt) - HEADROOM
        pieces = smaller(message.message, largest)
        if len(pieces) < 2:
            return self._give_up(message, new, f"{size} bytes: the broker does not take it")
        self._splitting[lane][seq] = pieces[-1]
        self._split[id(pieces[-1])] = lane, seq
        if not self._respool(pieces):
            del self._splitting[lane][seq], self._split[id(pieces[-1])]
            return False
        self.counts["split"] += 1
        self._pass_over(message, new)
        return True

    def _finish_splits(self) -> None:
        """What was replaced may be forgotten, now that its pieces are committed."""
        if not self._split:
            return
        with self._lock:
            done, self._replaced = self._replaced, []
        for lane, seq in done:
            if seq in self._splitting[lane]:
                self._forget_split(lane, seq)
                self._outbox.acknowledge(self._epoch, lane, 0, [(seq, seq)])
        for lane, splitting in self._splitting.items():
            # The pieces may have been dropped, too, when they were committed: then nobody tells of them.
            for seq in [seq for seq in splitting if seq < self._outbox.floor(lane)]:
                self._forget_split(lane, seq)

    def _forget_split(self, lane: Lane, seq: int) -> None:
        del self._split[id(self._splitting[lane].pop(seq))]

    def _give_up(self, message: Spooled, new: bool, reason: str) -> bool:
        self._pass_over(message, new)
        self._bury(message, reason)
        return True

    def _pass_over(self, message: Spooled, new: bool) -> None:
        """`message` is not sent any more."""
        lane, seq = message.message.lane, message.seq
        if new:
            self._feeds[lane].take(message)
        else:
            self._windows[lane].delivered(seq)
        self._flight.clear(lane, seq)

    def _bury(self, message: Spooled, reason: str) -> None:
        """To the dead letters, and out of the spool."""
        self._flight.clear(message.message.lane, message.seq)
        try:
            self._dead_letters.add(message, reason)
        except sqlite3.Error:
            self.counts["dead_letter_failed"] += 1
            self._undead.append((message, reason))
            del self._undead[: -self._bounds.messages]  # what is forgotten is in the spool still, for the next start
            return
        self.counts["dead_letters"] += 1
        self._outbox.acknowledge(self._epoch, message.message.lane, 0, [(message.seq, message.seq)])

    def _bury_again(self) -> None:
        waiting, self._undead = self._undead, []
        for message, reason in waiting:
            self._bury(message, reason)
