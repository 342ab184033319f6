"""What the bundle's alarms said over the history of the test machines, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from data.lives import Life
from data.observations import Observations
from edge_runtime.fleet import Fleet
from edge_runtime.replay import replay
from features.history import History


@dataclass(frozen=True)
class LifeAlarms:
    """One life of a test machine as its alarms saw it. T observations; durations in the unit of life."""

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
    false_alarms: int  # alarms that came and went, or stood at the end of the record, with more than the horizon left
    undecided: int  # alarms after which the record ends before anybody can know
    far: float  # time watched with more than the horizon left
    far_in_alarm: float  # of it, under alarm


@dataclass(frozen=True)
class Watched:
    """What running the bundle over the test machines gave."""

    lives: list[LifeAlarms]
    drivers: np.ndarray | None  # f64[C], mean |contribution| within the horizon of a failure, machines weighted equally


def tally(lives: Sequence[LifeAlarms], level: int, horizon: float) -> Tally:
    """Count alarms of at least `level`. One belongs to a failure that follows within `horizon` of any part of it.

    A life that did not fail, or whose record ends early, tells as much as the labels know: an alarm that ended more
    than the horizon before the end of its record was false, a later one stays undecided.
    """
    due, false_alarms, undecided, far, far_in_alarm = 0, 0, 0, 0.0, 0.0
    warnings = []
    for life in lives:
        episodes = life.episodes(level)
        false = [last > horizon for _, last in episodes]
        near = [first for (first, _), is_false in zip(episodes, false, strict=True) if not is_false]
        false_alarms += sum(false)
        if not life.failed:
            undecided += len(near)
        elif life.to_end[-1] <= horizon:
            due += 1
            warnings += [max(near)] if near else []
        step = -np.diff(life.to_end)
        is_far = life.to_end[:-1] > horizon
        far += float(step[is_far].sum())
        far_in_alarm += float(step[is_far & (life.level[:-1] >= level)].sum())
    return Tally(level, due, warnings, false_alarms, undecided, far, far_in_alarm)


def watch(
    fleet: Fleet, whole: History, observations: Observations, lives: Sequence[Life], units: float, horizon: float
) -> Watched:
    """Run `fleet` over the history of its machines, observation by observation; `units` = time units per unit of life.

    Keeps some ten bytes an observation.
    """
    levels = {asset: np.zeros(whole.rows[asset], np.int8) for asset in whole.assets}
    late = {asset: np.zeros(whole.rows[asset], bool) for asset in whole.assets}
    watched = []
    for each in (life for life in lives if life.asset in levels):
        rows, to_end = _extent(observations, each, units)
        failed = each.kind == "failure"
        watched.append(LifeAlarms(each.asset, each.life, failed, to_end, levels[each.asset][rows]))
        late[each.asset][rows] = failed & (to_end <= horizon)
    means = _run(fleet, whole, levels, late)
    return Watched(watched, np.mean(means, axis=0) if means else None)


def _extent(observations: Observations, life: Life, units: float) -> tuple[slice, np.ndarray]:
    """The rows of a life among those of its machine, and the time to its end at each, in the unit of life."""
    timeline = observations.timeline(life.asset)
    first, stop = np.searchsorted(timeline.life, [life.life, life.life + 1])
    return slice(first, stop), (life.end - timeline.time[first:stop]) / 1e9 / units


def _run(fleet: Fleet, whole: History, levels: dict[str, np.ndarray], late: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Fill in `levels`; the mean |contribution| f64[C] over the `late` rows of each machine that has some."""
    sums: dict[str, np.ndarray] = {}
    counts = dict.fromkeys(whole.assets, 0)
    sources = {asset: whole.series[asset] for asset in whole.assets}
    progress = tqdm(total=whole.total, desc="alarms", unit="obs", disable=None, mininterval=1)
    for asset, rows, outputs in replay(fleet, sources, ["alarm", "contribution", "warming_up"]):
        levels[asset][rows] = outputs["alarm"]
        chosen = late[asset][rows] & (outputs["warming_up"] <= 0)
        part = np.abs(outputs["contribution"][chosen]).sum(axis=0, dtype=np.float64)
        sums[asset] = sums.get(asset, 0.0) + part
        counts[asset] += int(chosen.sum())
        progress.update(len(rows))
    progress.close()
    return [sums[asset] / count for asset, count in counts.items() if count]
