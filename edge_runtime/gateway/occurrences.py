"""The occurrences of alarms: raised, changed, cleared, each a durable event with an id.

The graph owns the *condition*: `alarm`, a level with dead-band and delays. What happens to it here is an *occurrence*
of one machine: it begins when the level leaves 0 and ends when it is 0 again. Its id is made of asset, term and the
number of the observation that raised it, so it is the same whoever computes it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.contract.event import Event


class Occurrence(NamedTuple):
    """An active alarm: its `level` now, when and at which observation it began.

    `held`: the twin has lost its alarm timers in a change of model and is warming up. Level 0 is no news until then.
    """

    id: str
    level: int
    began: int  # source time, int64 nanos
    number: int
    held: bool = False


class Change(NamedTuple):
    """What an observation did to an occurrence: it went from level `before` to `level`; one of them may be 0."""

    position: int  # in the batch
    asset: str
    occurrence: Occurrence  # as it is now; as it was last, if it ended
    before: int
    level: int


class Occurrences:
    """The active alarms of the machines of one class, in the order of `assets`, with their `terms` int64[N]."""

    def __init__(self, assets: Sequence[str], terms: I64) -> None:
        self._assets = tuple(assets)
        self._terms = terms
        self._rows = {asset: row for row, asset in enumerate(self._assets)}
        self._level = np.zeros(len(self._assets), np.int8)
        self._held: Bool = np.zeros(len(self._assets), np.bool_)
        self.active: dict[str, Occurrence] = {}
        self._news: set[str] = set()

    def update(self, rows: I64, numbers: I64, time: I64, event: F32, outputs: Mapping[str, Array]) -> list[Change]:
        """The changes that one batch of accepted observations makes, in its order; rows int64[B], distinct."""
        level = outputs["alarm"].astype(np.int8)
        before = self._level[rows]
        held = self._held[rows]
        if held.any():
            level = self._hold(rows, level, before, held, outputs["warming_up"] > 0, event == Event.NEW_LIFE)
        different = np.flatnonzero(level != before)
        if not len(different):  # nearly always
            return []
        self._level[rows] = level
        return [
            self._change(i, self._assets[rows[i]], int(before[i]), int(level[i]), int(numbers[i]), int(time[i]))
            for i in different.tolist()
        ]

    def hold(self) -> None:
        """The model has changed and its alarm timers start anew: what is active stays until the twin knows better."""
        for asset, occurrence in self.active.items():
            self.active[asset] = occurrence._replace(held=True)
        self._held = self._level > 0

    def counts(self) -> dict[str, int]:
        """Level → machines."""
        levels, counts = np.unique(self._level[self._level > 0], return_counts=True)
        return {str(level): int(count) for level, count in zip(levels, counts, strict=True)}

    def state(self) -> dict[str, Any]:
        """All that is active, as plain values for JSON: asset → occurrence."""
        return {asset: list(occurrence) for asset, occurrence in self.active.items()}

    def take_news(self) -> dict[str, Any]:
        """The part of `state` that has changed since the last call, null for what ended: for the journal."""
        news = {asset: self.active.get(asset) for asset in self._news}
        self._news.clear()
        return {asset: None if occurrence is None else list(occurrence) for asset, occurrence in news.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with a `state`, or with the news after it. Machines that are no longer there are left out."""
        for asset, value in state.items():
            row = self._rows.get(asset)
            if row is None:
                continue
            if value is None:
                self.active.pop(asset, None)
                self._level[row] = self._held[row] = 0
            else:
                self.active[asset] = occurrence = Occurrence(*value)
                self._level[row], self._held[row] = occurrence.level, occurrence.held

    def _hold(self, rows: I64, level: Array, before: Array, held: Bool, warming_up: Bool, renewed: Bool) -> Array:
        """Levels with those of held occurrences kept up; what the new model knows by itself is held no longer."""
        known = held & (~warming_up | renewed | (level >= before))
        self._held[rows[known]] = False
        for row in rows[known].tolist():
            asset = self._assets[row]
            self.active[asset] = self.active[asset]._replace(held=False)
            self._news.add(asset)
        return np.where(held & ~known, before, level)

    def _change(self, position: int, asset: str, before: int, level: int, number: int, time: int) -> Change:
        self._news.add(asset)
        if level == 0:
            return Change(position, asset, self.active.pop(asset), before, 0)
        if before == 0:
            identity = f"{asset}-{self._terms[self._rows[asset]]}-{number}"
            self.active[asset] = Occurrence(identity, level, time, number)
        else:
            self.active[asset] = self.active[asset]._replace(level=level)
        return Change(position, asset, self.active[asset], before, level)
