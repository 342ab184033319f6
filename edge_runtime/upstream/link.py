"""The link to the centre over MQTT 5: alarms first, live data before a backlog, everything until it is acknowledged."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract import bodies, topics
from edge_runtime.contract.acks import parse_ack
from edge_runtime.contract.message import JSON, Lane, Outgoing, Spooled
from edge_runtime.contract.request import Request, parse_request
from edge_runtime.errors import JournalError, WireError
from edge_runtime.gateway.status import LinkStatus, StreamStatus
from edge_runtime.mqtt.connection import RETAIN, Will
from edge_runtime.upstream.centre import CentreConnection
from edge_runtime.upstream.dead_letters import DeadLetters
from edge_runtime.upstream.health import SECOND, Health
from edge_runtime.upstream.pump import REFUSED, Outbox, Pump
from edge_runtime.upstream.settings import LinkSettings as LinkSettings

log = logging.getLogger(__name__)

GOODBYE = 1.0  # s that a last message may take
REMEMBERED = 600 * SECOND  # for so long `detail` tells that the broker refused something


class Link:
    """Keeps a connection to the centre for ever, and empties the spool into it.

    `committed` is for the journal to call; `healthy` says whether what is made now can go up now. `describe(state)`
    makes what stands, retained, as the gateway's status: "online" on connecting and with each heartbeat, "offline" at
    the end; the last will says that too. `on_command(payload, retained)`, `on_assignment` (the same) and `on_request`
    get what the centre asks for, in the link's thread: they must be quick. `respool` commits messages in place of one
    that is too large; False if it cannot now.
    """

    def __init__(
        self,
        settings: LinkSettings,
        site: str,
        gateway: str,
        epoch: int,
        outbox: Outbox,
        clock: Clock,
        dead_letters: Path,
        *,
        describe: Callable[[str], bodies.Status] | None = None,
        respool: Callable[[list[Outgoing]], bool] = lambda _: False,
        on_command: Callable[[bytes, bool], None] | None = None,
        on_request: Callable[[Request], None] | None = None,
        on_assignment: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._clock, self._describe = clock, describe or self._own_status
        self._gateway, self._epoch = gateway, epoch
        self._status_topic = topics.status(site, gateway)
        self._on_command, self._on_request, self._on_assignment = on_command, on_request, on_assignment
        self._dead_letters = DeadLetters(dead_letters, clock)
        self._health = Health(int(settings.live_within * SECOND))
        self._health_lock = threading.Lock()
        self._waiting: tuple[int, int | None, int | None] = (0, None, None)  # as `Health.look` wants it
        self._heartbeat = 0  # when the next one is due, monotonic nanos
        self._status_mids: set[int] = set()
        self._leaving = self._left = False
        self._said_goodbye = threading.Event()
        self._last_ack: int | None = None
        self._refusal = 0, 0  # when the broker refused something, monotonic nanos, and why
        self._nobody = False  # it refused even our status
        self._connection = CentreConnection(
            settings,
            gateway,
            topics.downward(site, gateway),
            self._message,
            clock,
            on_round=self._round,
            on_connected=self._connected,
            on_confirmed=self._confirmed,
            on_lost=self._lost,
            will=self._will,
        )
        self._pump = Pump(
            site,
            gateway,
            epoch,
            outbox,
            clock,
            self._dead_letters,
            self._connection.post,
            respool,
            bounds=settings.bounds,
            by_broker=settings.delivery == "broker",
        )

    # For other threads.

    def start(self) -> None:
        self._connection.start()

    def stop(self) -> None:
        """Say that the gateway goes offline, and disconnect; takes a second or two, if there is a connection."""
        self._leaving = True
        if self._connection.connected:
            self._connection.wake()
            self._said_goodbye.wait(GOODBYE)
        self._connection.stop()
        self._dead_letters.close()

    def committed(self, messages: Sequence[Spooled]) -> None:
        """`messages` are in the spool: they go at once if the link keeps up."""
        self._pump.committed(messages)
        self._connection.wake()

    @property
    def healthy(self) -> bool:
        with self._health_lock:
            before = self._health.healthy
            works = self._connection.connected and not self._nobody
            now = self._health.look(self._clock.monotonic(), works, *self._waiting)
        if now != before:
            self._tell_health(now)
        return now

    def _tell_health(self, healthy: bool) -> None:
        unheard = self._last_ack is None and self.settings.delivery == "hub"
        if not healthy:
            why = "no hub has acknowledged anything yet" if unheard else "what is sent is not acknowledged in time"
            why = why if self._connection.connected and not self._nobody else self._detail()
            log.log(
                logging.INFO if self._leaving else logging.WARNING,
                "the link to the centre is not healthy, a backlog gathers: %s",
                why,
            )
        elif unheard:
            log.info("the link to the centre is up; no hub has acknowledged anything yet")
        else:
            log.info("the link to the centre is healthy")

    @property
    def maximum_packet(self) -> int:
        """Bytes that a packet may have, as far as is known now."""
        return min(self.settings.maximum_packet, self._connection.maximum_packet)

    @property
    def dead_letters(self) -> int:
        """Messages given up since the start."""
        return self._pump.counts["dead_letters"]

    def status(self) -> LinkStatus:
        pump, connection = self._pump, self._connection
        streams = sorted(dict(pump.streams).items())
        return LinkStatus(
            url=self.settings.url,
            connected=connection.connected,
            healthy=self.healthy,
            detail=self._detail(),
            delivery=self.settings.delivery,
            last_ack=self._last_ack,
            sent=pump.counts["sent"],
            resent=pump.counts["repeated"],
            connects=connection.counts["connects"],
            streams=tuple(StreamStatus(kind, *numbers) for kind, numbers in streams),
            insecure=self.settings.weakness,
        )

    def tally(self) -> dict[str, int]:
        """Everything counted, by name."""
        return {**self.counts, **self._pump.counts}

    def _detail(self) -> str:
        when, reason = self._refusal
        if reason and self._clock.monotonic() - when < REMEMBERED:
            return self._why_refused(reason)
        return self._connection.detail

    def _why_refused(self, reason: int) -> str:
        what = "even the gateway's status" if self._nobody else "some of what is published"
        whose = (
            f", and that the certificate's common name is '{self._gateway}'" if self.settings.tls.certificate else ""
        )
        return f"the broker refuses {what} (reason {reason:#04x}): check its access list{whose}"

    # The connection's thread.

    def _connected(self) -> None:
        self._status_mids.clear()
        self._pump.connected(self.maximum_packet, self._connection.publish_maximum)
        self._heartbeat = self._clock.monotonic()

    def _lost(self) -> None:
        self._pump.disconnected()

    def _round(self) -> bool:
        pump = self._pump
        if self._connection.connected:
            self._beat()
        try:
            pump.work()
        except JournalError as error:
            self.counts["spool_unreadable"] += 1
            log.warning("the spool cannot be read: %s; trying again", error)
        self._waiting = pump.outstanding, pump.last_delivery, pump.oldest(Lane.LIVE)
        return False

    def _beat(self) -> None:
        """Publish the status when that is due."""
        now = self._clock.monotonic()
        if self._left or (now < self._heartbeat and not self._leaving):
            return
        self._heartbeat = now + int(self.settings.heartbeat_every * SECOND)
        self._left = self._leaving
        payload = self._status("offline" if self._leaving else "online")
        mid = self._connection.post(self._status_topic, JSON, payload, retain=True)
        if mid is not None:
            self._status_mids.add(mid)

    def _status(self, state: str) -> bytes:
        try:
            return bodies.pack(self._describe(state))
        except Exception:
            self.counts["status_failed"] += 1
            log.exception("the gateway's status could not be made")
            return bodies.pack(self._own_status(state))

    def _own_status(self, state: str) -> bodies.Status:
        return bodies.Status(state, self._gateway, self._epoch, self._clock.utc())

    def _will(self) -> Will:
        return self._status_topic, bodies.pack(self._own_status("offline")), 1, True

    def _confirmed(self, mid: int, reason: int) -> None:
        if mid in self._status_mids:
            self._nobody = reason >= REFUSED
        if reason >= REFUSED:
            self._refused(reason)
        if mid not in self._status_mids:
            self._pump.confirmed(mid, reason)
            if reason == 0 and self.settings.delivery == "broker":
                self._last_ack = self._clock.utc()
            return
        self._status_mids.discard(mid)
        self._pump.proven()
        if self._leaving and not self._status_mids:
            self._said_goodbye.set()

    def _refused(self, reason: int) -> None:
        """Some brokers hang up after a refusal, and so would have it logged again and again."""
        now, (last, before) = self._clock.monotonic(), self._refusal
        self._refusal = now, reason
        if not before or now - last > REMEMBERED:
            log.warning("the link to the centre: %s", self._why_refused(reason))

    def _message(self, first: int, topic: bytes, _properties: bytes, payload: bytes, receipt: Any) -> None:
        """What the centre sends; nothing that arrives makes this raise."""
        kind = "other"
        try:
            kind = topics.parse(topic.decode("utf-8", "replace")).kind
            self.counts[f"down_{kind}"] += 1
            self._take(kind, payload, bool(first & RETAIN))
        except WireError as error:
            self.counts[f"refused_{kind}_{error.reason}"] += 1
        except Exception:
            self.counts[f"failed_{kind}"] += 1
            log.exception("a message of the centre (%s) could not be handled", kind)
        if receipt is not None:
            self._connection.acknowledge([receipt], ring=False)

    def _take(self, kind: str, payload: bytes, retained: bool) -> None:
        if kind == "ack":
            if self.settings.delivery == "hub":
                self._pump.acknowledged(parse_ack(payload))
                self._last_ack = self._clock.utc()
        elif kind == "command" and self._on_command is not None:
            self._on_command(payload, retained)
        elif kind == "assignment" and self._on_assignment is not None:
            self._on_assignment(payload, retained)
        elif kind == "request" and self._on_request is not None:
            self._on_request(parse_request(payload))
