"""The filter bank: what a twin remembers of each normalised sensor.

An exponentially weighted moving average by the implicit Euler rule, m += (x − m)·dt/(τ + dt), with the time constant τ
replaced by the time observed so far while that is shorter:

    m += (x − m)·dt / (min(τ, observed) + dt)

So every row starts as a plain running mean, a state of zeros is valid, irregular steps weigh by their length, the
gain is exact for tiny dt, and no exponential is needed. The trend of a row is the difference between the average and
its own average (double EWMA). The since-new running mean is a row with a long τ; the since-new baseline stops after
`first` ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.asset_class import AssetClass
from features.array import Array, as_number, constant, namespace, reshape, two_sum
from features.state import Slice


@dataclass(frozen=True)
class FilterBank:
    """Filters over `sensors` normalised sensors, row by row: see `rows`. Durations inside are in ticks."""

    asset_class: AssetClass
    sensors: int

    @cached_property
    def time_constants(self) -> list[float]:
        return sorted(self.asset_class.features.time_constants)

    @cached_property
    def _since_new(self) -> dict[str, float]:
        """Time constants of the since-new rows; only a class with age has them."""
        features = self.asset_class.features
        named = {"mean_since_new": features.since_new, "first": features.first}
        return {name: tau for name, tau in named.items() if tau and self.asset_class.life.age != "none"}

    @property
    def rows(self) -> list[str]:
        """What `__call__` returns for each sensor; those free of age first."""
        ewma, trend = ([f"{kind}_{tau:g}" for tau in self.time_constants] for kind in ("ewma", "trend"))
        return ["last", *ewma, *trend, *self._since_new]

    @property
    def free_rows(self) -> int:
        """How many leading rows are free of age."""
        return 1 + 2 * len(self.time_constants)

    @property
    def health_row(self) -> int:
        """The row that health is judged by: the middle moving average, of two the faster."""
        return 1 + (len(self.time_constants) - 1) // 2

    @cached_property
    def _limits(self) -> list[float]:
        return [*self.time_constants, *self._since_new.values()]

    @cached_property
    def compensated(self) -> bool:
        """Whether averages are pairs of floats: where a step's gain is so small that float32 would lose it."""
        time = self.asset_class.time
        return min(time.interval / time.tick, 1) / max(self._limits) < 2.0**-12

    @property
    def slices(self) -> list[Slice]:
        sizes = {
            "average": len(self._limits) * self.sensors,
            "twice": len(self.time_constants) * self.sensors,
            "observed": self.sensors,
        }
        low = [Slice(f"filters.{name}_low", "life", size) for name, size in sizes.items()] if self.compensated else []
        return [
            Slice("filters.last", "life", self.sensors),
            Slice("filters.unseen_for", "life", self.sensors),
            *(Slice(f"filters.{name}", "life", size) for name, size in sizes.items()),
            *low,
        ]

    def __call__(
        self, z: Array, unusable: Array, passed: Array, state: dict[str, Array]
    ) -> tuple[Array, Array, dict[str, Array]]:
        """All rows [B,rows,S] after the normalised readings `z` [B,S], and the time [B,S] each reading stands for.

        `unusable` bool[B,S]; `passed` [B,1] is the time since the previous observation.
        """
        xp = namespace(z)
        zero, one = constant(z, 0), constant(z, 1)
        observed = state["filters.observed"]
        elapsed = state["filters.unseen_for"] + passed  # float32 stops adding to it in time: it only has to be long
        step = xp.where(observed > zero, elapsed, one)  # the first sample stands for one tick
        refused = as_number(unusable)
        accepted = step - step * refused
        last = xp.where(unusable, state["filters.last"], z)
        x = last[:, None, :]

        limits = constant(z, np.array(self._limits)[None, :, None])
        before = observed[:, None, :]
        gains = accepted[:, None, :] / (xp.minimum(before, limits) + step[:, None, :])
        if "first" in self._since_new:
            stops = np.full((1, len(self._limits), 1), np.inf)
            stops[0, -1, 0] = self._limits[-1]
            gains = gains * as_number(before < constant(z, stops))
        new = {"filters.last": last, "filters.unseen_for": elapsed * refused}

        average = self._advance("average", x, gains, state, new)
        taus = len(self.time_constants)
        moving, gains = (average[:, :taus, :], gains[:, :taus, :]) if self._since_new else (average, gains)
        twice = self._advance("twice", moving, gains, state, new)
        self._observe(accepted, state, new)

        rows = [x, moving, moving - twice]
        if self._since_new:
            rows.append(average[:, taus:, :])
        return xp.concat(rows, axis=1), accepted, new

    def _advance(self, name: str, x: Array, gains: Array, state: dict[str, Array], new: dict[str, Array]) -> Array:
        """The average `name` [B,R,S] moved towards `x` by `gains`; its slices are put into `new`."""
        flat, shape = state[f"filters.{name}"], (-1, gains.shape[1], self.sensors)
        average = reshape(flat, shape)
        if self.compensated:
            low = reshape(state[f"filters.{name}_low"], shape)
            average, low = two_sum(average, gains * ((x - average) - low) + low)
            new[f"filters.{name}_low"] = reshape(low, (-1, shape[1] * shape[2]))
        else:
            average = average + gains * (x - average)
        new[f"filters.{name}"] = reshape(average, (-1, shape[1] * shape[2]))
        return average

    def _observe(self, accepted: Array, state: dict[str, Array], new: dict[str, Array]) -> None:
        """Time observed so far. Nothing depends on it beyond the longest time constant: there it may stop growing."""
        observed = state["filters.observed"]
        if self.compensated:
            new["filters.observed"], new["filters.observed_low"] = two_sum(
                observed, state["filters.observed_low"] + accepted
            )
        else:
            new["filters.observed"] = observed + accepted
