"""The clock of a twin: when it learns, how old its machine is, and whether it has seen enough to say something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, constant, namespace, two_sum
from features.state import Slice


@dataclass(frozen=True)
class Signals:
    """What the clock says of one observation, each f32[B,1]."""

    tick: Array  # 1 where the heads advance, else 0
    step: Array  # time since the previous tick, in ticks; 1 at the first
    age: Array  # in ticks; 0 where unknown
    since_new: Array  # 1 where the life has been watched from its beginning, so that its age and since-new features hold
    warming_up: Array  # 1 just connected … 0 warmed up


@dataclass(frozen=True)
class Clock:
    """Advances the timers of a twin. Durations inside are in ticks, the age is in the time unit.

    A tick has passed when at most half an observation interval is missing to it, so that jitter of the time stamps does
    not make every other tick late. Age is a compensated pair: a single float32 counting seconds stops at 2²⁴ = 194 days,
    and a pair counting thousandths of a tick gains or loses a minute in ten years. An age that cannot be is unknown.
    """

    asset_class: AssetClass

    slices = (
        Slice("clock.started", "life", 1),
        Slice("clock.since_tick", "life", 1),
        Slice("clock.watched", "life", 1),
        Slice("clock.age_known", "life", 1),
        Slice("clock.age", "life", 1),
        Slice("clock.age_low", "life", 1),
        Slice("clock.since_new", "life", 1),
    )

    def __call__(
        self, dt: Array, event: Array, age: Array, usable: Array, state: dict[str, Array]
    ) -> tuple[Signals, dict[str, Array]]:
        """`usable` bool[B,1]: whether the observation held any usable reading. `age` [B] in the unit of life."""
        xp = namespace(dt)
        time, features = self.asset_class.time, self.asset_class.features
        zero, one = constant(dt, 0), constant(dt, 1)
        dt, event, age = dt[:, None], event[:, None], age[:, None]
        started = state["clock.started"] > zero
        dt_ticks = dt / constant(dt, time.tick)

        since = state["clock.since_tick"] + dt_ticks
        tick = ~started | (since >= constant(dt, 1 - 0.5 * min(time.interval / time.tick, 1)))
        step = xp.where(started, since, one)

        age = age * constant(age, self.asset_class.time_units_per_life_unit)
        given = (age >= zero) & (age < constant(dt, np.inf))  # false for NaN
        new_life = event == one
        known = given | new_life | (state["clock.age_known"] > zero)
        running, low = two_sum(state["clock.age"], state["clock.age_low"] + dt)
        age_high = xp.where(given, age, xp.where(new_life | ~known, zero, running))
        age_low = xp.where(given | new_life | ~known, zero, low)
        young = known & (age_high <= constant(dt, features.warm_up / 4 * time.tick))
        since_new = xp.where(started, state["clock.since_new"] > zero, young)

        gap = dt > constant(dt, time.max_gap)
        seen = xp.where(started & ~gap, dt_ticks, one)
        watched = xp.where(gap, zero, state["clock.watched"])
        watched = xp.where(usable, xp.minimum(watched + seen, constant(dt, features.warm_up)), watched)

        f32 = xp.float32
        new = {
            "clock.started": zero * dt + one,
            "clock.since_tick": xp.where(tick, zero, since),
            "clock.watched": watched,
            "clock.age_known": known.astype(f32),
            "clock.age": age_high,
            "clock.age_low": age_low,
            "clock.since_new": since_new.astype(f32),
        }
        signals = Signals(
            tick=tick.astype(f32),
            step=step,
            age=age_high / constant(dt, time.tick),
            since_new=since_new.astype(f32),
            warming_up=one - watched / constant(dt, features.warm_up),
        )
        return signals, new
