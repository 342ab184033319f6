"""MQTT 5: readings of many machines as JSON or bare numbers, and waveforms; see `payload` for what is refused.

Besides those of `payload` and `waveform`, reasons are

    retained        the broker kept it, who knows since when
    bad_topic       a topic that no template reads, or that is not UTF-8
    bad_asset       an asset that is no identifier
    overflow        the gateway is behind, and the message was sent with QoS 0
    unexpected      an error of this program, which is logged

and `received`, `untimed` (no time in it: that of its receipt is taken), `redelivered` and `held` (the gateway was
behind, and the message, sent with QoS 1, waited) are counted too. A refused message is acknowledged: it never comes
again and never blocks what is behind it.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from edge_runtime.clock import Clock
from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between
from edge_runtime.errors import CommandError
from edge_runtime.sources.broker import BrokerSettings
from edge_runtime.sources.connection import DUP, RETAIN, Connection
from edge_runtime.sources.payload import Decode, Refusal, Rename, Times, TimeUnit, json_decoder, number_decoder
from edge_runtime.sources.receipts import Receipt
from edge_runtime.sources.source import Arrival, Finding, Inbox, SourceStatus, WaveformArrival
from edge_runtime.sources.template import Template

log = logging.getLogger(__name__)

_MOST_ROUTES = 50_000  # topics remembered; a class of machines has a few thousand
_SHOWN = 10  # refused messages kept for people to look at


@dataclass(frozen=True)
class MqttTopic:
    """Topics of one shape.

    `topic` has a level {asset}, unless all of it is about one `asset`. Format "json": one object of readings, or with a
    level {channel} (or a `channel`) an object with the reading under `value_key`; "value": a bare number. The time
    stands under `time_key`, as ISO 8601 text or a number in `time_unit`; readings may stand in an object of their own
    under `values_key`. `rename`: key → channel, scale, offset. `max_bytes` of a payload.
    """

    topic: str
    format: Literal["json", "value", "waveform"] = "json"
    asset: str | None = None
    channel: str | None = None
    time_key: str = "time"
    time_unit: TimeUnit = "ns"
    values_key: str | None = None
    value_key: str = "value"
    rename: Mapping[str, Rename] = field(default_factory=dict)
    retained: bool = False
    max_bytes: Annotated[int, Between(1, 32 << 20)] = 65_536

    def __post_init__(self) -> None:
        template = Template(self.topic)
        for name, given in (("asset", self.asset), ("channel", self.channel)):
            if template.has(name) and given is not None:
                raise ValueError(f"topic {self.topic!r} has {{{name}}}, and {name} = {given!r} is given: keep one")
        if not template.has("asset") and self.asset is None:
            raise ValueError(f"topic {self.topic!r} names no machine: put in a level {{asset}}, or write asset = …")
        if self.asset is not None and not is_identifier(self.asset):
            raise ValueError(f"asset = {self.asset!r}: expected 1 to 64 letters, digits, '_' or '-'")
        if self.format == "value" and not template.has("channel") and self.channel is None:
            raise ValueError(f"topic {self.topic!r} carries a bare number: put in a level {{channel}}, or channel = …")

    def decoder(self, channel: str | None) -> Decode:
        """For topics of this shape; those of one channel each read it from the topic."""
        if self.format == "value":
            return number_decoder(channel or "", self.rename)
        times = Times(self.time_unit)
        return json_decoder(self.time_key, times, self.values_key, self.value_key, channel, self.rename)


@dataclass(frozen=True, kw_only=True)
class MqttSettings(BrokerSettings):
    """`qos` asked of the broker for readings: with 0 it may drop what it cannot deliver at once."""

    topics: tuple[MqttTopic, ...]
    qos: Literal[0, 1] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.topics:
            raise ValueError('topics is empty: write topics = [{ topic = "plant/{asset}/readings" }]')


class _Route(NamedTuple):
    """What a topic means."""

    asset: str
    decode: Decode
    max_bytes: int
    retained: bool


class MqttSource:
    """One connection to a broker; its client id is the gateway's with the source's name."""

    def __init__(self, settings: MqttSettings, gateway: str, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._refused: deque[str] = deque(maxlen=_SHOWN)
        self._routes: dict[bytes, _Route] = {}
        self._templates = [(Template(topic.topic), topic) for topic in settings.topics]
        self._held: deque[Arrival | WaveformArrival] = deque()  # for want of room in the inbox
        self._done: list[Receipt] = []  # of refused messages
        self._heard = False
        self._last_arrival: int | None = None
        self._put: Callable[[Arrival | WaveformArrival], bool] = lambda _: False
        filters = dict.fromkeys(template.filter for template, _ in self._templates)
        self._connection = Connection(
            settings,
            f"{gateway}-{settings.name}",
            [(pattern, settings.qos) for pattern in filters],
            self._message,
            clock,
            on_round=self._round,
        )

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def subscribed(self) -> bool:
        """Whether the broker has granted all we asked for, on this connection."""
        return self._connection.subscribed

    @property
    def waiting(self) -> int:
        """Messages that the broker waits to hear of."""
        return self._connection.waiting

    def start(self, inbox: Inbox) -> None:
        self._put = inbox.put
        self._connection.start()

    def stop(self) -> None:
        self._connection.stop()

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        self._connection.acknowledge(receipts)

    def status(self) -> SourceStatus:
        connection = self._connection
        return SourceStatus(
            name=self.name,
            kind="mqtt",
            connected=connection.connected,
            detail=connection.detail,
            counts=self._counts + connection.counts,
            last_arrival=self._last_arrival,
            insecure=self.settings.weakness,
        )

    def check(self) -> list[Finding]:
        return []

    def write(self, asset: str, channel: str, value: float) -> float:  # noqa: ARG002
        raise CommandError(f"source '{self.name}' names no topic for commands")

    # In the connection's thread.

    def _message(self, flags: int, topic: bytes, _properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        self._counts["received"] += 1
        self._heard = True
        try:
            route = self._routes.get(topic) or self._find_route(topic)
            if flags & (RETAIN | DUP):
                if flags & RETAIN and not route.retained:
                    raise Refusal("retained")
                self._counts["redelivered"] += flags & DUP != 0
            if len(payload) > route.max_bytes:
                raise Refusal("too_large")
            time, values = route.decode(payload)
        except Refusal as refusal:
            self._refuse(refusal.reason, topic, payload, receipt)
        except Exception:
            log.exception("source %s: a message on %r could not be read", self.name, topic[:200])
            self._refuse("unexpected", topic, payload, receipt)
        else:
            if time is None:
                time = self._clock.utc()
                self._counts["untimed"] += 1
            arrival = Arrival(route.asset, time, values, self, receipt)
            if self._held or not self._put(arrival):
                self._hold(arrival)

    def _find_route(self, topic: bytes) -> _Route:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            raise Refusal("bad_topic") from None
        found = ((settings, template.match(text)) for template, settings in self._templates)
        settings, fields = next(((settings, fields) for settings, fields in found if fields is not None), (None, {}))
        if settings is None:
            raise Refusal("bad_topic")
        asset = settings.asset or fields["asset"]
        if not is_identifier(asset):
            raise Refusal("bad_asset")
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        decode = settings.decoder(settings.channel or fields.get("channel"))
        route = self._routes[topic] = _Route(asset, decode, settings.max_bytes, settings.retained)
        return route

    def _refuse(self, reason: str, topic: bytes, payload: bytes, receipt: Receipt | None) -> None:
        self._counts[reason] += 1
        self._refused.append(f"{reason}: {topic[:200].decode(errors='backslashreplace')}: {payload[:64]!r}")
        if receipt is not None:
            self._done.append(receipt)

    def _hold(self, arrival: Arrival | WaveformArrival) -> None:
        """The inbox is full. What the broker waits for may wait here: it sends no more than the receive maximum."""
        if arrival.receipt is None:
            self._counts["overflow"] += 1
        else:
            self._counts["held"] += 1
            self._held.append(arrival)

    def _round(self) -> bool:
        if self._heard:
            self._heard, self._last_arrival = False, self._clock.utc()
        while self._held and self._put(self._held[0]):
            self._held.popleft()
        if self._done:
            self._connection.acknowledge(self._done, ring=False)
            self._done = []
        return bool(self._held)
