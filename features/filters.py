"""The filter bank: what a twin remembers of each normalised sensor.

An exponentially weighted moving average by the implicit Euler rule, m += (x − m)·dt/(τ + dt), with the time constant τ
replaced by the time observed so far while that is shorter:

    m += (x − m)·dt / (min(τ, observed) + dt)

So every row starts as a plain running mean, a state of zeros is valid, irregular steps weigh by their length, the gain is
exact for tiny dt, and no exponential is needed. The since-new running mean is a row with a long τ; the since-new baseline
is a row that stops after `first` ticks; the trend is the difference between an average and its own average.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, constant, namespace, reshape, two_sum
from features.state import Slice


@dataclass(frozen=True)
class FilterBank:
    """Rows of filters over `sensors` normalised sensors. Rows: `ewma.<τ>`…, `trend.<τ>`, and with age `mean`, `first`."""

    asset_class: AssetClass
    sensors: int

    @cached_property
    def time_constants(self) -> list[float]:
        """Of the moving averages, in ticks; the trend's own is one of them."""
        features = self.asset_class.features
        return sorted({*features.time_constants, features.trend})

    @property
    def with_age(self) -> bool:
        return self.asset_class.life.age != "none"

    @property
    def rows(self) -> list[str]:
        """Names of the averages that `__call__` returns, free of age first."""
        since_new = ["mean_since_new", "first"] if self.with_age else []
        return ["last", *(f"ewma_{tau:g}" for tau in self.time_constants), *since_new]

    @property
    def free_rows(self) -> int:
        """How many leading rows are free of age."""
        return 1 + len(self.time_constants)

    @cached_property
    def _limits(self) -> list[float]:
        features = self.asset_class.features
        return [*self.time_constants, *([features.since_new, features.first] if self.with_age else [])]

    @cached_property
    def compensated(self) -> bool:
        """Whether averages are pairs of floats: where a step's gain is so small that float32 would lose it."""
        time = self.asset_class.time
        return min(time.interval / time.tick, 1) / max(self._limits) < 2.0**-12

    @property
    def slices(self) -> list[Slice]:
        averages = len(self._limits) * self.sensors
        low = [Slice("filters.average_low", "life", averages)] if self.compensated else []
        low += [Slice(f"filters.{name}_low", "life", self.sensors) for name in ("trend", "observed") if self.compensated]
        return [
            Slice("filters.last", "life", self.sensors),
            Slice("filters.unseen_for", "life", self.sensors),
            Slice("filters.observed", "life", self.sensors),
            Slice("filters.average", "life", averages),
            Slice("filters.trend", "life", self.sensors),
            *low,
        ]

    def __call__(
        self, z: Array, usable: Array, dt: Array, state: dict[str, Array]
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Averages [B,rows,S] and trend [B,S] after the normalised readings `z` [B,S], `dt` [B] in the time unit."""
        xp = namespace(z)
        zero, one = constant(z, 0), constant(z, 1)
        cap = max(self._limits)
        observed = state["filters.observed"]
        dt_ticks = dt[:, None] / constant(dt, self.asset_class.time.tick)
        elapsed = xp.minimum(state["filters.unseen_for"] + dt_ticks, constant(z, cap))
        step = xp.where(observed > zero, elapsed, one)

        limits = constant(z, np.array(self._limits)[None, :, None])
        gains = step[:, None, :] / (xp.minimum(observed[:, None, :], limits) + step[:, None, :])
        gains = xp.where(usable[:, None, :], gains, zero)
        if self.with_age:
            stops = np.full((1, len(self._limits), 1), np.inf)
            stops[0, -1, 0] = self._limits[-1]
            gains = xp.where(observed[:, None, :] < constant(z, stops), gains, zero)
        x = xp.where(usable, z, state["filters.last"])

        shape = (-1, len(self._limits), self.sensors)
        average = reshape(state["filters.average"], shape)
        new: dict[str, Array] = {}
        if self.compensated:
            low = reshape(state["filters.average_low"], shape)
            average, low = two_sum(average, gains * ((x[:, None, :] - average) - low) + low)
            new["filters.average_low"] = reshape(low, (-1, len(self._limits) * self.sensors))
        else:
            average = average + gains * (x[:, None, :] - average)

        row = self.time_constants.index(self.asset_class.features.trend)
        smooth, gain, twice = average[:, row, :], gains[:, row, :], state["filters.trend"]
        if self.compensated:
            twice, low = two_sum(twice, gain * ((smooth - twice) - state["filters.trend_low"]) + state["filters.trend_low"])
            new["filters.trend_low"] = low
        else:
            twice = twice + gain * (smooth - twice)

        accepted = xp.where(usable, step, zero)
        if self.compensated:
            observed, low = two_sum(observed, state["filters.observed_low"] + accepted)
            new["filters.observed_low"] = xp.where(observed < constant(z, cap), low, zero)
        else:
            observed = observed + accepted
        new |= {
            "filters.last": x,
            "filters.unseen_for": xp.where(usable, zero, elapsed),
            "filters.observed": xp.minimum(observed, constant(z, cap)),
            "filters.average": reshape(average, (-1, len(self._limits) * self.sensors)),
            "filters.trend": twice,
        }
        return xp.concat([x[:, None, :], average], axis=1), smooth - twice, new
