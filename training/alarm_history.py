"""What the bundle's alarms said over the history of the test machines, observation by observation."""

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
from training.measures.tally import LifeAlarms, extent


@dataclass(frozen=True)
class Watched:
    """What running the bundle over the test machines gave."""

    lives: list[LifeAlarms]
    drivers: np.ndarray | None  # f64[C], mean |contribution| within the horizon of a failure, machines weighted equally


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
        rows, to_end = extent(observations, each, units)
        failed = each.kind == "failure"
        watched.append(LifeAlarms(each.asset, each.life, failed, to_end, levels[each.asset][rows]))
        late[each.asset][rows] = failed & (to_end <= horizon)
    means = _run(fleet, whole, levels, late)
    return Watched(watched, np.mean(means, axis=0) if means else None)


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
