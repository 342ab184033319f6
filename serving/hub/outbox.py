"""What the hub sends down from the database: commands, and whatever else is kept there until a gateway shall have it.

    sender.waiting ──▶ sender.claim, committed ──▶ publish, QoS 1 ──▶ the broker has it ──▶ sender.sent, committed

Several hubs may look at the same rows: `claim` is for the sender to do by compare-and-set, so that one gets each. A hub
that is killed after a claim leaves it behind; when it has run out, another hub claims the same again. So a message may
go down twice: gateways must know it again, by an id or a version.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection

from edge_runtime.clock import Clock
from edge_runtime.sources.backoff import Backoff
from serving.database.engine import Database, is_away

log = logging.getLogger(__name__)

EVERY = 0.2  # s between two looks
CLAIMED = 15_000_000_000  # nanos; what the broker has not confirmed then may be claimed again
REST = 10_000_000_000  # nanos that a sender rests after an error of its program


class Parcel(NamedTuple):
    """One message down. `of`: by what its sender knows it again. The broker drops it after `expiry` whole seconds."""

    of: Any
    topic: str
    payload: bytes
    expiry: int | None = None
    retain: bool = False


class Sender(Protocol):
    """Belongs to the thread of one outbox; `connection` is a transaction, committed when the call returns.

    `now` and `until` are UTC nanos. What `claim` returns is published if its transaction was committed.
    """

    name: str

    def waiting(self, connection: Connection, now: int) -> bool:
        """Whether `claim` would have something to do; called often, in a transaction that only reads."""
        ...

    def claim(self, connection: Connection, now: int, until: int) -> Sequence[Parcel]:
        """What is due, so marked that nobody else claims it before `until`."""
        ...

    def sent(self, connection: Connection, parcels: Sequence[Parcel], now: int) -> None:
        """The broker has these."""
        ...

    def unsent(self, connection: Connection, parcels: Sequence[Parcel], why: str, now: int) -> None:
        """The broker refused these, or the connection ended before it had confirmed them: it may have them."""
        ...


Told = Callable[[Parcel, str | None], None]  # None: the broker has it; else why not


class Post(Protocol):
    """How parcels are published (`serving.hub.connection.HubConnection`)."""

    @property
    def connected(self) -> bool: ...

    def post(self, parcels: Sequence[Parcel], told: Told) -> None:
        """Publish; `told` is called once for each, in any thread, and does not raise."""
        ...


class Outbox:
    """Looks for what is due while there is a connection, in a thread of its own."""

    def __init__(
        self, database: Database, post: Post, senders: Sequence[Sender], clock: Clock, every: float = EVERY
    ) -> None:
        self._database, self._post, self._senders, self._clock = database, post, tuple(senders), clock
        self._every = every
        self._told: queue.SimpleQueue[tuple[Sender, Parcel, str | None]] = queue.SimpleQueue()
        self._open: list[tuple[Sender, Parcel, str | None]] = []  # told of, and not yet on disk
        self._backoff = Backoff(clock, first=0.2, most=10)
        self._away = False
        self._resting: dict[str, int] = {}  # senders that failed, until when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        if self._senders:
            self._thread.start()

    def stop(self) -> None:
        """What the broker has confirmed is marked, if that works now; the rest is claimed again."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """One round: mark what was told, then send what is due."""
        self._gather()
        self._mark()
        if self._post.connected:
            for sender in self._senders:
                self._send(sender)

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                self._gather(0 if stopping else self._every)
                self._mark()
                if stopping:
                    return
                self.look()
                self._away = False
                self._backoff.worked()
            except Exception as error:
                self._failed(error)
                if stopping:
                    return

    def _gather(self, wait: float = 0.0) -> None:
        """What has been told, waiting for the first of it."""
        try:
            self._open.append(self._told.get(timeout=wait) if wait else self._told.get_nowait())
            while True:
                self._open.append(self._told.get_nowait())
        except queue.Empty:
            return

    def _mark(self) -> None:
        while self._open:
            sender, _, why = self._open[0]
            same = [parcel for other, parcel, reason in self._open if other is sender and reason == why]
            now = self._clock.utc()
            try:
                with self._database.write() as connection:
                    if why is None:
                        sender.sent(connection, same, now)
                    else:
                        sender.unsent(connection, same, why, now)
            except Exception as error:
                if is_away(error):
                    raise
                log.exception("outbox: %s: %d messages could not be marked", sender.name, len(same))
            if why is not None:
                log.warning("outbox: %s: %d messages were not sent: %s", sender.name, len(same), why)
            self._open = [each for each in self._open if not (each[0] is sender and each[2] == why)]

    def _send(self, sender: Sender) -> None:
        """One sender that fails does not keep the others from sending."""
        if self._clock.monotonic() < self._resting.get(sender.name, 0):
            return
        now = self._clock.utc()
        try:
            with self._database.read() as connection:
                waiting = sender.waiting(connection, now)
            if not waiting:
                return
            with self._database.write() as connection:
                parcels = sender.claim(connection, now, now + CLAIMED)
        except Exception as error:
            if is_away(error):
                raise
            log.exception("outbox: %s cannot send; it is tried again in %d s", sender.name, REST // 10**9)
            self._resting[sender.name] = self._clock.monotonic() + REST
            return
        if parcels:
            self._post.post(parcels, lambda parcel, why: self._told.put((sender, parcel, why)))

    def _failed(self, error: Exception) -> None:
        if not is_away(error):
            log.exception("outbox: an error of this program")
        elif not self._away:
            log.warning("outbox: the database is away, nothing is sent down: %s", getattr(error, "orig", error))
        self._away = True
        self._stop.wait(self._backoff.failed())
