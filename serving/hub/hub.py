"""The hub: takes groups of letters from the inbox, has them committed, and acknowledges them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

from edge_runtime.clock import Clock
from edge_runtime.contract import topics
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.sources.backoff import Backoff
from serving.database.engine import Database, is_away
from serving.hub.connection import HubConnection
from serving.hub.inbox import Inbox
from serving.hub.outbox import Outbox, Sender
from serving.hub.reading import Dead, Letter, Read, read
from serving.hub.settings import BrokerSettings, HubSettings
from serving.hub.store import Store, Told
from serving.registry.settings import RegistrySettings

log = logging.getLogger(__name__)

_UNPACKED = 32 << 20  # bytes of blocks in one transaction, about: few bytes on the wire may be many

_PATIENCE = 0.5  # s between two looks at whether to stop
_SUSPECT = 5  # times that a group is tried as a whole


class Hub:
    """One hub; `start` returns at once. `stop` commits and acknowledges what has come, if that works now.

    `senders` have things in the database that are to go down.
    """

    def __init__(
        self,
        database: Database,
        broker: BrokerSettings,
        hub: HubSettings,
        registry: RegistrySettings,
        clock: Clock,
        senders: Sequence[Sender] = (),
    ) -> None:
        self.committed = 0  # messages, since the start
        self.away = False  # the database
        self._settings = hub
        self._store = Store(database, registry, clock, hub.dead_letter)
        self._inbox = Inbox(hub.waiting)
        self._connection = HubConnection(broker, hub, self._inbox, clock)
        self._outbox = Outbox(database, self._connection, senders, clock)
        self._backoff = Backoff(clock, first=0.1, most=10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub")

    def start(self) -> None:
        self._thread.start()
        self._connection.start()
        self._outbox.start()

    def stop(self) -> None:
        self._stop.set()
        self._inbox.close()
        self._thread.join()
        self._outbox.stop()
        self._connection.stop()

    @property
    def ready(self) -> bool:
        """It gets what gateways send, and the database takes it."""
        return self._connection.subscribed and not self.away and self._thread.is_alive()

    @property
    def detail(self) -> str:
        return "the database is away" if self.away else self._connection.detail

    @property
    def waiting(self) -> tuple[int, int]:
        """Messages and bytes in the inbox."""
        return len(self._inbox), self._inbox.size

    def _run(self) -> None:
        settings = self._settings
        while True:
            letters = self._inbox.take(settings.messages, settings.bytes, settings.wait, _PATIENCE)
            if not letters and self._stop.is_set():
                return
            try:
                for group in _groups(letters):
                    self._commit(group)
            except Exception:  # of this program; what is not acknowledged is sent again
                log.exception("a group of messages was left lying")

    def _commit(self, group: Sequence[Read]) -> None:
        """Commit `group`, however long the database is away; in parts if it cannot be committed as a whole."""
        failures = 0
        while True:
            try:
                told = self._store.commit(group)
            except Exception as error:
                failures += 1
                if not is_away(error):
                    self._refused(group, error)
                    return
                if failures >= _SUSPECT and len(group) > 1:  # perhaps it takes too long
                    self._halves(group)
                    return
                if not self._wait(error):
                    return
            else:
                self._tell(group, told)
                return

    def _halves(self, group: Sequence[Read]) -> None:
        middle = len(group) // 2
        self._commit(group[:middle])
        self._commit(group[middle:])

    def _refused(self, group: Sequence[Read], error: Exception) -> None:
        """Something in `group` cannot be stored: find it, and put it away."""
        if len(group) > 1:
            self._halves(group)
            return
        [one] = group
        if one.dead is None:
            log.error("a message on %r cannot be stored: %s", one.letter.topic, error, exc_info=error)
            # What went wrong, without the values it went wrong with: they may be what the database does not take.
            self._commit([one._replace(message=None, status=None, dead=Dead("store", type(error).__name__))])
            return
        log.critical("a message on %r cannot even be put away: %s", one.letter.topic, error, exc_info=error)
        self._give_back(group)  # the gateway keeps it

    def _tell(self, group: Sequence[Read], told: Sequence[Told]) -> None:
        """After the commit, never before."""
        if self.away:
            log.info("the database is back")
        self.away = False
        self._backoff.worked()
        self.committed += len(group)
        acks = [(topics.down(each.site, each.gateway, "ack"), each.ack.pack()) for each in told]
        self._connection.publish(acks, self._receipts(group))

    def _give_back(self, group: Sequence[Read]) -> None:
        self._connection.publish([], self._receipts(group))

    def _receipts(self, group: Sequence[Read]) -> list[Receipt]:
        return [read.letter.receipt for read in group if read.letter.receipt is not None]

    def _wait(self, error: Exception) -> bool:
        """Before trying again; False when the hub is to stop. What is not committed is not acknowledged."""
        if not self.away:
            log.warning("the database is away, nothing is acknowledged: %s", getattr(error, "orig", error))
        self.away = True
        return not self._stop.wait(self._backoff.failed())


def _groups(letters: Sequence[Letter]) -> Iterator[list[Read]]:
    """All of `letters`, read, in groups that do not unpack to much more than `_UNPACKED` bytes."""
    group: list[Read] = []
    size = 0
    for letter in letters:
        one = read(letter)
        group.append(one)
        size += 0 if one.message is None else one.message.envelope.bytes or 0
        if size >= _UNPACKED:
            yield group
            group, size = [], 0
    if group:
        yield group
