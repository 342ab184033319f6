"""Alarms against what came: announced failures, warning time, false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.lives import Life
from data.observations import Observations


@dataclass(frozen=True)
class LifeAlarms:
    """One life of a machine as its alarms saw it. T observations; durations in the unit of life."""

    asset: str
    life: int
    failed: bool
    to_end: np.ndarray  # f64[T], falling: to the failure, or to the end of what is known of the machine
    level: np.ndarray  # int8[T], 0 = none

    def episodes(self, level: int) -> list[tuple[float, float]]:
        """(`to_end` at the first, at the last observation) of each stretch with an alarm of at least `level`."""
        on = np.concatenate(([0], self.level >= level, [0])).astype(np.int8)
        edges = np.flatnonzero(np.diff(on))
        return [
            (float(self.to_end[a]), float(self.to_end[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]


@dataclass(frozen=True)
class Tally:
    """Alarms of at least one level against what came; durations in the unit of life."""

    level: int
    due: int  # lives that failed, and whose record reaches into the horizon before the failure
    warnings: list[float]  # of the lives due with an alarm within the horizon: from its beginning to the failure
    false_alarms: int  # alarms that ended with more than the horizon left, or began with more than the cap left
    undecided: int  # alarms after which the record ends before anybody can know
    far: float  # time watched with more than the horizon left
    far_in_alarm: float  # of it, under alarm


def tally(lives: Sequence[LifeAlarms], level: int, horizon: float, cap: float, max_gap: float = np.inf) -> Tally:
    """Count alarms of at least `level`. One belongs to a failure that follows within `horizon` of any part of it.

    Unless it began with more than the `cap` left, where lives are not told apart: that foresaw nothing, and is false
    even if it stands until the failure. Otherwise an alarm that is always on would announce every failure.

    A life that did not fail tells as much as the labels know: an alarm that ended more than the horizon before the end
    of its record was false, a later one stays undecided. So does one that stands where a record ends more than the
    horizon before the failure: it may have stood until then. Nobody watched where the record is silent for longer than
    `max_gap`: such time would thin out false alarms.
    """
    due, false_alarms, undecided, far, far_in_alarm = 0, 0, 0, 0.0, 0.0
    warnings = []
    for life in lives:
        episodes = life.episodes(level)
        end = life.to_end[-1]
        near = [first for first, last in episodes if last <= max(horizon, end) and first <= cap]
        false_alarms += len(episodes) - len(near)
        if not life.failed or end > horizon:
            undecided += len(near)
        else:
            due += 1
            warnings += [max(near)] if near else []
        step = -np.diff(life.to_end)
        is_far = (life.to_end[:-1] > horizon) & (step <= max_gap * (1 + 1e-9))
        far += float(step[is_far].sum())
        far_in_alarm += float(step[is_far & (life.level[:-1] >= level)].sum())
    return Tally(level, due, warnings, false_alarms, undecided, far, far_in_alarm)


def extent(observations: Observations, life: Life, units: float) -> tuple[slice, np.ndarray]:
    """The rows of a life among those of its machine, and the time to its end at each, in the unit of life."""
    timeline = observations.timeline(life.asset)
    first, stop = np.searchsorted(timeline.life, [life.life, life.life + 1])
    return slice(first, stop), (life.end - timeline.time[first:stop]) / 1e9 / units
