"""How the hub reaches the broker, and how it gathers messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_runtime.decode import Between, Example
from edge_runtime.gateway.config import identifier
from edge_runtime.mqtt.broker import BrokerSettings as CommonBrokerSettings


@dataclass(frozen=True, kw_only=True)
class BrokerSettings(CommonBrokerSettings):
    """As of a gateway's source. `receive_maximum`: messages that may be on their way to us, not committed."""

    name: str = "broker"
    url: Annotated[str, Example('"mqtts://broker.example:8883"')]
    session_expiry: Annotated[int, Between(0, 2**32 - 1)] = 0  # what is not acknowledged, gateways send again
    receive_maximum: Annotated[int, Between(1, 65_535)] = 1000


@dataclass(frozen=True)
class HubSettings:
    """`name` is the client's id at the broker: one for each hub. Hubs of one `group` share the messages.

    A transaction is begun when so many `messages` or `bytes` have come, or `wait` seconds after the first of them.
    `waiting` bytes may wait in memory; then nothing more is read until some are committed. `dead_letter`: bytes of one
    that are kept.
    """

    name: Annotated[str, identifier] = "hub"
    group: Annotated[str, identifier] = "hub"
    site: str = "+"
    messages: Annotated[int, Between(1, 100_000)] = 500
    bytes: Annotated[int, Between(1024, 1 << 30)] = 8 << 20
    wait: Annotated[float, Between(0, 10)] = 0.1
    waiting: Annotated[int, Between(1 << 20, 1 << 34)] = 64 << 20
    dead_letter: Annotated[int, Between(0, 16 << 20)] = 1 << 20

    def __post_init__(self) -> None:
        if self.site != "+" and identifier(self.site):
            raise ValueError(f"site = {self.site!r}: expected {identifier(self.site)}, or '+' for all")
