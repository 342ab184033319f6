"""Modbus TCP: registers and coils polled on a fixed schedule, of one device or a gateway with many units behind it."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.sources.backoff import FIRST, Backoff, Uniform
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.modbus.check import check
from edge_runtime.sources.modbus.client import (
    MAY_BE_ONE,
    MOST_BITS,
    MOST_REGISTERS,
    LostError,
    ModbusClient,
    RefusedError,
    SilentError,
)
from edge_runtime.sources.modbus.polling import Schedule, Span, halves, join
from edge_runtime.sources.modbus.register import BITS, TABLES, Register, Table
from edge_runtime.sources.modbus.settings import ModbusSettings as ModbusSettings
from edge_runtime.sources.modbus.settings import ModbusValue as ModbusValue
from edge_runtime.sources.source import Arrival, Finding, Inbox, SourceStatus

_log = logging.getLogger(__name__)
NANOS = 1_000_000_000
SHOWN = 10  # refused values
AS_BEFORE = 60.0  # s after which what was refused is asked for in one again


class ModbusSource:
    """Each poll of values with the same unit and interval gives one arrival a machine, at the UTC time of the answer.

    `counts`: received (values); no_value, not_a_number, overflow; missed (polls); timeout; connects, disconnects,
    failures (to connect); and refusals of the device by name, once a value and poll.
    """

    kind = "modbus"

    def __init__(self, settings: ModbusSettings, clock: Clock, random: Uniform | None = None) -> None:
        self.settings = settings
        self._clock, self._random = clock, random
        self._registers = [settings.register(value) for value in settings.values]
        self._writable = {(v.asset, v.channel): settings.register(v) for v in settings.values if v.writable}
        self._counts: Counter[str] = Counter()
        self._last_arrival: int | None = None
        self._detail = "not started"
        self._connected = False
        self._refused: dict[tuple[str, str], str] = {}
        self._resting: dict[int, tuple[Backoff, int]] = {}  # silent unit → until when it is left alone, monotonic
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._inbox: Inbox | None = None
        self._wire = self._client()
        self._wire_lock = threading.Lock()  # one request at a time: the poll's, or a write

    @property
    def name(self) -> str:
        return self.settings.name

    def start(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._stopping.clear()
        self._wire = self._client()
        self._detail = "connecting"
        self._thread = threading.Thread(target=self._run, name=f"modbus {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        thread, self._thread = self._thread, None
        self._wire.interrupt()
        if thread is not None:
            thread.join(self.settings.timeout + 5)  # looking up a name cannot be interrupted
            self._connected, self._detail = False, "stopped"

    def acknowledge(self, receipts: Sequence[Any]) -> None:
        """Nobody waits: what was read is read again at the next poll."""

    def status(self) -> SourceStatus:
        refused = [f"{asset} {channel}: {reason}" for (asset, channel), reason in self._refused.copy().items()]
        detail = self._detail
        if self._connected and refused:
            detail += f"; {len(refused)} of {len(self._registers)} values refused, {refused[0]}"
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
        wire, where = self._client(), f"{self.name}: modbus {self.settings.host}:{self.settings.port}"
        try:
            wire.open()
            told = [f"connected {wire.bound}".strip(), *filter(None, [self._insecure()])]
            return [Finding(where, True, "; ".join(told)), *check(self.name, wire, self._registers)]
        except LostError as error:
            return [Finding(where, False, str(error))]
        finally:
            wire.close()

    def write(self, asset: str, channel: str, value: float) -> float:
        return self._exchange(*self._words(asset, channel, value))

    def nearest(self, asset: str, channel: str, value: float) -> float:
        _, register, words = self._words(asset, channel, value)
        return register.value(words)

    def read(self, asset: str, channel: str) -> float:
        """How a set-point stands; `CommandError` if it cannot be read."""
        return self._exchange(*self._set_point(asset, channel))

    def _set_point(self, asset: str, channel: str) -> tuple[str, Register]:
        what = f"source '{self.name}', asset '{asset}', channel '{channel}'"
        register = self._writable.get((asset, channel))
        if register is None:
            raise CommandError(f"{what} may not be written: map a holding register or coil with writable = true")
        return what, register

    def _words(self, asset: str, channel: str, value: float) -> tuple[str, Register, Sequence[int]]:
        what, register = self._set_point(asset, channel)
        what = f"{what} = {value:g}"
        try:
            return what, register, register.words(value)
        except ValueError as error:
            raise CommandError(f"{what}: {error}") from error

    def _exchange(self, what: str, register: Register, words: Sequence[int] | None = None) -> float:
        """Write `words`, if any, and read."""
        if not self._wire_lock.acquire(timeout=self.settings.timeout):
            raise CommandError(f"{what}: the device is busy, nothing was written; try again")
        unsure = False
        try:
            if words is not None:
                unsure = self._wire.is_open
                try:
                    self._wire.write(register.table, register.unit, register.address, words)
                except RefusedError:
                    unsure = False
                    raise
            found = self._wire.read(register.table, register.unit, *register.place)
        except (RefusedError, SilentError, LostError) as error:
            if unsure:
                raise CommandUnsureError(f"{what} was sent: {error}") from error
            raise CommandError(f"{what}: {error}") from error
        finally:
            self._wire_lock.release()
        return register.value(found)

    def _run(self) -> None:
        backoff = self._backoff()
        while not self._stopping.is_set():
            before = self._counts["connects"]
            try:
                self._poll_until_lost(backoff)
            except LostError as error:
                self._lost(str(error), self._counts["connects"] > before)
            except Exception as error:  # a source outlives whatever it meets
                _log.exception("source '%s'", self.name)
                self._lost(f"{type(error).__name__}: {error}", self._counts["connects"] > before)
            finally:
                self._wire.close()
            self._stopping.wait(backoff.failed())

    def _poll_until_lost(self, backoff: Backoff) -> None:
        self._resting.clear()
        self._open()
        groups = self._groups()
        while not self._stopping.is_set():
            group = min(groups, key=lambda group: group.schedule.due)
            wait = group.schedule.due - self._clock.monotonic()
            if wait > 0 and self._stopping.wait(wait / NANOS):
                return
            missed = 0
            if group.unit in self._resting and self._clock.monotonic() < self._resting[group.unit][1]:
                missed = 1
            else:
                self._poll(group, backoff)
            missed += group.schedule.polled(self._clock.monotonic())
            if missed:
                self._counts["missed"] += missed

    def _open(self) -> None:
        with self._wire_lock:
            self._wire.open()
        self._counts["connects"] += 1
        self._detail = f"connected to {self.settings.host}:{self.settings.port} {self._wire.bound}".strip()

    def _groups(self) -> list[_Group]:
        by_key: dict[tuple[int, float], list[Register]] = {}
        for register in self._registers:
            by_key.setdefault((register.unit, register.every), []).append(register)
        now = self._clock.monotonic()
        return [_Group(unit, every, registers, self.settings.gap, now) for (unit, every), registers in by_key.items()]

    def _poll(self, group: _Group, backoff: Backoff) -> None:
        """Ask for all values of a group; what came before the unit fell silent, or all was lost, counts."""
        found: dict[str, tuple[int, dict[str, float]]] = {}  # asset → time of its last answer, values
        try:
            for register, words, time in self._answers(group):
                backoff.worked()
                self._resting.pop(group.unit, None)
                self._connected = True
                self._note(register, words, time, found)
        except SilentError as error:
            self._rest(group.unit, str(error))
        finally:
            for asset, (time, values) in found.items():
                self._put(Arrival(asset, time, values, self))

    def _answers(self, group: _Group) -> Iterator[tuple[Register, list[int], int]]:
        """Each register with its words and the UTC time of the answer they came in.

        A request that is refused is asked for in halves, down to the single value that is the reason, and for a minute
        so: the device may come round. If every value of it is refused, none of them is the reason.
        """
        for request in group.requests:
            now, answered, parts = self._clock.monotonic(), False, []
            anew = now >= request.anew
            waiting = [request.whole] if anew else request.parts[::-1]
            while waiting:
                table, span = waiting.pop()
                try:
                    with self._wire_lock:
                        words = self._wire.read(table, group.unit, span.start, span.count)
                        time = self._clock.utc()
                except RefusedError as error:
                    if error.reason in MAY_BE_ONE and len(span.items) > 1:
                        waiting += [(table, half) for half in halves(span, _place)][::-1]
                    else:
                        parts.append((table, span))
                        self._refuse(span.items, error.reason)
                    continue
                answered = True
                parts.append((table, span))
                for register in span.items:
                    start = register.address - span.start
                    yield register, words[start : start + register.count], time
            if answered:
                request.parts = parts
                request.anew = now + round(AS_BEFORE * NANOS) if anew else request.anew

    def _note(
        self, register: Register, words: list[int], time: int, found: dict[str, tuple[int, dict[str, float]]]
    ) -> None:
        self._refused.pop((register.asset, register.channel), None)
        value = register.value(words)
        if register.is_invalid(words) or math.isnan(value):
            self._counts["not_a_number" if math.isnan(value) else "no_value"] += 1
            return
        values = found[register.asset][1] if register.asset in found else {}
        values[register.channel] = value
        found[register.asset] = time, values
        self._counts["received"] += 1

    def _put(self, arrival: Arrival) -> None:
        if self._stopping.is_set() or self._inbox is None:
            return
        self._last_arrival = arrival.time
        if not self._inbox.put(arrival):
            self._counts["overflow"] += 1

    def _refuse(self, registers: Sequence[Register], reason: str) -> None:
        self._counts[reason.replace(" ", "_")] += len(registers)
        for register in registers:
            self._refused[register.asset, register.channel] = reason

    def _rest(self, unit: int, reason: str) -> None:
        """Leave a silent unit alone for a while: its timeouts are taken from the other units of the same line."""
        self._counts["timeout"] += 1
        backoff, _ = self._resting.get(unit, (self._backoff(), 0))
        self._resting[unit] = backoff, self._clock.monotonic() + round(backoff.failed() * NANOS)
        self._open()
        if {register.unit for register in self._registers} <= self._resting.keys():
            self._connected, self._detail = False, reason

    def _lost(self, reason: str, had_connected: bool) -> None:
        if self._stopping.is_set():
            return
        if self._detail != reason:
            _log.warning("source '%s': %s", self.name, reason)
        self._counts["disconnects" if had_connected else "failures"] += 1
        self._connected, self._detail = False, reason

    def _client(self) -> ModbusClient:
        s = self.settings
        return ModbusClient(s.host, s.port, s.timeout, self._clock, s.interface, s.source_address)

    def _backoff(self) -> Backoff:
        most = self.settings.retry_most
        return Backoff(self._clock, min(FIRST, most), most, self._random)

    def _insecure(self) -> str | None:
        if is_loopback(self.settings.host):
            return None
        return "Modbus TCP: whoever is in its network can read and forge it"


@dataclass
class _Request:
    """Places of one table that are next to each other; those of its `parts` that are asked for, until `anew`."""

    whole: tuple[Table, Span[Register]]
    parts: list[tuple[Table, Span[Register]]] = field(default_factory=list)
    anew: int = 0  # monotonic nanos


class _Group:
    """Registers of one unit that are polled together, in as few requests as they take."""

    def __init__(self, unit: int, every: float, registers: Sequence[Register], gap: int, now: int) -> None:
        self.unit = unit
        self.schedule = Schedule(round(every * NANOS), now)
        self.requests: list[_Request] = []
        for table in TABLES:
            most = MOST_BITS if table in BITS else MOST_REGISTERS
            spans = join((register for register in registers if register.table == table), _place, gap, most)
            self.requests += [_Request((table, span)) for span in spans]


def _place(register: Register) -> tuple[int, int]:
    return register.place
