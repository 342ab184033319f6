"""Cleaning: which readings can be used, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.asset_class import AssetClass
from edge_runtime.contract.quality import Quality
from features.array import Array, Float32, as_number, constant, matmul, namespace
from features.state import Slice


@dataclass(frozen=True)
class Found:
    """Something found out about readings: `holds` bool[B,N], and what each of the N adds to the flags, f32[N,C]."""

    holds: Array
    flags: Float32


def quality(found: list[Found]) -> Array:
    """Flags [B,C] of all that was `found`: one product of small whole numbers, which is exact."""
    holds = [each.holds for each in found]
    numbers = as_number(namespace(holds[0]).concat(holds, axis=1))
    # A reading is wild unless it is found to be missing or inside its range.
    return matmul(numbers, np.concatenate([each.flags for each in found])) + constant(numbers, Quality.OUT_OF_RANGE)


@dataclass(frozen=True)
class Cleaning:
    """Flags missing, out-of-range and stuck readings; holds operating conditions for a while.

    A sensor reading that cannot be used becomes NaN: its filters then keep what they last knew. A stand-in value would
    count as evidence, and after a change of operating point as false evidence. Only an operating condition with `hold`
    is replaced by its last good value, since no sensor can be judged without it.
    """

    asset_class: AssetClass

    @cached_property
    def channels(self) -> list[str]:
        return self.asset_class.scalars

    @cached_property
    def stuck(self) -> list[int]:
        """Indices of the channels that may not stay constant."""
        return [i for i, name in enumerate(self.channels) if self.asset_class.channels[name].stuck_after]

    @cached_property
    def held(self) -> list[int]:
        """Indices of the operating conditions that are held."""
        return [i for i, name in enumerate(self.channels) if self.asset_class.channels[name].hold]

    @property
    def slices(self) -> list[Slice]:
        slices = []
        if self.stuck:
            slices += [Slice("cleaning.previous", "sensor", len(self.stuck))]
            slices += [Slice("cleaning.same_for", "sensor", len(self.stuck))]
        if self.held:
            slices += [Slice("cleaning.last_good", "asset", len(self.held))]
            slices += [Slice("cleaning.hold_left", "asset", len(self.held))]
        return slices

    def __call__(
        self, readings: Array, dt: Array, state: dict[str, Array]
    ) -> tuple[Array, list[Found], dict[str, Array]]:
        """Readings [B,C] with NaN where unusable, what was found out (see `quality`), the new state; `dt` [B,1]."""
        xp = namespace(readings)
        ranges = np.array([self.asset_class.channels[name].range for name in self.channels], np.float32).reshape(-1, 2)
        missing = xp.isnan(readings)
        inside = (readings >= constant(readings, ranges[:, 0])) & (readings <= constant(readings, ranges[:, 1]))
        channel = np.eye(len(self.channels), dtype=np.float32)
        found = [
            Found(inside, -float(Quality.OUT_OF_RANGE) * channel),
            Found(missing, float(Quality.MISSING - Quality.OUT_OF_RANGE) * channel),
        ]
        new: dict[str, Array] = {}
        usable = inside  # comparisons with NaN are false
        if self.stuck:
            stuck, new_stuck = self._stuck(readings, dt, inside, state)
            usable = usable & ~_spread(stuck, np.array(self.stuck), len(self.channels))
            found.append(Found(stuck, float(Quality.STUCK) * channel[self.stuck]))
            new |= new_stuck
        values = xp.where(usable, readings, constant(readings, np.nan))
        if self.held:
            values, held, new_held = self._hold(values, dt, state)
            found.append(Found(held, float(Quality.HELD) * channel[self.held]))
            new |= new_held
        return values, found, new

    def _stuck(
        self, readings: Array, dt: Array, inside: Array, state: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """bool[B, channels that may not stay constant]: which are stuck; and the new state."""
        xp = namespace(readings)
        index = np.array(self.stuck)
        limit = np.array([self.asset_class.channels[self.channels[i]].stuck_after for i in self.stuck], np.float32)
        x, inside = _columns(readings, index), _columns(inside, index)
        previous, same_for = state["cleaning.previous"], state["cleaning.same_for"]
        longer = xp.minimum(same_for + dt, constant(readings, limit))
        same_for = xp.where(inside, longer * as_number(x == previous), same_for)
        new = {"cleaning.previous": xp.where(inside, x, previous), "cleaning.same_for": same_for}
        return (same_for >= constant(readings, limit)) & inside, new

    def _hold(self, values: Array, dt: Array, state: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
        """`values` with stand-ins, bool[B, held conditions] where one stands in, and the new state."""
        xp = namespace(values)
        index = np.array(self.held)
        hold = np.array([self.asset_class.channels[self.channels[i]].hold for i in self.held], np.float32)
        x, last_good = _columns(values, index), state["cleaning.last_good"]
        unknown = xp.isnan(x)
        left = xp.maximum(state["cleaning.hold_left"] - dt, constant(values, 0))
        left = xp.where(unknown, left, constant(values, hold))
        last_good = xp.where(unknown, last_good, x)
        new = {"cleaning.last_good": last_good, "cleaning.hold_left": left}
        holds = left > constant(values, 0)
        x = xp.where(holds, last_good, constant(values, np.nan))
        order = np.arange(len(self.channels))
        order[index] = len(self.channels) + np.arange(len(index))
        return xp.take(xp.concat([values, x], axis=1), xp.asarray(order), axis=1), holds & unknown, new


def _columns(x: Array, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Array:
    """Columns `index` of `x` [B,C]."""
    xp = namespace(x)
    return x if len(index) == x.shape[1] else xp.take(x, xp.asarray(index), axis=1)


def _spread(x: Array, index: np.ndarray[tuple[int], np.dtype[np.int64]], columns: int) -> Array:
    """[B,columns] with `x` at the columns `index` and 0 (false) elsewhere."""
    xp = namespace(x)
    if len(index) == columns:
        return x
    first = x[:, :1]
    blank = first & ~first if x.dtype == xp.bool else first * constant(x, 0)
    order = np.full(columns, len(index))
    order[index] = np.arange(len(index))
    return xp.take(xp.concat([x, blank], axis=1), xp.asarray(order), axis=1)
