"""One subscription of an OPC UA session: a monitored item for each mapped node, and signs that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.sources.opcua.library import load_ua, node_ids
from edge_runtime.sources.opcua.settings import OpcuaSettings, OpcuaWaveform
from edge_runtime.sources.opcua.values import Mapped, status_name

AT_ONCE = 500  # nodes in one request; servers limit it
KEEP_ALIVE = 5.0  # seconds after which a server with nothing to tell says so
_SILENCES = 3  # so many missed keep-alives mean that it is dead

OnBatch = Callable[[list[tuple[Mapped, Any]]], Awaitable[None]]


class Subscription:
    """`ended` is set, with a `reason`, when the server or the library says that it is over.

    `heard`: when each mapped node was last told of, monotonic nanos. `refused`: node → status name of those that cannot
    be monitored.
    """

    def __init__(self, settings: OpcuaSettings, mapped: Sequence[Mapped], clock: Clock, on_batch: OnBatch) -> None:
        self.settings = settings
        self.refused: dict[str, str] = {}
        self.ended = asyncio.Event()
        self.reason = ""
        self.heard = [clock.monotonic()] * len(mapped)
        self.lost = 0  # notifications, by gaps in their numbers
        self._mapped = mapped
        self._clock = clock
        self._on_batch = on_batch
        self._last = clock.monotonic()  # when the server gave any sign
        self._silence = 0  # nanos without one that mean it is dead
        self._busy = False
        self._number: int | None = None
        self._id = 0

    async def open(self, client: Any) -> None:
        ua = load_ua()
        asked = ua.CreateSubscriptionParameters()
        asked.RequestedPublishingInterval = self.settings.publishing * 1e3
        asked.RequestedMaxKeepAliveCount = max(1, round(KEEP_ALIVE / self.settings.publishing))
        asked.RequestedLifetimeCount = 10 * asked.RequestedMaxKeepAliveCount
        given = await client.uaclient.create_subscription(asked, self._published)
        self._id = given.SubscriptionId
        keep_alive = given.RevisedPublishingInterval * given.RevisedMaxKeepAliveCount / 1e3
        self._silence = round((_SILENCES * keep_alive + self.settings.timeout) * 1e9)
        await self.monitor(client, range(len(self._mapped)))

    async def monitor(self, client: Any, places: Sequence[int]) -> None:
        """Ask for these of the mapped nodes. Those that the server refuses with a filter are tried without."""
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            results = await self._create(client, part, True)
            again = [
                place for place, status in results.items() if status.startswith(("BadFilter", "BadMonitoredItemF"))
            ]
            if again:
                results |= await self._create(client, again, False)
            for place, status in results.items():
                node = self._mapped[place].node
                if status:
                    self.refused[node] = status
                else:
                    self.refused.pop(node, None)

    def is_silent(self) -> bool:
        """No sign of it for too long, not counting the time the gateway itself took."""
        return not self._busy and self._clock.monotonic() - self._last > self._silence

    async def _create(self, client: Any, places: Sequence[int], filtered: bool) -> dict[int, str]:
        """Place → status name, empty if good."""
        ua = load_ua()
        asked = ua.CreateMonitoredItemsParameters()
        asked.SubscriptionId = self._id
        asked.TimestampsToReturn = ua.TimestampsToReturn.Both
        nodes = await node_ids(client, [self._mapped[place].node for place in places])
        asked.ItemsToCreate = [self._item(place, node, filtered) for place, node in zip(places, nodes, strict=True)]
        results = await client.uaclient.create_monitored_items(asked)
        codes = [int(result.StatusCode.value) for result in results]
        return {place: status_name(code) if code >> 30 else "" for place, code in zip(places, codes, strict=True)}

    def _item(self, place: int, node: Any, filtered: bool) -> Any:
        ua = load_ua()
        mapped = self._mapped[place]
        sampling = self.settings.sampling if mapped.sampling is None else mapped.sampling
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor = ua.ReadValueId(node, ua.AttributeIds.Value)
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters.ClientHandle = place
        item.RequestedParameters.SamplingInterval = sampling * 1e3
        item.RequestedParameters.QueueSize = self.settings.queue if mapped.queue is None else mapped.queue
        item.RequestedParameters.DiscardOldest = True
        if filtered:
            item.RequestedParameters.Filter = self._filter(mapped)
        return item

    def _filter(self, mapped: Mapped) -> Any:
        """Equal values at new times are told too, unless a dead-band says otherwise."""
        ua = load_ua()
        wanted = ua.DataChangeFilter()
        wanted.Trigger = ua.DataChangeTrigger.StatusValueTimestamp
        if not isinstance(mapped, OpcuaWaveform) and mapped.deadband:
            wanted.Trigger = ua.DataChangeTrigger.StatusValue
            wanted.DeadbandType = ua.DeadbandType.Absolute
            wanted.DeadbandValue = mapped.deadband
        return wanted

    async def _published(self, result: Any) -> None:
        """Called by asyncua with each answer to a publish request; the next is sent when this returns."""
        ua = load_ua()
        self._last = self._clock.monotonic()
        message = result.NotificationMessage
        items: list[tuple[Mapped, Any]] = []
        for notification in message.NotificationData or ():
            if isinstance(notification, ua.StatusChangeNotification):
                name = status_name(int(notification.Status.value))
                # BadShutdown is how asyncua tells that the connection is gone.
                ended = "the connection was lost" if name == "BadShutdown" else "the server ended the subscription"
                self.reason = f"{ended} ({name})"
                self.ended.set()
            elif isinstance(notification, ua.DataChangeNotification):
                for item in notification.MonitoredItems:
                    if 0 <= item.ClientHandle < len(self._mapped):
                        self.heard[item.ClientHandle] = self._last
                        items.append((self._mapped[item.ClientHandle], item.Value))
        if items:
            self._count_gap(int(message.SequenceNumber))
            self._busy = True
            try:
                await self._on_batch(items)
            finally:
                self._busy, self._last = False, self._clock.monotonic()

    def _count_gap(self, number: int) -> None:
        if self._number is not None:
            self.lost += max(0, number - self._number - 1)
        self._number = number


async def read_nodes(client: Any, nodes: Sequence[str]) -> list[Any]:
    """DataValues of the nodes, with both times."""
    ua = load_ua()
    found: list[Any] = []
    for start in range(0, len(nodes), AT_ONCE):
        asked = ua.ReadParameters()
        asked.MaxAge = 0
        asked.TimestampsToReturn = ua.TimestampsToReturn.Both
        asked.NodesToRead = [
            ua.ReadValueId(node, ua.AttributeIds.Value)
            for node in await node_ids(client, nodes[start : start + AT_ONCE])
        ]
        found += await client.uaclient.read(asked)
    return found
