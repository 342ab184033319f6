"""Conditions of the gateway itself that are raised and cleared: with delays, so that what flickers is told once.

Found again and again by `watch`; here is only what they have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SECOND = 1_000_000_000


class Key(NamedTuple):
    """What is wrong (`silent`, `stale`, …) with what (a machine, a source, a lane; "" is the gateway)."""

    condition: str
    subject: str


@dataclass(frozen=True)
class Delay:
    """Seconds for which a condition must hold before it is raised, and be gone before it is cleared."""

    on: float = 0.0
    off: float = 0.0


@dataclass(frozen=True)
class Active:
    """A raised condition: since when in UTC nanos, and in which words."""

    since: int
    detail: str


class Change(NamedTuple):
    """`raised` False: cleared. `since` is when it was raised, UTC nanos: with the key it names the occurrence."""

    key: Key
    raised: bool
    since: int
    detail: str


class Conditions:
    """Which conditions are raised. `delays` by condition; those that are not in it have none."""

    def __init__(self, delays: Mapping[str, Delay]) -> None:
        self.active: dict[Key, Active] = {}
        self._delays = delays
        self._since: dict[Key, int] = {}  # monotonic nanos: found but not raised, or raised but not found, since then

    def update(self, found: Mapping[Key, str], monotonic: int, utc: int) -> list[Change]:
        """What changes now that `found` (key → in words) holds, and nothing else does."""
        changes = []
        for key, detail in found.items():
            if key in self.active:
                self._since.pop(key, None)
            elif self._passed(key, monotonic, self._delay(key).on):
                self.active[key] = Active(utc, detail)
                changes.append(Change(key, True, utc, detail))
        for key in [key for key in self.active if key not in found]:
            if self._passed(key, monotonic, self._delay(key).off):
                was = self.active.pop(key)
                changes.append(Change(key, False, was.since, was.detail))
        for key in [key for key in self._since if key not in found and key not in self.active]:
            del self._since[key]
        return changes

    def state(self) -> list[dict[str, Any]]:
        """As plain values for JSON."""
        return [
            {"condition": k.condition, "subject": k.subject, "since": a.since, "detail": a.detail}
            for k, a in self.active.items()
        ]

    def restore(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Continue with what was raised before a restart; it is cleared when it is not found any more."""
        self.active = {Key(item["condition"], item["subject"]): Active(item["since"], item["detail"]) for item in state}

    def apply(self, change: Change) -> None:
        """Repeat a change that was told before a restart."""
        if change.raised:
            self.active[change.key] = Active(change.since, change.detail)
        else:
            self.active.pop(change.key, None)

    def _passed(self, key: Key, monotonic: int, delay: float) -> bool:
        """Whether the change has been pending for `delay` seconds; it is not pending any more if so."""
        began = self._since.setdefault(key, monotonic)
        if monotonic - began < delay * SECOND:
            return False
        del self._since[key]
        return True

    def _delay(self, key: Key) -> Delay:
        return self._delays.get(key.condition, Delay())
