"""The hub's connection to the broker: what comes goes into the inbox, what is committed goes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.clock import Clock
from edge_runtime.contract import topics
from edge_runtime.contract.message import JSON
from edge_runtime.mqtt.connection import Connection
from edge_runtime.mqtt.receipts import Receipt
from serving.hub.inbox import Inbox
from serving.hub.reading import Letter, content_type
from serving.hub.settings import BrokerSettings, HubSettings


class HubConnection:
    """Reads the messages of all gateways as one of a group, each of their statuses, and publishes acknowledgements.

    While the inbox is full nothing is read, and what the broker sends waits there.
    """

    def __init__(self, broker: BrokerSettings, hub: HubSettings, inbox: Inbox, clock: Clock) -> None:
        upward, status = topics.upward(hub.site)
        self._inbox = inbox
        self._out: deque[tuple[str, bytes]] = deque()
        self._connection = Connection(
            broker,
            hub.name,
            [(f"$share/{hub.group}/{upward}", 1), (status, 1)],
            self._message,
            clock,
            on_round=self._round,
            on_connected=lambda _: self._out.clear(),  # gateways that wait are told again when they say that they live
            clean=broker.session_expiry == 0,
        )

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

    def _message(self, _first: int, topic: bytes, properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        self._inbox.put(Letter(topic, content_type(properties), payload, receipt))

    def _round(self) -> bool:
        while self._out and self._connection.connected:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = JSON
            topic, payload = self._out.popleft()
            self._connection.publish(topic, payload, 1, properties=properties)
        return self._inbox.full
