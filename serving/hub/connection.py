"""The hub's connection to the broker: what comes goes into the inbox, what is committed or due goes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_runtime.clock import Clock
from edge_runtime.contract import topics
from edge_runtime.contract.message import JSON
from edge_runtime.mqtt.connection import Connection
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.mqtt.wire import WireClient
from serving.hub.inbox import Inbox
from serving.hub.outbox import Parcel, Told
from serving.hub.reading import Letter, content_type
from serving.hub.settings import BrokerSettings, HubSettings

LOST = "the connection to the broker was lost"


class HubConnection:
    """Reads the messages of all gateways as one of a group, each of their statuses; publishes acknowledgements, and
    what is `post`ed.

    While the inbox is full nothing is read, and what the broker sends waits there.
    """

    def __init__(self, broker: BrokerSettings, hub: HubSettings, inbox: Inbox, clock: Clock) -> None:
        upward, status = topics.upward(hub.site)
        self._inbox = inbox
        self._out: deque[tuple[str, bytes]] = deque()
        self._parcels: deque[tuple[Parcel, Told]] = deque()
        self._posted: dict[int, tuple[Parcel, Told]] = {}  # packet id → not confirmed; of the connection's thread
        self._connection = _Connection(
            broker,
            hub.name,
            [(f"$share/{hub.group}/{upward}", 1), (status, 1)],
            self._message,
            clock,
            on_round=self._round,
            on_connected=lambda _: self._out.clear(),  # gateways that wait are told again when they say that they live
            clean=broker.session_expiry == 0,
        )
        self._connection.on_confirmed, self._connection.on_lost = self._confirmed, self._lost

    @property
    def connected(self) -> bool:
        return self._connection.connected

    @property
    def subscribed(self) -> bool:
        return self._connection.subscribed

    @property
    def detail(self) -> str:
        """What is wrong with it, if something is."""
        return self._connection.detail

    def start(self) -> None:
        self._connection.start()

    def stop(self) -> None:
        self._connection.stop()

    def publish(self, messages: Sequence[tuple[str, bytes]], receipts: Sequence[Receipt]) -> None:
        """Send (topic, payload), and tell the broker that `receipts` are committed; any thread."""
        self._out.extend(messages)
        self._connection.acknowledge(receipts)

    def post(self, parcels: Sequence[Parcel], told: Told) -> None:
        """Publish with QoS 1; `told` hears of each once, in the connection's thread; any thread."""
        self._parcels.extend((parcel, told) for parcel in parcels)
        self._connection.acknowledge(())  # goes round now

    def _message(self, _first: int, topic: bytes, properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        self._inbox.put(Letter(topic, content_type(properties), payload, receipt))

    def _round(self) -> bool:
        while self._out and self._connection.connected:
            topic, payload = self._out.popleft()
            self._connection.publish(topic, payload, 1, properties=_properties())
        while self._parcels and self._connection.connected:
            parcel, told = self._parcels.popleft()
            packet = self._connection.post(parcel)
            if packet is None:
                told(parcel, LOST)
            else:
                self._posted[packet] = parcel, told
        return self._inbox.full

    def _confirmed(self, packet: int, reason: ReasonCode) -> None:
        parcel, told = self._posted.pop(packet, (None, None))
        if parcel is not None and told is not None:
            told(parcel, f"the broker refused it: {reason}" if reason.is_failure else None)

    def _lost(self) -> None:
        """What is not confirmed: the broker may have it or not."""
        waiting = [*self._posted.values()]
        self._posted.clear()
        waiting += [self._parcels.popleft() for _ in range(len(self._parcels))]
        for parcel, told in waiting:
            told(parcel, LOST)


class _Connection(Connection):
    """Tells of each PUBACK, and of each end of a connection."""

    on_confirmed: Callable[[int, ReasonCode], None]
    on_lost: Callable[[], None]

    def post(self, parcel: Parcel) -> int | None:
        """The packet id; None if there is no connection. In the connection's own thread."""
        if self._client is None or not self.connected:
            return None
        info = self._client.publish(parcel.topic, parcel.payload, 1, parcel.retain, _properties(parcel.expiry))
        return info.mid if info.rc == 0 else None

    def _make_client(self) -> WireClient:
        client = super()._make_client()
        client.on_publish = self._published
        return client

    def _published(self, _client: Any, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self.on_confirmed(mid, reason)

    def _close(self) -> None:
        super()._close()
        self.on_lost()


def _properties(expiry: int | None = None) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = JSON
    if expiry is not None:
        properties.MessageExpiryInterval = expiry
    return properties
