"""MQTT 5: readings of many machines as JSON or bare numbers, and waveforms.

What cannot be used is refused, counted by reason, and acknowledged: it never comes again and never blocks what is
behind it. Besides the reasons of `payload` and `waveform` there are

    retained        the broker kept it, who knows since when
    bad_topic       a topic that no template reads, or that is not UTF-8
    bad_asset       an asset that is no identifier
    overflow        the gateway was behind, and the message had come with QoS 0
    unexpected      an error of this program, which is logged

Counted without being refused: `received`; `untimed`, no time in it, so that of its receipt is taken (and another one
when it comes again, so that it is not known as the same); `redelivered`; `held`, the gateway was behind, and the
message, of QoS 1, waited; `connects` and `disconnects`.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from edge_runtime.clock import Clock
from edge_runtime.decode import Example
from edge_runtime.errors import CommandError
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.sources.mqtt.check import check_readers
from edge_runtime.sources.mqtt.reader import Reader
from edge_runtime.sources.mqtt.setpoint import MqttCommand, write_setpoint
from edge_runtime.sources.mqtt.template import Template
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.source import Finding, Inbox, SourceStatus


@dataclass(frozen=True, kw_only=True)
class MqttSettings(BrokerSettings):
    """`qos` asked of the broker: with 0 it drops what it cannot deliver at once. `command`: how set-points are sent."""

    topics: Annotated[tuple[MqttTopic, ...], Example('[{ topic = "plant/{asset}/readings" }]')]
    qos: Literal[0, 1] = 1
    command: MqttCommand | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.topics:
            raise ValueError('topics is empty: write topics = [{ topic = "plant/{asset}/readings" }]')


class MqttSource:
    """Client ids are the gateway's id with the source's name.

    Waveforms have a connection of their own: they are committed with the observation that takes them in, up to minutes
    later, and messages of one connection are acknowledged in their order.
    """

    def __init__(self, settings: MqttSettings, gateway: str, clock: Clock) -> None:
        self.settings, self._gateway, self._clock = settings, gateway, clock
        self._readers = self._make_readers()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def subscribed(self) -> bool:
        """Whether the broker has answered to all that we want to read."""
        return all(reader.connection.subscribed for reader in self._readers)

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged."""
        return sum(reader.connection.waiting for reader in self._readers)

    def start(self, inbox: Inbox) -> None:
        for reader in self._readers:
            reader.start(inbox)

    def stop(self) -> None:
        for reader in self._readers:
            reader.connection.stop()

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        for reader in self._readers:  # each knows its own
            reader.connection.acknowledge(receipts)

    def status(self) -> SourceStatus:
        connections = [reader.connection for reader in self._readers]
        counts: Counter[str] = Counter()
        for reader in self._readers:
            counts.update(reader.counts.copy())  # copied in one go: their threads go on counting
            counts.update(reader.connection.counts.copy())
        return SourceStatus(
            name=self.name,
            kind="mqtt",
            connected=all(connection.connected for connection in connections),
            detail="; ".join(dict.fromkeys(connection.detail for connection in connections)),
            counts=counts,
            last_arrival=max((t for reader in self._readers if (t := reader.last_arrival) is not None), default=None),
            insecure=self.settings.weakness,
            refused=tuple(itertools.chain(*(tuple(reader.refused) for reader in self._readers))),
        )

    def write(self, asset: str, channel: str, value: float) -> float:
        if self.settings.command is None:
            raise CommandError(f"source '{self.name}' has no command: name a topic for set-points in gateway.toml")
        return write_setpoint(self._readers[0], self.settings.command, asset, channel, value)

    def check(self) -> list[Finding]:
        trials = [
            (topic, self._reader(f"check-{os.getpid()}-{i}", [topic], clean=True))
            for i, topic in enumerate(self.settings.topics)
        ]
        return check_readers(self.settings, self.settings.qos, trials)

    def _make_readers(self) -> list[Reader]:
        topics = self.settings.topics
        readings = [topic for topic in topics if topic.format != "waveform"]
        waveforms = [topic for topic in topics if topic.format == "waveform"]
        answers = self.settings.command.answers if self.settings.command is not None else ()
        readers = []
        if readings or answers:
            readers.append(self._reader("", readings, answers, waveforms))
        if waveforms:
            readers.append(self._reader("waveforms", waveforms, others=readings))
        return readers

    def _reader(
        self,
        suffix: str,
        topics: Sequence[MqttTopic],
        answers: Sequence[Template] = (),
        others: Sequence[MqttTopic] = (),
        clean: bool = False,
    ) -> Reader:
        client_id, qos = "-".join(filter(None, [self._gateway, self.name, suffix])), self.settings.qos
        return Reader(
            self, self.settings, client_id, topics, self._clock, others=others, answers=answers, qos=qos, clean=clean
        )
