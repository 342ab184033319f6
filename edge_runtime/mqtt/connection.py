"""One MQTT 5 connection, held for ever by a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_runtime.clock import Clock
from edge_runtime.errors import ConfigError, EdgeError, SourceError
from edge_runtime.mqtt.broker import BrokerSettings, explain, no_answer, no_tls, refusal
from edge_runtime.mqtt.receipts import Receipt, Receipts, pubacks
from edge_runtime.mqtt.wire import Wire, WireClient
from edge_runtime.sources.backoff import Backoff

log = logging.getLogger(__name__)

MAXIMUM_PACKET = 32 << 20  # bytes: what we tell the broker not to exceed
TIMEOUT = 10.0  # s, each for TCP with TLS, and for the broker's answer
REFUSED = 30.0  # s before the next attempt when the broker does not want us
RETAIN, DUP = 1, 8  # bits of the flags
_MOST_UNSENT = 1 << 20  # bytes
_PINGREQ = b"\xc0\0"

# flags (the first byte of the packet), topic, encoded properties, payload, receipt (None for QoS 0)
OnMessage = Callable[[int, bytes, bytes, bytes, "Receipt | None"], None]
Will = tuple[str, bytes, int, bool]  # topic, payload, QoS, retain


class Connection:
    """Connects, subscribes, reconnects for ever, and gives what comes to `on_message`, in its own thread.

    `subscriptions`: (filter, QoS). `on_round` is called after each round of work and says whether we are behind.
    `will` is asked for the last will before each attempt, `farewell` for what to publish instead before an orderly end.
    `on_connected(session_present)` follows each success.
    `on_puback` gets the packet ids of what went out by `send` and is acknowledged; `publish` with QoS 1 does not go
    with it. `clean`: the broker shall know nothing of us, and forget us at the end.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        subscriptions: Sequence[tuple[str, int]],
        on_message: OnMessage,
        clock: Clock,
        *,
        on_round: Callable[[], bool] = lambda: False,
        on_connected: Callable[[bool], None] = lambda _: None,
        will: Callable[[], Will] | None = None,
        farewell: Callable[[], Will] | None = None,
        on_puback: Callable[[int], None] | None = None,
        clean: bool = False,
    ) -> None:
        self.settings, self.client_id = settings, client_id
        self.connected = False
        self.detail = "not started"
        self.server: dict[str, Any] = {}  # what the broker said about itself when it took us in
        self.granted: dict[str, str] = {}  # filter → what the broker said to it
        self.counts: Counter[str] = Counter()
        self._subscriptions, self._on_message, self._clock = tuple(subscriptions), on_message, clock
        self._on_round, self._on_connected, self._will, self._clean = on_round, on_connected, will, clean
        self._farewell, self._on_puback = farewell, on_puback
        self._receipts = Receipts()
        self._committed: deque[Sequence[Receipt]] = deque()
        self._packets: deque[bytes] = deque()  # to be sent past paho
        self._client: WireClient | None = None
        self._asked: dict[int, str] = {}  # packet id of a SUBSCRIBE → its filter
        self._refused = self._was_connected = self._taken_over = False  # in this session
        self._short = 0  # sessions in a row that ended soon
        self._backoff = Backoff(clock)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ear: socket.socket | None = None  # the thread listens; whoever rings the bell wakes it
        self._bell: socket.socket | None = None

    # For other threads.

    def start(self) -> None:
        self._stop.clear()
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self.client_id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Disconnect; `on_message` is not called any more when this returns, after `TIMEOUT` at most."""
        self._stop.set()
        self._ring()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for end in (self._ear, self._bell):
            if end is not None:
                end.close()
        self._ear = self._bell = None
        self.detail = "stopped"

    def acknowledge(self, receipts: Sequence[Receipt], ring: bool = True) -> None:
        """These are committed: the broker may forget them. No need to `ring` in the connection's own thread."""
        if not self._stop.is_set():
            self._committed.append(receipts)
            if ring:
                self._ring()

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, properties: Properties | None = None
    ) -> bool:
        """Send once; False if there is no connection."""
        client = self._client
        if client is None or not self.connected:
            return False
        client.publish(topic, payload, qos, retain, properties)
        self._ring()  # paho does so only if it thinks that nobody is about to write
        return True

    def send(self, packets: bytes) -> None:
        """Whole packets, past paho, which takes 50 µs for each; dropped if there is no connection."""
        self._packets.append(packets)
        self._ring()

    @property
    def subscribed(self) -> bool:
        """Whether the broker has answered, on this connection, to all that we want to read."""
        return self.connected and len(self.granted) == len(self._subscriptions)

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged."""
        return len(self._receipts)

    def _ring(self) -> None:
        bell = self._bell
        if bell is not None:
            with contextlib.suppress(OSError):  # closed, or it has been rung often enough
                bell.send(b"!")

    # The thread.

    def _run(self) -> None:
        while not self._stop.is_set():
            self._refused = self._was_connected = self._taken_over = False
            begun = time.monotonic()
            try:
                self._session()
            except (OSError, EdgeError, ValueError) as error:
                self.detail = explain(error, self.settings)
                self._refused = isinstance(error, ConfigError | ssl.SSLCertVerificationError)
            except Exception:
                log.exception("%s: ended by an error of this program", self.client_id)
                self.detail = "ended by an error of this program, see the log"
            finally:
                self._close()
            if self._stop.is_set():
                return
            self._notice_a_double(time.monotonic() - begun)
            log.warning("%s: not connected: %s", self.client_id, self.detail)
            self.counts["disconnects"] += 1
            wait = self._backoff.failed()
            self._stop.wait(max(wait, REFUSED) if self._refused else wait)

    def _notice_a_double(self, lasted: float) -> None:
        """Two clients of one id throw each other out; most brokers do not say that this is why.

        Mosquitto 2.0.11 also hangs up after it has refused a retained message.
        """
        self._short = self._short + 1 if self._was_connected and lasted < 5 else 0
        if self._short >= 3 or self._taken_over:
            self.detail += (
                f"; perhaps another client calls itself '{self.client_id}': a gateway's id must be unique; or the "
                "broker hangs up when its access list forbids something"
            )

    def _session(self) -> None:
        """One connection, from its beginning to its end."""
        _, host, port = self.settings.address
        self.detail = f"connecting to {host}:{port}"
        self._receipts = Receipts()
        self._packets.clear()
        client = self._make_client()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0 if self._clean else self.settings.session_expiry
        properties.ReceiveMaximum = self.settings.receive_maximum
        properties.MaximumPacketSize = MAXIMUM_PACKET
        self._client = client
        try:
            client.connect(host, port, self.settings.keepalive, clean_start=self._clean, properties=properties)
        except (ConnectionResetError, ssl.SSLEOFError) as error:
            if self.settings.encrypted:
                raise SourceError(no_tls(self.settings, error)) from error
            raise
        except ssl.SSLError as error:
            if error.reason == "WRONG_VERSION_NUMBER":  # what came is no TLS
                raise SourceError(no_tls(self.settings, error)) from error
            raise
        if client.wire is None:
            self._serve_slowly(client)
            return
        self._serve(client, client.wire)
        if self._refused:
            return
        if not self._was_connected:
            raise SourceError(no_answer(self.settings, client.wire.ended))
        if client.wire.ended is not None:
            raise client.wire.ended

    def _make_client(self) -> WireClient:
        settings = self.settings
        client = WireClient(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=MQTTv5, reconnect_on_failure=False, manual_ack=True
        )
        client.deliver, client.address, client.acked = self._deliver, settings.address[1:], self._on_puback
        client.connect_timeout = TIMEOUT
        client.on_connect = self._answered
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._message_by_paho
        # Else paho would send at once, in whatever thread publishes.
        client.on_socket_register_write = lambda *_: self._ring()
        if settings.encrypted:
            client.context = settings.tls.context()
            client.tls_set_context(client.context)
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password())
        if self._will is not None:
            topic, payload, qos, retain = self._will()
            client.will_set(topic, payload, qos, retain)
        return client

    def _serve(self, client: WireClient, wire: Wire) -> None:
        poll, quiet, fd, ear = select.poll(), select.poll(), wire.fileno(), self._ear
        assert ear is not None
        poll.register(fd, select.POLLIN)
        for each in (poll, quiet):
            each.register(ear.fileno(), select.POLLIN)
        more = behind = blocked = False
        begun = chores = time.monotonic()
        while True:
            # While we are behind, nothing is read: what the broker sends waits in the network, and then with it.
            paused = behind and self.connected
            ready = [number for number, _ in (quiet.poll(5) if paused else poll.poll(0 if more else 1000))]
            if ear.fileno() in ready:
                ear.recv(4096)
            if (more or fd in ready) and not paused:
                more = wire.fill()
            while wire.for_paho:
                if client.loop_read() or client.socket() is None:
                    return
            behind = self._on_round()
            self._acknowledge(client)
            while self._packets and self.connected and wire.unsent < _MOST_UNSENT:
                wire.send(self._packets.popleft())
            if self._stop.is_set():
                self._say_goodbye(client)
                return
            if client.want_write():
                client.loop_write()
            if wire.unsent and wire.flush() == blocked:
                blocked = not blocked
                poll.modify(fd, select.POLLIN | (select.POLLOUT if blocked else 0))
            now = time.monotonic()
            if paused and now - chores > self.settings.keepalive / 2:
                chores = now
                wire.send(_PINGREQ)  # paho would miss the answer, and give up the connection
            elif not paused and now - chores > 1:
                chores = now
                client.loop_misc()  # keeps the connection alive, and ends it when the broker is silent
                if client.socket() is None:
                    return
                if not self.connected and now - begun > TIMEOUT:
                    raise TimeoutError

    def _serve_slowly(self, client: WireClient) -> None:
        """The same through paho alone, should a later version not let us read for it."""
        if self._on_puback is not None:
            raise SourceError("publishing needs paho-mqtt 2.1 or 2.2: pip install 'paho-mqtt<2.3'")
        begun = time.monotonic()
        while client.socket() is not None:
            client.loop(0.01)
            while self._on_round() and self.connected and not self._stop.is_set():
                time.sleep(0.005)
                self._acknowledge(client)
            self._acknowledge(client)
            if self._stop.is_set():
                self._say_goodbye(client)
                return
            if not self.connected and time.monotonic() - begun > TIMEOUT:
                raise TimeoutError

    def _acknowledge(self, client: WireClient) -> None:
        for _ in range(len(self._committed)):
            mids = self._receipts.acknowledge(self._committed.popleft())
            if client.wire is not None:
                client.wire.send(pubacks(mids))  # paho would send each by itself, for 10 µs
            else:
                for mid in mids:
                    client.ack(mid, 1)

    def _say_goodbye(self, client: WireClient) -> None:
        """The broker keeps the session, unless `clean`."""
        if self._farewell is not None and self.connected:
            client.publish(*self._farewell())
        client.disconnect()
        client.loop_write()

    def _close(self) -> None:
        self.connected, client, self._client = False, self._client, None
        self.granted = {}
        if client is not None and client.wire is not None:
            client.wire.close()

    # What wire and paho call, in the same thread.

    def _deliver(self, first: int, topic: bytes, mid: int, properties: bytes, payload: bytes) -> None:
        self._on_message(first, topic, properties, payload, self._receipts.add(mid) if first & 6 else None)

    def _message_by_paho(self, _client: Any, _userdata: Any, message: MQTTMessage) -> None:
        first = 0x30 | message.dup << 3 | message.qos << 1 | message.retain
        packed = b"\0" if message.properties is None else message.properties.pack()  # type: ignore[no-untyped-call]
        at = next(i for i, byte in enumerate(packed) if byte < 128) + 1  # after their length
        self._deliver(first, message.topic.encode(), message.mid, packed[at:], bytes(message.payload))

    def _answered(
        self, client: Any, _userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused, self.detail = True, refusal(str(reason), self.settings)
            return
        self.connected, self._was_connected, self.detail = True, True, "connected"
        self.counts["connects"] += 1
        self._backoff.worked()
        self.server = {} if properties is None else properties.json()  # type: ignore[no-untyped-call]
        self.granted, self._asked = {}, {}
        for pattern, qos in self._subscriptions:
            # Retained messages are sent only when we subscribe for the first time: they are old.
            options = SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            _, mid = client.subscribe(pattern, options=options)
            self._asked[mid] = pattern
        log.info("%s: connected to %s", self.client_id, self.settings.url)
        self._on_connected(flags.session_present)

    def _subscribed(self, _client: Any, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        pattern = self._asked.pop(mid, "")
        for reason in reasons:
            self.granted[pattern] = str(reason)
            if reason.is_failure:
                self.detail = f"the broker does not let us read '{pattern}' ({reason}): check its access list"
                log.warning("%s: %s", self.client_id, self.detail)

    def _disconnected(self, _client: Any, _userdata: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if self._stop.is_set() or self._refused:
            return
        told = flags.is_disconnect_packet_from_server
        self.detail = f"the broker ended the connection: {reason}" if told else "the connection was lost"
        self._taken_over = told and str(reason) == "Session taken over"
