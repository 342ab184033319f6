"""What the alarms of machines watch, at every observation, from the models' recorded words: no bundle is needed.

Of a training machine the models and the calibration of the *other* folds speak, so the alarms are those that a twin
would have given that had never seen it: false alarms and warning times known before any test machine is looked at. What
no model says (readings, their quality, health) comes from the step function with the constants of the same folds. The
graph itself advances in the same way; `tests/pipeline` holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.asset_class import AssetClass
from data.lives import Life
from data.observations import Observations
from edge_runtime.fleet import NANOS
from features import history
from features.history import History
from features.parameters import Parameters
from features.state import StateLayout
from features.step import FeatureStep
from features.trace import feature_graph
from training.alarms import Alarms
from training.calibration import Calibration
from training.feature_table import subset
from training.measures.tally import LifeAlarms, extent
from training.native import native

STREAMED = ["health", "novelty", "warming_up", "since_new", "quality"]
PROGNOSIS = ["failure_probability", "anomaly_score", "rul", "rul_lower", "unfamiliar"]
BATCH = 2_000_000  # observations streamed at once, so that memory stays bounded


@dataclass(frozen=True)
class Signals:
    """One machine. T observations."""

    asset: str
    event: np.ndarray  # f32[T]
    dt: np.ndarray  # f32[T], since the previous observation, in time units
    values: dict[str, np.ndarray]  # signal → f32[T]; a channel is NaN where its reading cannot be used
    without_age: dict[str, np.ndarray]  # the same as if nobody knew the machine's age


def signals(
    asset_class: AssetClass,
    parameters: Parameters,
    calibration: Calibration,
    whole: History,
    observations: Observations,
    said: pd.DataFrame,
) -> Iterator[Signals]:
    """Of each machine of `whole`; `said` has asset, row and what the models say at every tick."""
    graph = feature_graph(FeatureStep(asset_class, parameters)).SerializeToString()
    by_asset = dict(tuple(said.groupby("asset")))
    for assets in _batches(whole):
        table = history.run(graph, subset(whole, assets), STREAMED, where=None, label="alarms")
        for i, asset in enumerate(assets):
            mine = table.asset == i
            streamed = {name: column[mine] for name, column in table.columns.items()}
            held = _held(by_asset[asset], table.row[mine])
            yield _of_machine(asset_class, calibration, asset, whole, observations, streamed, held)


def _batches(whole: History) -> Iterator[list[str]]:
    """Machines of at most BATCH observations together, one at least."""
    batch: list[str] = []
    for asset in whole.assets:
        if batch and sum(whole.rows[each] for each in [*batch, asset]) > BATCH:
            yield batch
            batch = []
        batch.append(asset)
    if batch:
        yield batch


def _held(said: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """What the models last said at each of the observations `rows`; a first observation is always a tick."""
    at = np.searchsorted(said.row.to_numpy(), rows, side="right") - 1
    return said.iloc[at].reset_index(drop=True)


def _of_machine(
    asset_class: AssetClass,
    calibration: Calibration,
    asset: str,
    whole: History,
    observations: Observations,
    streamed: dict[str, np.ndarray],
    held: pd.DataFrame,
) -> Signals:
    values = {"health": streamed["health"].reshape(-1)}
    watched = {alarm.signal for alarm in asset_class.alarms.values()}
    if watched & {*asset_class.scalars}:
        readings = np.concatenate([part.readings for part in whole.series[asset]])
        usable = np.where(streamed["quality"] == 0, readings, np.float32(np.nan))
        values |= {name: usable[:, asset_class.scalars.index(name)] for name in watched & {*asset_class.scalars}}
    timeline = observations.timeline(asset)
    dt = (np.diff(timeline.time, prepend=timeline.time[:1]) / NANOS).astype(np.float32)
    said = [
        _prognosis(asset_class, calibration, streamed, since_new, held)
        for since_new in (streamed["since_new"] > 0.5, np.zeros(len(dt), bool))
    ]
    return Signals(asset, timeline.event.astype(np.float32), dt, values | said[0], values | said[1])


def _prognosis(
    asset_class: AssetClass,
    calibration: Calibration,
    streamed: dict[str, np.ndarray],
    since_new: np.ndarray,
    held: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """Between ticks the models' words hold, while warm-up goes on: the prognosis is made anew at each observation."""
    now = pd.DataFrame({"since_new": since_new, **{name: streamed[name] for name in ("warming_up", "novelty")}})
    made = native(asset_class, calibration, now, held)
    return {name: made[name].to_numpy(np.float32) for name in PROGNOSIS}


def conditions(
    asset_class: AssetClass, machines: Sequence[Signals], without_age: bool = False
) -> dict[str, np.ndarray]:
    """Asset → bool[T,A]: which alarm conditions of the class stand at each observation.

    All machines advance together. `without_age`: as if nobody knew their ages.
    """
    alarms = Alarms(asset_class)
    longest_first = sorted(machines, key=lambda each: -len(each.dt))
    lengths = np.array([len(each.dt) for each in longest_first])
    shape = (int(lengths.max(initial=0)), len(longest_first))
    names = sorted({alarm.signal for alarm in asset_class.alarms.values()})
    laid_out = {name: np.zeros(shape, np.float32) for name in (*names, "dt", "event")}
    for j, each in enumerate(longest_first):
        for name in names:
            laid_out[name][: lengths[j], j] = (each.without_age if without_age else each.values)[name]
        laid_out["dt"][: lengths[j], j], laid_out["event"][: lengths[j], j] = each.dt, each.event
    # no record says limits of a machine's own: NaN, the class's hold
    settings = np.full((shape[1], len(asset_class.settings) + len(asset_class.alarm_settings)), np.nan, np.float32)
    layout = StateLayout(tuple(alarms.slices))
    state = np.zeros((shape[1], layout.size), np.float32)
    active = np.zeros((*shape, len(asset_class.alarms)), bool)
    watching = np.searchsorted(-lengths, -np.arange(shape[0])).tolist()  # machines that have a k-th observation
    for k, n in enumerate(watching):
        now = {name: laid_out[name][k, :n, None] for name in (*names, "dt")}
        slices = layout.enter(state[:n], laid_out["event"][k, :n])
        _, new = alarms(now, settings[:n], now["dt"], slices)
        state[:n] = layout.leave(new)
        active[k, :n] = new["alarm.active"] > 0
    return {each.asset: active[: lengths[j], j] for j, each in enumerate(longest_first)}


def life_alarms(
    asset_class: AssetClass, observations: Observations, lives: Sequence[Life], active: Mapping[str, np.ndarray]
) -> list[LifeAlarms]:
    """The lives of the machines in `active` (asset → bool[T,A], the conditions of the class that stand)."""
    level = np.array([alarm.level for alarm in asset_class.alarms.values()], np.int8)
    made = []
    for life in (each for each in lives if each.asset in active):
        rows, to_end = extent(observations, life, asset_class.time_units_per_life_unit)
        highest = (active[life.asset][rows] * level).max(axis=1, initial=0).astype(np.int8)
        made.append(LifeAlarms(life.asset, life.life, life.kind == "failure", to_end, highest))
    return made
