"""Figures of the alarms at the limits that the class declares, and what other limits would have given."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pandas as pd

from data.asset_class import Alarm, AssetClass
from training.measures import bootstrap
from training.measures.bootstrap import Resampling
from training.measures.figures import Figures
from training.measures.tally import LifeAlarms, Tally, tally

# False alarms are counted per this much watched time: time units, the name in figures, and what people call it.
EXPOSURE = {"s": (30 * 86400.0, "machine_month", "machine-month"), "cycle": (1000.0, "1000_cycles", "1,000 cycles")}
THRESHOLDS = (0.05, *(round(0.1 * i, 1) for i in range(1, 10)), 0.95)
NO_FAR = "no machine was watched with more than the horizon left"
NO_DUE = "no record comes within the horizon of a failure"
NO_ALARM = "no failure was announced"


def rate_name(asset_class: AssetClass) -> str:
    """Name of the false-alarm rate among the figures: they have a unit that differs by class."""
    return f"false_alarms_per_{EXPOSURE[asset_class.time.unit][1]}"


def per_exposure(asset_class: AssetClass) -> float:
    """How many units of life make up the exposure that false alarms are counted per."""
    return EXPOSURE[asset_class.time.unit][0] / asset_class.time_units_per_life_unit


def rate(asset_class: AssetClass, counted: Tally) -> float | None:
    """False alarms per machine-month or per 1,000 cycles, over the time in which one could be told to be false."""
    return counted.false_alarms * per_exposure(asset_class) / counted.far if counted.far else None


def tallied(asset_class: AssetClass, lives: Sequence[LifeAlarms]) -> list[Tally]:
    """Alarms counted at each level that the class uses, the highest first."""
    levels = sorted({alarm.level for alarm in asset_class.alarms.values()}, reverse=True)
    return [_tally(asset_class, lives, level) for level in levels]


def _tally(asset_class: AssetClass, lives: Sequence[LifeAlarms], level: int) -> Tally:
    labels = asset_class.labels
    return tally(
        lives, level, labels.horizon, labels.cap, asset_class.time.max_gap / asset_class.time_units_per_life_unit
    )


def alarming(figures: Figures, prefix: str, part: str, asset_class: AssetClass, lives: Sequence[LifeAlarms]) -> None:
    """`<prefix>.level_<n>.<part>.*`: alarms of level n or higher; see `Tally` for what counts as what.

    due, announced (share of these), median_lead (unit of life), false_alarms, their rate, undecided, watched (unit of
    life) and in_alarm (share of `watched`: time with more than the horizon left).
    """
    for counted in tallied(asset_class, lives):
        name = f"{prefix}.level_{counted.level}.{part}"
        seen = len(counted.warnings)
        figures.set(f"{name}.due", counted.due)
        figures.set(f"{name}.announced", seen / counted.due if counted.due else None, NO_DUE)
        lead = median(counted.warnings) if seen else None
        figures.set(f"{name}.median_lead", lead, NO_ALARM if counted.due else NO_DUE)
        figures.set(f"{name}.false_alarms", counted.false_alarms)
        figures.set(f"{name}.{rate_name(asset_class)}", rate(asset_class, counted), NO_FAR)
        figures.set(f"{name}.undecided", counted.undecided)
        figures.set(f"{name}.watched", counted.far)
        figures.set(f"{name}.in_alarm", counted.far_in_alarm / counted.far if counted.far else None, NO_FAR)
        _spread(figures, name, asset_class, lives, counted.level)


def _spread(figures: Figures, name: str, asset_class: AssetClass, lives: Sequence[LifeAlarms], level: int) -> None:
    """`ci.…` of the share announced and of the false-alarm rate."""
    each = [_tally(asset_class, [life], level) for life in lives]
    draws = Resampling.of([life.asset for life in lives])
    far, false, due, seen = (
        np.array(values, np.float64)
        for values in zip(*((t.far, t.false_alarms, t.due, len(t.warnings)) for t in each), strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        announced = draws.total(seen) / draws.total(due)
        rates = draws.total(false) / draws.total(far) * per_exposure(asset_class)
    failed = {life.asset for life, counted in zip(lives, due, strict=True) if counted}
    bootstrap.put_share(figures, f"{name}.announced", len(failed), announced, NO_DUE)
    exposure = float(far.sum()) / per_exposure(asset_class)
    bootstrap.put_rate(figures, f"{name}.{rate_name(asset_class)}", draws.machines, rates, exposure, NO_FAR)


def action(asset_class: AssetClass) -> tuple[str, Alarm] | None:
    """The alarm on the failure probability that calls for action: the lowest level from 2 up, else the highest."""
    found = [
        (name, a) for name, a in asset_class.alarms.items() if a.signal == "failure_probability" and a.above is not None
    ]
    found.sort(key=lambda each: (each[1].level < 2, each[1].level if each[1].level >= 2 else -each[1].level))
    return found[0] if found else None


def at_thresholds(asset_class: AssetClass) -> AssetClass:
    """The class with one alarm a threshold of the failure probability in place of its own.

    Delays and dead-band are those of `action`, none without; at other thresholds than its own the dead-band is at most
    half of it, else a low alarm would never end.
    """
    found = action(asset_class)
    like = found[1] if found else Alarm(level=2, signal="failure_probability", above=0.5)

    def band(threshold: float) -> float:
        return like.dead_band if threshold == like.limit else min(like.dead_band, threshold / 2)

    alarms = {
        f"at_{i}": like.model_copy(update={"above": each, "level": 2, "dead_band": band(each)})
        for i, each in enumerate(thresholds(asset_class))
    }
    return asset_class.model_copy(update={"alarms": alarms})


def thresholds(asset_class: AssetClass) -> list[float]:
    """THRESHOLDS and the class's own."""
    found = action(asset_class)
    return sorted({*THRESHOLDS, *([found[1].limit] if found else [])})


def curve(asset_class: AssetClass, by_threshold: dict[float, list[LifeAlarms]]) -> pd.DataFrame:
    """What an alarm at each threshold would have given, by row: threshold, declared, false_alarms, rate, due,
    announced, median_lead; NaN where unknown.
    """
    found = action(asset_class)
    made = []
    for threshold, lives in by_threshold.items():
        counted = _tally(asset_class, lives, 1)
        made.append(
            {
                "threshold": threshold,
                "declared": found is not None and threshold == found[1].limit,
                "false_alarms": counted.false_alarms,
                "rate": rate(asset_class, counted),
                "due": counted.due,
                "announced": len(counted.warnings) / counted.due if counted.due else None,
                "median_lead": median(counted.warnings) if counted.warnings else None,
            }
        )
    return pd.DataFrame(made).astype({"rate": float, "announced": float, "median_lead": float})
