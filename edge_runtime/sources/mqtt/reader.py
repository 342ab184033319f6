"""What comes over one MQTT connection, into the gateway's inbox."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_runtime.clock import Clock
from edge_runtime.contract.names import is_identifier
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.mqtt.connection import DUP, RETAIN, Connection
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.sources.mqtt.payload import Decode, Refusal, Times
from edge_runtime.sources.mqtt.template import Template, widest
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.mqtt.waveform import Header, Parts, name_channel, read_header, samples_of
from edge_runtime.sources.source import Arrival, Inbox, Source, WaveformArrival

log = logging.getLogger(__name__)

_MOST_ROUTES = 50_000  # topics remembered; the machines of a site have a few thousand
_SHOWN = 10  # refused messages kept for people to look at

# topic, encoded properties, payload; what was read from it, if anything
Listener = Callable[[bytes, bytes, bytes, "Arrival | None"], None]


class _Route(NamedTuple):
    """What a topic means. A waveform's asset and channel may be named by its properties instead."""

    asset: str
    channel: str | None
    decode: Decode | None  # None: a waveform, or an answer to a command
    times: Times
    max_bytes: int
    retained: bool
    is_waveform: bool


class Reader:
    """One connection, for `topics` and for the topics of `answers`, which only listeners are interested in.

    `others` are read by another connection: should a filter bring their messages here, too, they are left alone.
    Listeners are called in the connection's thread with each message, as long as there are any.
    """

    def __init__(
        self,
        source: Source,
        settings: BrokerSettings,
        client_id: str,
        topics: Sequence[MqttTopic],
        clock: Clock,
        *,
        others: Sequence[MqttTopic] = (),
        qos: int = 1,
        answers: Sequence[Template] = (),
        clean: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: deque[str] = deque(maxlen=_SHOWN)
        self.last_arrival: int | None = None
        self.listeners: list[Listener] = []
        self._source, self._topics, self._clock = source, tuple(topics), clock
        self._answers, self._others = tuple(answers), tuple(others)
        self._routes: dict[bytes, _Route] = {}
        self._held: deque[Arrival | WaveformArrival] = deque()  # for want of room in the inbox
        self._done: list[Receipt] = []  # of refused messages
        self._heard = False
        self._parts = Parts(self._give_up)
        self._put: Callable[[Arrival | WaveformArrival], bool] = lambda _: False
        filters = widest(template.filter for template in (*(topic.template for topic in topics), *answers))
        subscriptions = [(pattern, qos) for pattern in filters]
        self.connection = Connection(
            settings, client_id, subscriptions, self.message, clock, on_round=self._round, clean=clean
        )

    def start(self, inbox: Inbox) -> None:
        self._put = inbox.put
        self.connection.start()

    def message(self, flags: int, topic: bytes, properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        """What the connection calls, in its thread. It never raises."""
        self.counts["received"] += 1
        self._heard = True
        try:
            route = self._routes.get(topic) or self._find_route(topic)
            if flags & (RETAIN | DUP):
                if flags & RETAIN and not route.retained:
                    raise Refusal("retained")
                if flags & DUP:
                    self.counts["redelivered"] += 1
            if len(payload) > route.max_bytes:
                raise Refusal("too_large")
            if route.decode is None:
                self._other(route, topic, properties, payload, receipt)
                return
            time, values = route.decode(payload)
            if time is None:
                _require_utc(route.times)
                time = self._now()
        except Refusal as refusal:
            self._refuse(refusal.reason, topic, payload, receipt)
        except Exception:
            log.exception("a message on %r could not be read", topic[:200])
            self._refuse("unexpected", topic, payload, receipt)
        else:
            arrival = Arrival(route.asset, time, values, self._source, receipt)
            if self._held or not self._put(arrival):
                self._hold(arrival)
            if self.listeners:
                self._tell(topic, properties, payload, arrival)

    def _other(self, route: _Route, topic: bytes, properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        if not route.is_waveform:
            self._tell(topic, properties, payload, None)
            if receipt is not None:
                self._done.append(receipt)
            return
        header = read_header(properties, route.times)
        if header.time is None:
            _require_utc(route.times)
        asset, channel = route.asset or header.asset or "", name_channel(route.channel, header)
        if not is_identifier(asset):
            raise Refusal("bad_asset")
        if header.parts > 1:
            whole = self._parts.add(asset, channel, header, payload, receipt, self._clock.monotonic())
            if whole is None:
                return
            payload, receipt = whole
        self._waveform(asset, channel, header, payload, receipt)

    def _waveform(self, asset: str, channel: str, header: Header, payload: bytes, receipt: Receipt | None) -> None:
        try:
            samples = samples_of(payload, header)
        except Refusal as refusal:  # here, because the receipt may be one of many parts
            self._refuse(refusal.reason, f"{asset} {channel}".encode(), payload, receipt)
            return
        time = self._now() if header.time is None else header.time
        arrival = WaveformArrival(asset, channel, time, samples, self._source, receipt)
        if self._held or not self._put(arrival):
            self._hold(arrival)

    def _now(self) -> int:
        self.counts["untimed"] += 1
        return self._clock.utc()

    def _find_route(self, topic: bytes) -> _Route:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            raise Refusal("bad_topic") from None
        for settings in self._topics:
            fields = settings.template.match(text)
            if fields is not None:
                return self._remember(topic, self._make_route(settings, fields))
        templates = (*self._answers, *(topic.template for topic in self._others))
        if any(template.match(text) is not None for template in templates):
            return self._remember(topic, _Route("", None, None, Times("ns"), 65_536, False, False))
        raise Refusal("bad_topic")

    def _make_route(self, settings: MqttTopic, fields: dict[str, str]) -> _Route:
        is_waveform = settings.format == "waveform"
        asset = settings.asset or fields.get("asset", "")
        if not is_identifier(asset) and not (is_waveform and asset == ""):
            raise Refusal("bad_asset")
        channel = settings.channel or fields.get("channel")
        decode = None if is_waveform else settings.decoder(channel)
        times = Times(settings.time_unit)
        return _Route(asset, channel, decode, times, settings.most_bytes, settings.retained, is_waveform)

    def _remember(self, topic: bytes, route: _Route) -> _Route:
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _tell(self, topic: bytes, properties: bytes, payload: bytes, arrival: Arrival | None) -> None:
        for listener in tuple(self.listeners):
            listener(topic, properties, payload, arrival)

    def _hold(self, arrival: Arrival | WaveformArrival) -> None:
        """The inbox is full: until there is room, the connection reads no more. What it has read already waits here."""
        if arrival.receipt is None:
            self.counts["overflow"] += 1
        else:
            self.counts["held"] += 1
            self._held.append(arrival)

    def _round(self) -> bool:
        """After each round of reading; True while something waits for room."""
        if self._heard:
            self._heard, self.last_arrival = False, self._clock.utc()
        while self._held and self._put(self._held[0]):
            self._held.popleft()
        if len(self._parts):
            self._parts.expire(self._clock.monotonic())
        if self._done:
            self.connection.acknowledge(self._done, ring=False)
            self._done = []
        return bool(self._held)

    def _refuse(self, reason: str, topic: bytes, payload: bytes, receipt: Receipt | None) -> None:
        self.counts[reason] += 1
        self.refused.append(f"{reason}: {topic[:200].decode(errors='backslashreplace')}: {payload[:64]!r}")
        if receipt is not None:
            self._done.append(receipt)

    def _give_up(self, reason: str, receipts: list[Receipt]) -> None:
        """Parts of a waveform that never became one."""
        self.counts[reason] += 1
        self._done += receipts


def _require_utc(times: Times) -> None:
    """The time of receipt stands in for a missing one, but is no number of cycles: all later ones would be late."""
    if times.unit == "cycle":
        raise Refusal("bad_time")
