"""Sparkplug B: the gateway as a host application that reads the metrics of edge nodes and their devices.

A device is a machine; its name is the asset, unless `assets` says otherwise. The metrics of a node itself are read only
if `assets` names the node. A metric is a channel, of its own name or that in `rename`.

Nothing is believed that may be wrong: while a node's birth has not been seen, or a message of it is missing, its values
are refused, and it is asked to be born again (`rebirths`, at most one in `rebirth_every` seconds). Reasons of refusal
are those of `sparkplug_payload` and `sparkplug_node`, and

    bad_topic        no topic of Sparkplug B
    bad_asset        a device whose name is no identifier and that `assets` does not name
    asset_twice      another device of the same asset is alive: tell them apart in `assets`
    too_many_nodes   more than MOST_NODES
    too_many_devices more than MOST_DEVICES of all nodes are alive
    unexpected       an error of this program, which is logged

Of single metrics: `null`, `not_numeric`, `bad_quality` (marked bad or stale), `unnamed_channel` (no identifier, and not
in `rename`), `unknown_metric` (not in the birth), `bad_time`; `historical` ones are passed on with their own time.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.contract.names import is_identifier
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.mqtt.connection import Connection, Will
from edge_runtime.mqtt.receipts import Receipt
from edge_runtime.sources.mqtt.payload import Refusal, Rename
from edge_runtime.sources.mqtt.setpoint import ReadBack
from edge_runtime.sources.source import Arrival, Finding, Inbox, SourceStatus
from edge_runtime.sources.sparkplug.node import Known, Node
from edge_runtime.sources.sparkplug.payload import (
    Metric,
    Payload,
    Type,
    decode,
    encode,
    fits,
    require_protobuf,
)
from edge_runtime.sources.sparkplug.settings import SparkplugSettings
from edge_runtime.sources.sparkplug.values import Values

log = logging.getLogger(__name__)

NAMESPACE = "spBv1.0"
MOST_NODES = 2000
MOST_DEVICES = 20_000
LISTEN = 5.0  # s that `check` waits for messages
_NODE_KINDS, _DEVICE_KINDS = ("NBIRTH", "NDEATH", "NDATA"), ("DBIRTH", "DDEATH", "DDATA")
_OTHERS = ("NCMD", "DCMD")  # what hosts send
_SHOWN = 10


@dataclass
class _Place:
    """An edge node as this source keeps it."""

    node: Node = field(default_factory=Node)
    asked: int | None = None  # when it was asked for a birth, monotonic nanos


class SparkplugSource:
    """A connection of its own: a host application starts clean, and its last will tells the nodes that it is gone."""

    def __init__(self, settings: SparkplugSettings, gateway: str, clock: Clock) -> None:
        require_protobuf()
        self.settings, self._clock = settings, clock
        self._client_id = f"{gateway}-{settings.name}"
        self._state_topic = f"{NAMESPACE}/STATE/{settings.host_id or gateway}"
        self._since = 0  # UTC milliseconds, of this connection
        self._places: dict[str, _Place] = {}
        self._assets: dict[str, tuple[str, str]] = {}  # asset → node, device
        self._counts: Counter[str] = Counter()
        self._refused: deque[str] = deque(maxlen=_SHOWN)
        self._held: deque[Arrival] = deque()
        self._done: list[Receipt] = []
        self._last_arrival: int | None = None
        self._waiters: list[tuple[str, str, ReadBack]] = []
        self._values = Values(settings.rename, clock, self._counts)
        self._counts_before = 0
        self._put: Callable[[Arrival], bool] = lambda _: False
        self._connection = Connection(
            settings,
            self._client_id,
            [(f"{NAMESPACE}/{settings.group}/#", 1), (self._state_topic, 1)],
            self.message,
            clock,
            on_round=self._round,
            on_connected=self._connected,
            will=self._will,
            farewell=lambda: self._state(False),
            clean=True,
        )

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def subscribed(self) -> bool:
        """Whether the broker has answered to all that we want to read."""
        return self._connection.subscribed

    def start(self, inbox: Inbox) -> None:
        self._put = inbox.put
        self._connection.start()

    def stop(self) -> None:
        self._connection.stop()

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        self._connection.acknowledge(receipts)

    def status(self) -> SourceStatus:
        connection, places = self._connection, dict(self._places)
        counts = self._counts.copy()
        counts.update(connection.counts.copy())
        return SourceStatus(
            name=self.name,
            kind="sparkplug",
            connected=connection.connected,
            detail=f"{connection.detail}{_lives(places)}",
            counts=counts,
            last_arrival=self._last_arrival,
            insecure=self.settings.weakness,
            refused=tuple(self._refused),
        )

    def check(self) -> list[Finding]:
        """Listens only: it does not say that a host is online, nor ask for births."""
        seen: dict[str, None] = {}
        connection = Connection(
            self.settings,
            f"{self._client_id}-check-{os.getpid()}",
            [(f"{NAMESPACE}/{self.settings.group}/#", 1)],
            lambda _flags, topic, _properties, _payload, _receipt: seen.setdefault(_sender(topic)),
            self._clock,
            clean=True,
        )
        connection.start()
        try:
            deadline = time.monotonic() + 20
            while not (connection.subscribed or connection.counts["disconnects"]) and time.monotonic() < deadline:
                time.sleep(0.01)
            broker = Finding(f"broker {self.settings.url}", connection.connected, connection.detail)
            if not broker.ok:
                return [broker]
            time.sleep(LISTEN)
            what, senders = f"group {self.settings.group}", ", ".join(sorted(filter(None, list(seen)))[:20])
            if not senders:
                doubt = "does any node publish, and is the group spelt right?"
                return [broker, Finding(what, True, f"no message within {LISTEN:g} s: {doubt}", warn=True)]
            return [broker, Finding(what, True, senders)]
        finally:
            connection.stop()

    def write(self, asset: str, channel: str, value: float) -> float:
        """By DCMD or NCMD; what is read back is the metric's next value, which must come within `timeout`."""
        known, rename, node, device = self._find_metric(asset, channel)
        wanted = (value - rename.offset) / rename.scale
        if known.type not in (Type.FLOAT, Type.DOUBLE):
            wanted = round(wanted, 9)
        if not fits(wanted, known.type):
            raise CommandError(f"{asset} {channel} = {value:g} does not fit metric '{known.name}' of type {known.type}")
        # By the standard a metric that has an alias is not named.
        name = None if known.alias is not None else known.name
        now = self._clock.utc() // 1_000_000
        payload = encode(Payload(now, None, (Metric(name, known.alias, now, known.type, wanted),)))
        kind, path = ("DCMD", f"{node}/{device}") if device else ("NCMD", node)
        waiter = (asset, channel, ReadBack(value))
        self._waiters.append(waiter)
        try:
            if not self._connection.publish(f"{NAMESPACE}/{self.settings.group}/{kind}/{path}", payload):
                raise CommandError(f"{asset} {channel} is not written: {self._connection.detail}")
            seen = waiter[2].wait(self.settings.timeout)
        finally:
            self._waiters.remove(waiter)
        if seen is None:
            raise CommandUnsureError(f"{asset} {channel} = {value:g} was sent to {path}; no new value came back")
        return seen

    def _find_metric(self, asset: str, channel: str) -> tuple[Known, Rename, str, str]:
        owner = self._owner(asset)
        if owner is None:
            raise CommandError(f"{asset} {channel} cannot be written: no birth of {asset} has been seen")
        node, device = owner
        names = [(name, rename) for name, rename in self.settings.rename.items() if rename.channel == channel]
        for name, rename in (*names, (channel, Rename(channel))):
            known = self._places[node].node.metric(device, name)
            if known is not None:
                return known, rename, node, device
        raise CommandError(f"{asset} {channel} cannot be written: its birth has no metric of that name")

    # In the connection's thread.

    def message(self, _flags: int, topic: bytes, _properties: bytes, payload: bytes, receipt: Receipt | None) -> None:
        """What the connection calls. It never raises."""
        self._counts["received"] += 1
        arrivals: list[Arrival] = []
        try:
            arrivals = self._read(topic, payload)
        except Refusal as refusal:
            self._refuse(refusal.reason, topic, payload)
        except Exception:
            log.exception("a message on %r could not be read", topic[:200])
            self._refuse("unexpected", topic, payload)
        if receipt is not None and not arrivals:
            self._done.append(receipt)
        for i, arrival in enumerate(arrivals):
            if receipt is not None and i == len(arrivals) - 1:
                arrival = arrival._replace(receipt=receipt)
            if self._held or not self._put(arrival):
                self._counts["held"] += 1
                self._held.append(arrival)
            for asset, channel, read_back in tuple(self._waiters):
                if asset == arrival.asset:
                    read_back.take(arrival.values.get(channel))

    def _read(self, topic: bytes, payload: bytes) -> list[Arrival]:
        levels = _levels(topic)
        if levels[1] == "STATE":
            self._stay_online(payload)
            return []
        _, _, kind, node, *rest = levels
        if kind in _OTHERS:
            return []
        device = rest[0] if rest else ""
        if kind not in (_DEVICE_KINDS if device else _NODE_KINDS):
            raise Refusal("bad_topic")
        place = self._place(node)
        found = decode(payload)
        named = list(place.node.receive(kind, device, found))
        if kind == "DBIRTH" and _alive(self._places) > MOST_DEVICES:
            del place.node.alive[device]
            raise Refusal("too_many_devices")
        if place.node.unknown_metrics:
            self._counts["unknown_metric"] += place.node.unknown_metrics
            place.node.unknown_metrics = 0
        self._counts[kind.lower()] += 1
        asset = self._asset_of(node, device)
        if asset is None or not named:
            return []
        if self._owner(asset) not in (None, (node, device)):
            raise Refusal("asset_twice")
        self._assets[asset] = (node, device)
        if len(self._assets) > 2 * MOST_DEVICES:  # names that come and go
            self._assets = {asset: owner for asset, owner in self._assets.items() if self._owner(asset)}
        return [Arrival(asset, at, values, self) for at, values in self._values.by_time(found, named)]

    def _place(self, node: str) -> _Place:
        place = self._places.get(node)
        if place is None:
            if len(self._places) >= MOST_NODES:
                raise Refusal("too_many_nodes")
            place = self._places[node] = _Place()
        return place

    def _asset_of(self, node: str, device: str) -> str | None:
        assets = self.settings.assets
        if not device:
            return assets.get(node)
        asset = assets.get(f"{node}/{device}") or assets.get(device) or device
        if not is_identifier(asset):
            raise Refusal("bad_asset")
        return asset

    def _owner(self, asset: str) -> tuple[str, str] | None:
        """Node and device that this asset is, if they are alive."""
        node, device = self._assets.get(asset, ("", ""))
        place = self._places.get(node)
        return None if place is None or device not in place.node.alive else (node, device)

    def _refuse(self, reason: str, topic: bytes, payload: bytes) -> None:
        self._counts[reason] += 1
        self._refused.append(f"{reason}: {topic[:200].decode(errors='backslashreplace')}: {payload[:64]!r}")

    def _round(self) -> bool:
        if self._counts["received"] != self._counts_before:
            self._counts_before, self._last_arrival = self._counts["received"], self._clock.utc()
        while self._held and self._put(self._held[0]):
            self._held.popleft()
        if self._done:
            self._connection.acknowledge(self._done, ring=False)
            self._done = []
        self._ask_for_births()
        return bool(self._held)

    def _ask_for_births(self) -> None:
        now = self._clock.monotonic()
        for name, place in self._places.items():
            if not place.node.wants_rebirth:
                continue
            if place.asked is not None and now - place.asked < self.settings.rebirth_every * 1e9:
                continue
            utc = self._clock.utc() // 1_000_000
            rebirth = Metric("Node Control/Rebirth", None, utc, Type.BOOLEAN, True)
            topic = f"{NAMESPACE}/{self.settings.group}/NCMD/{name}"
            if self._connection.publish(topic, encode(Payload(utc, None, (rebirth,)))):
                place.asked = now
                self._counts["rebirths"] += 1

    # The state of this host.

    def _will(self) -> Will:
        self._since = self._clock.utc() // 1_000_000
        return self._state(False)

    def _state(self, online: bool) -> Will:
        text = json.dumps({"online": online, "timestamp": self._since})
        return self._state_topic, text.encode(), 1, True

    def _connected(self, _session_present: bool) -> None:
        """What happened meanwhile is not known: all nodes that we know of shall be born again."""
        for place in self._places.values():
            place.node, place.asked = Node(), None
            place.node.wants_rebirth = True
        self._connection.publish(*self._state(True))

    def _stay_online(self, payload: bytes) -> None:
        """The will of an earlier connection of ours may come late, and says that we are gone."""
        try:
            said = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if isinstance(said, dict) and said.get("online") is False and self._connection.connected:
            self._connection.publish(*self._state(True))


def _levels(topic: bytes) -> list[str]:
    try:
        levels = topic.decode().split("/")
    except UnicodeDecodeError:
        raise Refusal("bad_topic") from None
    if levels[0] != NAMESPACE or not all(levels) or len(levels) not in ((3,) if levels[1:2] == ["STATE"] else (4, 5)):
        raise Refusal("bad_topic")
    return levels


def _sender(topic: bytes) -> str:
    """Node, or node/device, of a message; empty if it is none."""
    try:
        return "/".join(_levels(topic)[3:])
    except Refusal:
        return ""


def _alive(places: Mapping[str, _Place]) -> int:
    return sum(len(place.node.alive) for place in places.values())


def _lives(places: Mapping[str, _Place]) -> str:
    if not places:
        return ""
    stale = sorted(name for name, place in places.items() if not place.node.born)
    return f"; {_alive(places)} nodes and devices alive" + (f", stale: {', '.join(stale[:5])}" if stale else "")
