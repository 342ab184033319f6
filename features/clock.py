"""The clock of a twin: when it learns, how old its machine is, and whether it has seen enough to say something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, as_number, constant, namespace, two_sum
from features.state import Slice


@dataclass(frozen=True)
class Signals:
    """What the clock says of one observation, each [B,1]; float32 but for `ticks`."""

    ticks: Array  # bool, where the heads advance
    ticked: Array  # the same as 1 or 0
    step: Array  # time since the previous tick, in ticks; 1 at the first
    age: Array  # in ticks; 0 where unknown
    since_new: Array  # 1 where the age, and since-new statistics if there are any, can be used
    warming_up: Array  # 1 just connected … 0 warmed up


@dataclass(frozen=True)
class Clock:
    """Advances the timers of a twin. Durations inside are in ticks, the age is in the time unit.

    A tick has passed when at most half an observation interval is missing to it, so that jitter of the time stamps
    does not make every other tick late. An age in seconds is a compensated pair: a single float32 counting them stops
    at 2²⁴ = 194 days, and a pair counting thousandths of a tick gains or loses a minute in ten years. An age that
    cannot be is unknown. The time watched is a pair where an observation is a tiny part of the warm-up: at 100 Hz with
    ticks of four hours a single float32 stops growing, and the twin never is warm.
    """

    asset_class: AssetClass

    @property
    def compensated(self) -> bool:
        return self.asset_class.time.unit == "s"  # 2²⁴ cycles are no life

    @property
    def _watches_in_pairs(self) -> bool:
        time = self.asset_class.time
        return min(time.interval / time.tick, 1) / self.asset_class.features.warm_up < 2.0**-12

    @property
    def _has_statistics(self) -> bool:
        """Whether features rest on all of a life: those hold where it was watched from its beginning alone, whereas an
        age may be told at any time."""
        features = self.asset_class.features
        return features.first is not None or features.since_new is not None

    @property
    def slices(self) -> list[Slice]:
        low = [Slice("clock.age_low", "life", 1)] if self.compensated else []
        low += [Slice("clock.watched_low", "life", 1)] if self._watches_in_pairs else []
        names = ("to_next_tick", "watched", "since_new", "age_known", "age")
        return [*(Slice(f"clock.{name}", "life", 1) for name in names), *low]

    def __call__(
        self, dt: Array, begins: Array, age: Array, accepted: Array, state: dict[str, Array]
    ) -> tuple[Signals, dict[str, Array]]:
        """`dt` and `age` [B,1] in the time unit and the unit of life; `begins` bool[B,1], whether a life does.

        `accepted` [B,1] is the longest time in ticks that a sensor's reading stands for, 0 where none could be used.
        """
        xp = namespace(dt)
        time, features = self.asset_class.time, self.asset_class.features
        zero, one = constant(dt, 0), constant(dt, 1)
        passed = dt / constant(dt, time.tick)

        left = state["clock.to_next_tick"] - passed
        ticks = left <= constant(dt, 0.5 * min(time.interval / time.tick, 1))
        ticked = as_number(ticks)

        age = age * constant(age, self.asset_class.time_units_per_life_unit)
        given = (age >= zero) & (age < constant(age, np.inf))  # false for NaN
        known_before = state["clock.age_known"]
        known = xp.maximum(known_before, as_number(given | begins))
        running, low = self._older(dt * known_before, state)
        current = xp.where(given, age, running)

        since_new = known
        if self._has_statistics:
            young = as_number(current <= constant(dt, features.warm_up / 4 * time.tick)) * known
            since_new = xp.maximum(state["clock.since_new"], young)

        watched, more = state["clock.watched"], xp.minimum(passed, accepted)
        if self._watches_in_pairs:
            watched, watched_low = two_sum(watched, state["clock.watched_low"] + more)
            kept = (watched < constant(dt, features.warm_up)) & (dt <= constant(dt, time.max_gap))
            watched_low = watched_low * as_number(kept)
        else:
            watched = watched + more
        watched = xp.minimum(watched, constant(dt, features.warm_up)) * as_number(dt <= constant(dt, time.max_gap))

        slices = {
            "clock.to_next_tick": xp.maximum(left, ticked),  # 1 at a tick, where less than that is left
            "clock.watched": watched,
            "clock.since_new": since_new,
            "clock.age_known": known,
            "clock.age": current,
        }
        if self.compensated:
            slices["clock.age_low"] = xp.where(given, zero, low)
        if self._watches_in_pairs:
            slices["clock.watched_low"] = watched_low
        warming_up = one - watched / constant(dt, features.warm_up)
        in_ticks = current / constant(dt, time.tick)
        signals = Signals(
            ticks=ticks, ticked=ticked, step=one - left, age=in_ticks, since_new=since_new, warming_up=warming_up
        )
        return signals, slices

    def _older(self, passed: Array, state: dict[str, Array]) -> tuple[Array, Array]:
        """Age after `passed` time units, and the part of it that its float32 does not hold."""
        if not self.compensated:
            return state["clock.age"] + passed, passed
        return two_sum(state["clock.age"], state["clock.age_low"] + passed)
