"""The connection to the centre's broker: what the sources' has, and publishing that is confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_runtime.clock import Clock
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.mqtt.connection import Connection, OnMessage, Will
from edge_runtime.mqtt.wire import WireClient

_PAHO_OWN = 2  # packets kept free for what is not sent from the spool
_MOST = 65_535


class CentreConnection(Connection):
    """`on_confirmed(packet id, reason code)` follows each PUBACK, `on_lost` each end of a connection or attempt."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        pattern: str,
        on_message: OnMessage,
        clock: Clock,
        *,
        on_round: Callable[[], bool],
        on_connected: Callable[[], None],
        on_confirmed: Callable[[int, int], None],
        on_lost: Callable[[], None],
        will: Callable[[], Will],
    ) -> None:
        super().__init__(
            settings,
            client_id,
            [(pattern, 1)],
            on_message,
            clock,
            on_round=on_round,
            on_connected=lambda _: on_connected(),
            will=will,
            clean=settings.session_expiry == 0,
        )
        self._on_confirmed, self._on_lost = on_confirmed, on_lost

    @property
    def maximum_packet(self) -> int:
        """Bytes, as far as the broker says."""
        return int(self.server.get("MaximumPacketSize", 256 << 20))

    @property
    def publish_maximum(self) -> int:
        """How many messages may wait for the broker's confirmation."""
        return max(1, int(self.server.get("ReceiveMaximum", _MOST)) - _PAHO_OWN)

    def post(self, topic: str, content: str, payload: bytes, *, retain: bool = False) -> int | None:
        """Publish with QoS 1, in the connection's own thread; the packet id, None if there is no connection."""
        if self._client is None or not self.connected:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = content
        info = self._client.publish(topic, payload, 1, retain, properties)
        return info.mid if info.rc == 0 else None

    def wake(self) -> None:
        """Go round now; any thread."""
        self._ring()

    def _make_client(self) -> WireClient:
        client = super()._make_client()
        client.on_publish = self._published
        client.max_inflight_messages_set(0)  # no limit of paho's own: it would queue what we count as sent
        return client

    def _published(self, _client: Any, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._on_confirmed(mid, reason.value)

    def _close(self) -> None:
        super()._close()
        self._on_lost()
