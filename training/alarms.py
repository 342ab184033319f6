"""Alarm conditions with dead-band and delays (ISA-18.2), inside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.asset_class import ALARM_PARTS, AssetClass
from features.array import Array, constant, namespace, row_max, split
from features.state import Slice


@dataclass(frozen=True)
class Alarms:
    """The alarm conditions of a class, A of them.

    A condition turns on when its signal has been beyond the limit for `on_delay`, and off when it has been back by more
    than the dead-band for `off_delay`. A signal that is not known (NaN) stops the timer and changes nothing.
    """

    asset_class: AssetClass

    @property
    def slices(self) -> list[Slice]:
        count = len(self.asset_class.alarms)
        # timer: 0 = nothing pending, else 1 + time for which a change has been pending
        return [Slice("alarm.active", "life", count), Slice("alarm.timer", "life", count)] if count else []

    def __call__(
        self, signals: Mapping[str, Array], settings: Array, dt: Array, state: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """The highest active level [B,1], 0 = none, and the new state; `signals` and `dt` [B,1], `settings` [B,P]."""
        xp, alarms = namespace(dt), list(self.asset_class.alarms.values())
        zero, one = constant(dt, 0), constant(dt, 1)
        if not alarms:
            return dt * zero, {}
        limit, dead_band, on_delay, off_delay = self._settings(settings)
        signal = xp.concat([signals[alarm.signal] for alarm in alarms], axis=1)
        if any(alarm.below is not None for alarm in alarms):
            side = constant(dt, np.array([[1.0 if alarm.above is not None else -1.0 for alarm in alarms]]))
            signal, limit = signal * side, limit * side
        active = state["alarm.active"] > zero
        timer = state["alarm.timer"]
        beyond = signal > xp.where(active, limit - dead_band, limit)
        wants_change = active ^ beyond
        delay = xp.where(active, off_delay, on_delay)
        running = xp.where(timer > zero, timer + dt, one)
        idle = zero
        if self._may_be_unknown:
            unknown = xp.isnan(signal)
            wants_change, idle = wants_change & ~unknown, xp.where(unknown, timer, zero)
        timer = xp.where(wants_change, running, idle)
        change = wants_change & (timer - one >= delay)
        active = (active ^ change).astype(xp.float32)
        new = {"alarm.active": active, "alarm.timer": xp.where(change, zero, timer)}
        levels = constant(dt, np.array([[float(alarm.level) for alarm in alarms]]))
        return row_max(active * levels), new

    @property
    def _may_be_unknown(self) -> bool:
        """Whether any signal is a channel: the graph's own outputs are never NaN."""
        return any(alarm.signal in self.asset_class.channels for alarm in self.asset_class.alarms.values())

    def _settings(self, settings: Array) -> list[Array]:
        """Limit, dead-band, on-delay and off-delay [B,A] of each alarm: the machine's own, else the class's."""
        xp, cls = namespace(settings), self.asset_class
        own = settings[:, len(cls.settings) :] if cls.settings else settings
        defaults = constant(settings, np.array([list(cls.alarm_settings.values())]))
        filled = xp.where(xp.isnan(own), defaults, own)
        return split(filled, [len(cls.alarms)] * len(ALARM_PARTS))
