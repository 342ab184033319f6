"""Alarm conditions with dead-band and delays (ISA-18.2), inside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, Float32, as_number, constant, matmul, namespace, row_max, split
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
        signal = xp.concat([signals[alarm.signal] for alarm in alarms], axis=1)
        side = np.array([1.0 if alarm.above is not None else -1.0 for alarm in alarms], np.float32)
        if (side < 0).any():
            signal = signal * constant(dt, side)
        active, timer = state["alarm.active"], state["alarm.timer"]
        limit, delay = self._thresholds(settings, active, side)
        running = xp.maximum(timer + xp.sign(timer) * dt, one)
        wants_change = xp.abs(as_number(signal > limit) - active)  # conditions are numbers here, 0 or 1
        unknown = as_number(xp.isnan(signal)) if self._may_be_unknown else None
        if unknown is not None:
            wants_change = wants_change - wants_change * unknown
        pending = running * wants_change
        change = as_number(pending - one >= delay)  # a delay is never negative: only where a change is wanted
        left = pending - pending * change
        active = xp.abs(active - change)
        new = {"alarm.active": active, "alarm.timer": left if unknown is None else left + timer * unknown}
        levels = constant(dt, np.array([[float(alarm.level) for alarm in alarms]]))
        return row_max(active * levels), new

    @property
    def _may_be_unknown(self) -> bool:
        """Whether any signal is a channel: the graph's own outputs are never NaN."""
        return any(alarm.signal in self.asset_class.channels for alarm in self.asset_class.alarms.values())

    def _thresholds(self, settings: Array, active: Array, side: Float32) -> tuple[Array, Array]:
        """The limit beyond which a signal is, and the delay of the next change, [B,A] each.

        Limit, dead-band, on-delay and off-delay are the machine's own, else the class's. Each is weighed by 0, 1 or
        −1 and added up: exactly what choosing them would give, from fewer operators.
        """
        xp, cls = namespace(settings), self.asset_class
        own = settings[:, len(cls.settings) :] if cls.settings else settings
        defaults = constant(settings, np.array([list(cls.alarm_settings.values())]))
        filled = xp.where(xp.isnan(own), defaults, own)
        each, zero, one = np.eye(len(side), dtype=np.float32), 0 * side, 0 * side + 1
        # active: limit · side − dead_band, off_delay; else: limit · side, on_delay
        weights = matmul(active, np.hstack([0 * each, -each, -each, each])) + constant(
            active, np.concatenate([side, zero, one, zero])[None]
        )
        sums = np.block([[each, 0 * each], [each, 0 * each], [0 * each, each], [0 * each, each]])
        limit, delay = split(matmul(filled * weights, sums), [len(side)] * 2)
        return limit, delay
