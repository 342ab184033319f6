"""OPC UA: subscriptions to the nodes of one server, whose values come in by themselves."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.sources.backoff import FIRST, Backoff, Uniform
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.loop import LoopThread, cancel_others
from edge_runtime.sources.opcua.check import check
from edge_runtime.sources.opcua.library import OpcuaError, UnsureError
from edge_runtime.sources.opcua.security import BAD_USER, explain, open_client
from edge_runtime.sources.opcua.settings import OpcuaSettings as OpcuaSettings
from edge_runtime.sources.opcua.settings import OpcuaValue as OpcuaValue
from edge_runtime.sources.opcua.settings import OpcuaWaveform as OpcuaWaveform
from edge_runtime.sources.opcua.subscription import Subscription, read_nodes
from edge_runtime.sources.opcua.values import Mapped, arrivals, is_usable, to_nanos
from edge_runtime.sources.opcua.write import convert, read, write
from edge_runtime.sources.source import Arrival, Finding, Inbox, SourceStatus, WaveformArrival

_log = logging.getLogger(__name__)
NANOS = 1_000_000_000
SHOWN = 10  # refused nodes
FULL = 0.05  # seconds between attempts to put something into a full inbox
SERVER_TIME = "i=2258"  # Server_ServerStatus_CurrentTime
RETRY_NODES = 60.0  # seconds after which nodes that the server refused are tried again


class OpcuaSource:
    """Holds one session with one subscription; both are made anew when the server, or the way to it, comes back.

    `counts`: received (values and waveforms); bad values by status name; uncertain, server_time, receipt_time
    (accepted); not_a_number, not_a_waveform, duplicate, event_before; overflow (arrivals that had to wait for the
    inbox; the server queues meanwhile); queue_overflow (there), lost_notifications; refreshed; connects, disconnects,
    failures (to connect).
    """

    kind = "opcua"

    def __init__(self, settings: OpcuaSettings, clock: Clock, random: Uniform | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._backoff = Backoff(clock, min(FIRST, settings.retry_most), settings.retry_most, random)
        self._mapped: list[Mapped] = [*settings.values, *settings.waveforms]
        self._writable = {(value.asset, value.channel): value for value in settings.values if value.writable}
        self._counts: Counter[str] = Counter()
        self._last_arrival: int | None = None
        self._connected = False
        self._detail = "not started"
        self._refused: dict[str, str] = {}
        self._events: dict[str, tuple[Any, int | None]] = {}  # of a machine's event: value and time of its source
        self._inbox: Inbox | None = None
        self._client: Any = None  # of the loop's thread
        self._loop = LoopThread(f"opcua {settings.name}")

    @property
    def name(self) -> str:
        return self.settings.name

    def start(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._detail = "connecting"
        self._loop.start(self._run)

    def stop(self) -> None:
        self._loop.stop()
        self._connected, self._detail = False, "stopped"

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        """Nobody waits: OPC UA's acknowledgement is of the transport, and given by asyncua."""

    def status(self) -> SourceStatus:
        refused = [f"{node}: {reason}" for node, reason in self._refused.copy().items()]
        detail = self._detail
        if self._connected and refused:
            detail += f"; {len(refused)} of {len(self._mapped)} nodes refused, {refused[0]}"
        return SourceStatus(
            self.name,
            self.kind,
            self._connected,
            detail,
            self._counts.copy(),
            self._last_arrival,
            self._insecure(),
            tuple(refused[:SHOWN]),
        )

    def check(self) -> list[Finding]:
        return asyncio.run(self._check())

    def write(self, asset: str, channel: str, value: float) -> float:
        what, mapped = self._set_point(asset, channel)
        try:
            return self._loop.call(self._write(mapped, value), self.settings.timeout)
        except (UnsureError, TimeoutError) as error:
            told = explain(error.__cause__ or error, self.settings)
            raise CommandUnsureError(f"{what} = {value:g} was sent: {told}") from error
        except Exception as error:  # whatever the library raises
            raise CommandError(f"{what} = {value:g}: {explain(error, self.settings)}") from error

    def nearest(self, asset: str, channel: str, value: float) -> float:
        what, mapped = self._set_point(asset, channel)
        try:
            return self._loop.call(self._nearest(mapped, value), self.settings.timeout)
        except Exception as error:
            raise CommandError(f"{what} = {value:g}: {explain(error, self.settings)}") from error

    def read(self, asset: str, channel: str) -> float:
        """How a set-point stands; `CommandError` if it cannot be read."""
        what, mapped = self._set_point(asset, channel)
        try:
            return self._loop.call(self._read(mapped), self.settings.timeout)
        except Exception as error:
            raise CommandError(f"{what}: {explain(error, self.settings)}") from error

    def _set_point(self, asset: str, channel: str) -> tuple[str, OpcuaValue]:
        what = f"source '{self.name}', asset '{asset}', channel '{channel}'"
        mapped = self._writable.get((asset, channel))
        if mapped is None:
            raise CommandError(f"{what} may not be written: map its node with writable = true")
        return what, mapped

    async def _run(self) -> None:
        while True:
            wait, before = 0.0, self._counts["connects"]
            try:
                await self._hold()
            except Exception as error:  # a source outlives whatever it meets
                self._lost(explain(error, self.settings), self._counts["connects"] > before)
                _log.debug("source '%s'", self.name, exc_info=True)
                if type(error).__name__ in BAD_USER:  # servers lock users out who fail too often
                    wait = self.settings.retry_most
            await cancel_others()  # what the library left behind; this loop is ours alone
            await asyncio.sleep(max(wait, self._backoff.failed()))

    async def _hold(self) -> None:
        """Connect, subscribe, and watch until something raises."""
        client = await self._open()
        try:
            subscription = Subscription(self.settings, self._mapped, self._clock, self._put_batch)
            await subscription.open(client)
            self._client, self._refused = client, subscription.refused
            self._connected, self._detail = True, self._told()
            self._counts["connects"] += 1
            _log.info("source '%s': %s", self.name, self._detail)
            await self._watch(client, subscription)
        finally:
            self._connected, self._client = False, None
            await _close(client)

    async def _open(self) -> Any:
        # Several requests, each with its own timeout; a server that trickles could stretch them.
        return await asyncio.wait_for(open_client(self.settings, self._clock.utc()), 6 * self.settings.timeout)

    async def _watch(self, client: Any, subscription: Subscription) -> None:
        timeout, refresh = self.settings.timeout, self.settings.refresh
        tick = min(timeout, refresh / 4) if refresh else timeout
        retried = probed = self._clock.monotonic()
        while True:
            try:
                await asyncio.wait_for(subscription.ended.wait(), tick)
            except (TimeoutError, asyncio.TimeoutError):
                now = self._clock.monotonic()
            else:
                raise ConnectionError(subscription.reason)
            if subscription.is_silent():
                raise ConnectionError("the server does not publish any more")
            if now - probed >= timeout * NANOS:  # a dead line gives no sign by itself
                await asyncio.wait_for(client.nodes.server_state.read_value(), timeout)
                probed = now
            self._backoff.worked()
            if subscription.lost:
                self._counts["lost_notifications"] += subscription.lost
                subscription.lost = 0
            if refresh:
                await self._refresh(client, subscription, now - round(refresh * NANOS))
            if subscription.refused and now - retried >= RETRY_NODES * NANOS:
                retried = now
                await subscription.monitor(client, [i for i, m in enumerate(self._mapped) if m.node in self._refused])

    async def _refresh(self, client: Any, subscription: Subscription, before: int) -> None:
        """Ask for values that have not been told of since `before`: they count at the server's present time.

        An event is told once.
        """
        quiet = [
            place
            for place, value in enumerate(self.settings.values)
            if subscription.heard[place] < before
            and value.node not in subscription.refused
            and value.channel != "event"
        ]
        if not quiet:
            return
        time, *found = await read_nodes(client, [SERVER_TIME, *(self._mapped[place].node for place in quiet)])
        for place in quiet:
            subscription.heard[place] = self._clock.monotonic()
        self._counts["refreshed"] += len(quiet)
        at = to_nanos(time.Value.Value) if time.Value is not None else None
        items = [(self._mapped[place], data) for place, data in zip(quiet, found, strict=True)]
        await self._put_batch(items, at or self._clock.utc())

    async def _put_batch(self, items: list[tuple[Mapped, Any]], at: int | None = None) -> None:
        items = [item for item in items if item[0].channel != "event" or self._happened(*item)]
        for arrival in arrivals(items, self, self._clock.utc(), self._counts, at):
            await self._put(arrival)

    def _happened(self, mapped: Mapped, data: Any) -> bool:
        """Whether an event's node tells something new. A new session begins with how each node stands, as if it were
        news; told once more, it would begin another life at each reconnection."""
        if not is_usable(data):
            return True  # to be counted
        told, before = (data.Value.Value, to_nanos(data.SourceTimestamp)), self._events.get(mapped.asset)
        self._events[mapped.asset] = told
        if told == before or (before is None and told[1] is None):  # nobody knows since when it stands so
            self._counts["event_before"] += 1
            return False
        return True

    async def _put(self, arrival: Arrival | WaveformArrival) -> None:
        """Wait while the inbox is full: the server then gets no publish request, and queues."""
        assert self._inbox is not None
        if not self._inbox.put(arrival):
            self._counts["overflow"] += 1
            while not self._inbox.put(arrival):
                await asyncio.sleep(FULL)
        self._last_arrival = self._clock.utc()

    async def _write(self, mapped: OpcuaValue, value: float) -> float:
        return await write(self._connection(), mapped.node, value)

    async def _nearest(self, mapped: OpcuaValue, value: float) -> float:
        return float((await convert(self._connection(), mapped.node, value)).Value)

    async def _read(self, mapped: OpcuaValue) -> float:
        return await read(self._connection(), mapped.node)

    def _connection(self) -> Any:
        if self._client is None:
            raise OpcuaError(f"not connected: {self._detail}")
        return self._client

    async def _check(self) -> list[Finding]:
        where = f"{self.name}: opcua {self.settings.url}"
        try:
            client = await self._open()
        except Exception as error:  # a check tells, it does not raise
            await cancel_others()
            return [Finding(where, False, explain(error, self.settings))]
        try:
            told = [self._told(), *filter(None, [self._insecure()])]
            return [Finding(where, True, "; ".join(told)), *await check(client, self.settings, self._clock.utc())]
        finally:
            await _close(client)
            await cancel_others()

    def _lost(self, reason: str, had_connected: bool) -> None:
        if self._detail != reason:
            _log.warning("source '%s': %s", self.name, reason)
        self._counts["disconnects" if had_connected else "failures"] += 1
        self._detail = reason

    def _told(self) -> str:
        s = self.settings
        security = "no security" if s.policy == "None" else f"{s.policy} {s.mode}"
        return f"connected to {s.url}, {security}, {f'user {s.user}' if s.user else 'anonymous'}"

    def _insecure(self) -> str | None:
        if is_loopback(self.settings.host):
            return None
        if self.settings.policy == "None":
            return 'OPC UA with policy "None": whoever is in its network can read and forge it'
        if self.settings.mode == "Sign":
            return 'OPC UA with mode "Sign": whoever is in its network can read it'
        return None


async def _close(client: Any) -> None:
    """Say goodbye, but not for long; close the socket in any case."""
    try:
        await asyncio.wait_for(client.disconnect(), 1.0)
    except Exception:  # it is lost already
        _log.debug("disconnect", exc_info=True)
    finally:
        client.disconnect_socket()
