"""Cleaning: which readings can be used, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.asset_class import AssetClass
from edge_runtime.contract.quality import Quality
from features.array import Array, constant, namespace
from features.state import Slice


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

    def __call__(self, readings: Array, dt: Array, state: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
        """Readings [B,C] with NaN where unusable, quality flags [B,C] as float32, and the new state; `dt` [B,1]."""
        xp = namespace(readings)
        ranges = np.array([self.asset_class.channels[name].range for name in self.channels], np.float32).reshape(-1, 2)
        missing = xp.isnan(readings)
        inside = (readings >= constant(readings, ranges[:, 0])) & (readings <= constant(readings, ranges[:, 1]))
        good, wild = constant(readings, 0), constant(readings, Quality.OUT_OF_RANGE)
        flags = xp.where(inside, good, xp.where(missing, constant(readings, Quality.MISSING), wild))
        new: dict[str, Array] = {}
        usable = inside  # comparisons with NaN are false
        if self.stuck:
            stuck, new_stuck = self._stuck(readings, dt, inside, state)
            usable = usable & ~stuck
            flags = flags + xp.where(stuck, constant(readings, Quality.STUCK), good)
            new |= new_stuck
        values = xp.where(usable, readings, constant(readings, np.nan))
        if self.held:
            values, held, new_held = self._hold(values, dt, state)
            flags = flags + xp.where(held, constant(readings, Quality.HELD), constant(readings, 0))
            new |= new_held
        return values, flags, new

    def _stuck(
        self, readings: Array, dt: Array, inside: Array, state: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        xp = namespace(readings)
        index = np.array(self.stuck)
        limit = np.array([self.asset_class.channels[self.channels[i]].stuck_after for i in self.stuck], np.float32)
        x, inside = _columns(readings, index), _columns(inside, index)
        previous, same_for = state["cleaning.previous"], state["cleaning.same_for"]
        longer = xp.minimum(same_for + dt, constant(readings, limit))
        moved = xp.where(x == previous, longer, constant(readings, 0))
        same_for = xp.where(inside, moved, same_for)
        new = {"cleaning.previous": xp.where(inside, x, previous), "cleaning.same_for": same_for}
        return _spread((same_for >= constant(readings, limit)) & inside, index, len(self.channels)), new

    def _hold(self, values: Array, dt: Array, state: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
        xp = namespace(values)
        index = np.array(self.held)
        hold = np.array([self.asset_class.channels[self.channels[i]].hold for i in self.held], np.float32)
        x, last_good = _columns(values, index), state["cleaning.last_good"]
        unknown = xp.isnan(x)
        left = xp.maximum(state["cleaning.hold_left"] - dt, constant(values, 0))
        left = xp.where(unknown, left, constant(values, hold))
        held = unknown & (left > constant(values, 0))
        last_good = xp.where(unknown, last_good, x)
        new = {"cleaning.last_good": last_good, "cleaning.hold_left": left}
        stand_in = _spread(xp.where(held, last_good, constant(values, 0)), index, len(self.channels))
        held_everywhere = _spread(held, index, len(self.channels))
        return xp.where(held_everywhere, stand_in, values), held_everywhere, new


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
