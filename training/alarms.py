"""Alarm conditions with dead-band and delays (ISA-18.2), inside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, constant, namespace, row_max
from features.state import Slice

PARTS = ("limit", "dead_band", "on_delay", "off_delay")


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
        """The highest active level f32[B], 0 = none, and the new state. `signals` f32[B,1] by name, `settings` [B,P]."""
        xp, alarms = namespace(dt), list(self.asset_class.alarms.values())
        zero, one = constant(dt, 0), constant(dt, 1)
        if not alarms:
            return dt * zero, {}
        limit, dead_band, on_delay, off_delay = self._settings(settings)
        side = constant(dt, np.array([[1.0 if alarm.above is not None else -1.0 for alarm in alarms]]))
        signal = xp.concat([signals[alarm.signal] for alarm in alarms], axis=1) * side
        limit = limit * side
        active = state["alarm.active"] > zero
        timer = state["alarm.timer"]
        wants_change = xp.where(active, signal < limit - dead_band, signal > limit)
        delay = xp.where(active, off_delay, on_delay)
        # bounded, so that a condition pending for years does not wear out the float
        running = xp.minimum(xp.where(timer > zero, timer + dt[:, None], one), delay + constant(dt, 2))
        timer = xp.where(wants_change, running, xp.where(xp.isnan(signal), timer, zero))
        change = wants_change & (timer - one >= delay)
        active = (active ^ change).astype(xp.float32)
        new = {"alarm.active": active, "alarm.timer": xp.where(change, zero, timer)}
        levels = constant(dt, np.array([[float(alarm.level) for alarm in alarms]]))
        return row_max(active * levels)[:, 0], new

    def _settings(self, settings: Array) -> list[Array]:
        """Limit, dead-band, on-delay and off-delay [B,A] of each alarm: the machine's own, else the class's."""
        xp, cls = namespace(settings), self.asset_class
        count, defaults = len(cls.alarms), np.array(list(cls.alarm_settings.values()), np.float32)
        own = settings[:, len(cls.settings) :]
        filled = xp.where(xp.isnan(own), constant(settings, defaults[None]), own)
        order = [len(PARTS) * i + j for j in range(len(PARTS)) for i in range(count)]
        by_part = xp.take(filled, xp.asarray(np.array(order)), axis=1)
        return [by_part[:, j * count : (j + 1) * count] for j in range(len(PARTS))]
