"""The gateway's own conditions: what is wrong with itself, its sources and its link, told as events.

    silent_machine  a machine that is listed, and of which nothing came for longer than its class allows
    out_of_range    a channel whose readings are impossible, one after the other: another unit, or a broken sensor
    stale_source    a source that is not connected, or of which nothing comes
    clock           not synchronised; or set, which is noted
    disk            full, failing, or nearly full
    link            the centre cannot be reached
    dropped         the spool was over its limit
    overflow        more came than could be taken in
    failed          observations at which the graph fails

Each is raised when it has lasted, and cleared when it has been gone for a while: what flickers is told once.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtime.clock import Clock
from edge_runtime.contract import bodies
from edge_runtime.contract.message import Lane, Outgoing
from edge_runtime.gateway.conditions import SECOND, Change, Conditions, Delay, Key
from edge_runtime.gateway.engine import Engine
from edge_runtime.manifest import Time
from edge_runtime.sources.source import Source

GATEWAY = ""  # subject of conditions that are about the gateway itself
CROWD = 20  # so many silent machines of one class are one event, until fewer than half of them are
NAMED = 50  # of them by their ids

# condition → code of the event and severity
EVENTS = {
    "silent_machine": ("silent_machine", "warning"),
    "silent_class": ("silent_machine", "warning"),
    "out_of_range": ("out_of_range", "warning"),
    "stale_source": ("stale_source", "warning"),
    "clock": ("clock", "warning"),
    "disk": ("disk", "error"),
    "link": ("link", "warning"),
    "dropped": ("dropped", "error"),
    "overflow": ("overflow", "warning"),
    "failed": ("failed", "error"),
}


@dataclass(frozen=True)
class WatchSettings:
    """Seconds. A machine of a class in seconds is silent after `silent_intervals` of them, and at least `silent`."""

    silent_intervals: float = 3.0
    silent: float = 60.0
    silent_cycles: float = 86400.0  # where time is counted in cycles
    stale: float = 60.0
    link_away: float = 60.0
    lasting: float = 3600.0  # for which dropped, overflow and failed stay raised after the last one
    clock_step: float = 1.0
    disk_free: float = 0.02  # share of the file system


class JournalView(Protocol):
    """What is looked at of the journal."""

    def status(self) -> Any: ...


class Watch:
    """Looks at all parts of the gateway, in the engine's thread, and makes the events."""

    def __init__(
        self,
        settings: WatchSettings,
        clock: Clock,
        data: Path,
        sources: Sequence[Source],
        journal: JournalView,
        healthy: Callable[[], bool],
        synced: Callable[[], bool],
    ) -> None:
        self._settings, self._clock, self._data = settings, clock, data
        self._sources, self._journal, self._healthy, self._synced = tuple(sources), journal, healthy, synced
        lasting = Delay(0, settings.lasting)
        self.conditions = Conditions(
            {
                "stale_source": Delay(settings.stale, 0),
                "clock": Delay(30, 30),
                "disk": Delay(0, 60),
                "link": Delay(settings.link_away, 5),
                "dropped": lasting,
                "overflow": lasting,
                "failed": lasting,
            }
        )
        self._offset = clock.utc() - clock.monotonic()
        self._seen: dict[Key, int] = {}  # counters when last looked at
        # By the first look: the spool counts since it was made, and what was dropped before a restart is old news.
        self._dropped_before: Mapping[Lane, int] | None = None

    # ------------------------------------------------------------------ for the engine

    def look(self, engine: Engine) -> tuple[list[Outgoing], Any]:
        """Events about what has changed, and the changes for the journal."""
        found = dict(self._find(engine))
        changes = self.conditions.update(found, self._clock.monotonic(), self._clock.utc())
        messages = [self._told(change) for change in changes]
        messages += self._clock_step()
        return messages, [[*change.key, *change[1:]] for change in changes] or None

    def note(self, code: str, detail: str, severity: str = "info") -> Outgoing:
        """An event that ends by itself."""
        now = self._clock.utc()
        return self._message(bodies.Event(f"{code}-{now}", code, "noted", severity, now, detail=detail[:2000]))

    def state(self) -> Any:
        return self.conditions.state()

    def restore(self, state: Any) -> None:
        """Continue with a `state`."""
        self.conditions.restore(state)

    def repeat(self, news: Any) -> None:
        """Apply the changes that `look` gave."""
        for condition, subject, raised, since, detail in news:
            self.conditions.apply(Change(Key(condition, subject), raised, since, detail))

    # ------------------------------------------------------------------ what is wrong

    def _find(self, engine: Engine) -> Iterable[tuple[Key, str]]:
        yield from self._silent(engine)
        yield from self._impossible(engine)
        yield from self._stale()
        if not self._synced():
            yield Key("clock", GATEWAY), "the clock is not synchronised: times may be wrong"
        if not self._healthy():
            yield Key("link", GATEWAY), "the centre cannot be reached"
        report = self._journal.status()
        yield from self._disk(report.problem)
        if self._dropped_before is None:
            self._dropped_before = dict(report.dropped)
        for lane, count in report.dropped.items():
            anew = count - self._dropped_before.get(lane, 0)
            yield from self._counted("dropped", lane.label, anew, "messages dropped, for the spool was full")
        yield from self._counted("overflow", GATEWAY, engine.inbox.overflow, "arrivals found the inbox full")
        for name, twins in engine.twins.items():
            yield from self._counted("failed", name, twins.counts["failed"], "observations at which the graph fails")

    def _silent(self, engine: Engine) -> Iterable[tuple[Key, str]]:
        now, active = self._clock.monotonic(), self.conditions.active
        for name, twins in engine.twins.items():
            allowed = self.silent_after(twins.bundle.contract.time)
            silent = np.flatnonzero(now - twins.heard > allowed)
            if not len(silent):
                continue
            keys = [Key("silent_machine", twins.machines.assets[row]) for row in silent.tolist()]
            crowd = Key("silent_class", name)
            if len(silent) >= (CROWD // 2 if crowd in active else CROWD):
                shown = ", ".join(key.subject for key in keys[:NAMED]) + (", …" if len(keys) > NAMED else "")
                yield crowd, f"nothing came of {len(silent)} machines of class {name}: {shown}"
                keys = [key for key in keys if key in active]
            yield from ((key, f"nothing came for {allowed / SECOND:g} s") for key in keys)

    def _impossible(self, engine: Engine) -> Iterable[tuple[Key, str]]:
        """One condition a channel: what is wrong with its unit is wrong with all machines."""
        for name, twins in engine.twins.items():
            for channel, told in twins.out_of_range().items():
                yield Key("out_of_range", f"{name}.{channel}"), told

    def silent_after(self, time: Time) -> int:
        """How long a machine of a class may say nothing, in nanos."""
        settings = self._settings
        if time.unit != "s":
            return int(settings.silent_cycles * SECOND)
        return int(max(settings.silent_intervals * time.interval, settings.silent) * SECOND)

    def _stale(self) -> Iterable[tuple[Key, str]]:
        for source in self._sources:
            status = source.status()
            if not status.connected:
                yield Key("stale_source", source.name), f"not connected: {status.detail}"[:500]

    def _disk(self, problem: str | None) -> Iterable[tuple[Key, str]]:
        if problem is not None:
            yield Key("disk", GATEWAY), f"the journal cannot write: {problem}"[:500]
            return
        try:
            usage = shutil.disk_usage(self._data)
        except OSError as error:
            yield Key("disk", GATEWAY), f"{self._data} cannot be looked at: {error.strerror}"
            return
        if usage.free < self._settings.disk_free * usage.total:
            yield Key("disk", GATEWAY), f"{usage.free >> 20} MiB are free where the journal lies"

    def _counted(self, condition: str, subject: str, count: int, what: str) -> Iterable[tuple[Key, str]]:
        """Found in the round in which a counter has risen; `Delay.off` keeps it raised for a while."""
        key = Key(condition, subject)
        before = self._seen.get(key, 0)
        self._seen[key] = count
        if count > before:
            yield key, f"{count - before} {what}"

    # ------------------------------------------------------------------ events

    def _clock_step(self) -> list[Outgoing]:
        """An event if somebody has set the clock since the last look."""
        offset = self._clock.utc() - self._clock.monotonic()
        step, self._offset = (offset - self._offset) / SECOND, offset
        if abs(step) < self._settings.clock_step:
            return []
        return [self.note("clock", f"the clock was set by {step:+.3f} s", "warning")]

    def _told(self, change: Change) -> Outgoing:
        condition, subject = change.key
        code, severity = EVENTS[condition]
        event = bodies.Event(
            id=re.sub(r"[^A-Za-z0-9_.:-]", "_", f"{condition}-{subject or 'gateway'}-{change.since}"),
            code=code,
            state="raised" if change.raised else "cleared",
            severity=severity,
            t=self._clock.utc(),
            asset=subject if condition == "silent_machine" else None,
            source=subject if condition == "stale_source" else None,
            detail=change.detail,
        )
        return self._message(event)

    def _message(self, event: bodies.Event) -> Outgoing:
        body, now = bodies.pack(event), self._clock.utc()
        return Outgoing("event", Lane.LIVE, event.asset, event.t, now, body, clock_synced=self._synced())
