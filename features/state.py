"""The layout of the state: one flat float32 vector per machine, cut into named slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from edge_runtime.contract.event import Event
from features.array import Array, constant, namespace, split

Scope = Literal["life", "sensor", "asset"]

# The event that zeroes a slice of each scope. Slices of scope "asset" are never zeroed.
_ZEROED_BY = {"life": float(Event.NEW_LIFE), "sensor": float(Event.SENSOR_REPLACED), "asset": -1.0}


@dataclass(frozen=True)
class Slice:
    """`size` consecutive floats of the state."""

    name: str
    scope: Scope
    size: int


@dataclass(frozen=True)
class StateLayout:
    """All slices in order. Zeros are a valid start for each.

    >>> layout = StateLayout((Slice("clock.started", "life", 1), Slice("cleaning.last", "sensor", 2)))
    >>> state = np.ones((2, 3), np.float32)
    >>> layout.enter(state, event=np.array([0, 1], np.float32))["clock.started"]
    array([[1.],
           [0.]], dtype=float32)
    """

    slices: tuple[Slice, ...]

    @cached_property
    def size(self) -> int:
        return sum(s.size for s in self.slices)

    def enter(self, state: Array, event: Array) -> dict[str, Array]:
        """Slices of `state` [B,S] by name, those zeroed that `event` [B] ends."""
        xp = namespace(state)
        codes = np.concatenate([np.full(s.size, _ZEROED_BY[s.scope]) for s in self.slices])
        state = xp.where(event[:, None] == constant(event, codes), constant(state, 0.0), state)
        return dict(zip((s.name for s in self.slices), split(state, [s.size for s in self.slices]), strict=True))

    def leave(self, new: Mapping[str, Array]) -> Array:
        """The next state [B,S] from its slices."""
        parts = [new[s.name] for s in self.slices]
        return namespace(parts[0]).concat(parts, axis=1)


def join(*parts: Iterable[Slice]) -> StateLayout:
    """One layout of the slices of several components."""
    return StateLayout(tuple(s for part in parts for s in part))
