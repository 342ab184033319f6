"""The alarms of the class judged on machines that had no say in them: a false-alarm rate known beforehand.

The conditions (limit, dead-band, delays) run over what a twin would have said at every observation: of training
machines by models and calibration of the other folds, of test machines by the final ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data import paths
from data.asset_class import AssetClass
from data.lives import Life, read_lives
from data.observations import Observations
from training.alarm_signals import Signals, conditions, life_alarms, signals
from training.calibration import Calibration
from training.dataset import FINAL, TEST, Dataset
from training.feature_table import read_history, subset
from training.measures import alarming
from training.measures.figures import Figures
from training.measures.tally import LifeAlarms


@dataclass(frozen=True)
class Watched:
    """What the alarms of each machine watch: training machines under `cv`, test machines under `test`."""

    asset_class: AssetClass
    observations: Observations
    lives: list[Life]
    machines: Mapping[str, list[Signals]]

    def alarms(self, part: str, without_age: bool = False) -> list[LifeAlarms]:
        """Each life of the machines of `part` as the class's own alarms see it."""
        active = conditions(self.asset_class, self.machines[part], without_age)
        return life_alarms(self.asset_class, self.observations, self.lives, active)

    def alarms_by_threshold(self, part: str) -> dict[float, list[LifeAlarms]]:
        """The same with alarms at other limits of the failure probability, each for itself."""
        other = alarming.at_thresholds(self.asset_class)
        active = conditions(other, self.machines[part])
        place = np.arange(len(other.alarms))
        return {
            threshold: life_alarms(
                other, self.observations, self.lives, {asset: on & (place == i) for asset, on in active.items()}
            )
            for i, threshold in enumerate(alarming.thresholds(self.asset_class))
        }


def watch(dataset: Dataset, calibrations: Mapping[int, Calibration], final: Calibration, said: pd.DataFrame) -> Watched:
    """Stream all machines; `said` has asset, row, fold and what the models say of every tick."""
    fleet, cls = dataset.fleet, dataset.asset_class
    observations = Observations(paths.observations(fleet), cls)
    whole = read_history(cls, paths.observations(fleet), paths.artifact(fleet, "machines.csv"))
    machines: dict[str, list[Signals]] = {"cv": [], "test": []}
    for fold, own in said.groupby("fold"):
        is_test = fold == TEST
        parameters = dataset.part(FINAL if is_test else int(fold)).parameters
        calibration = final if is_test else calibrations[int(fold)]
        own_history = subset(whole, list(dict.fromkeys(own.asset)))
        found = signals(cls, parameters, calibration, own_history, observations, own)
        machines["test" if is_test else "cv"].extend(found)
    return Watched(cls, observations, read_lives(paths.artifact(fleet, "lives.csv")), machines)


def alarm_figures(figures: Figures, watched: Watched, suffixes: Mapping[str, bool]) -> pd.DataFrame:
    """`alarms<suffix>.*` at the class's limits, by suffix → whether ages are withheld; returns what other limits give
    on training machines (`alarming.curve`).
    """
    cls = watched.asset_class
    for suffix, without_age in suffixes.items() if cls.alarms else ():
        for part in watched.machines:
            alarming.alarming(figures, f"alarms{suffix}", part, cls, watched.alarms(part, without_age))
    return alarming.curve(cls, watched.alarms_by_threshold("cv"))
