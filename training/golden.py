"""Golden rows: recorded inputs and outputs that a bundle replays when it is loaded.

Twins of held-out machines are streamed with missing readings, a gap, a repair, a replaced sensor, readings out of range
and, where the class has them, waveforms; some start new in between (a restart). From all steps rows are drawn that lie
clear of every tree split, since on a split two processors may rightly differ.
"""

from __future__ import annotations

import numpy as np

from data.asset_class import AssetClass
from edge_runtime.contract.event import Event
from edge_runtime.replay import Series
from edge_runtime.step import STATE_OUT, StepFunction
from features.history import History
from features.trace import feature_graph
from training.twin import Twin

MARGIN = 1e-4  # relative distance that a row keeps from every split
MACHINES = 8
STEPS = 240
ROWS = 96


def record(graph: bytes, twin: Twin, whole: History, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays `in.<input>` and `out.<output>` of one batched call of ROWS rows (fewer where history is short)."""
    step = StepFunction(graph)
    batches = _steps(step, twin, whole, np.random.default_rng(seed))
    inputs = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    clear = np.flatnonzero(_margins(twin, inputs) > MARGIN)
    if not len(clear):
        raise ValueError("no recorded row lies clear of the tree splits: nothing can be replayed")
    chosen = _chosen(inputs, _ranges(twin.asset_class), clear, np.random.default_rng(seed))
    inputs = {name: values[chosen] for name, values in inputs.items()} | _waveforms(twin, len(chosen), seed)
    outputs = step(inputs)
    return {f"in.{name}": value for name, value in inputs.items()} | {f"out.{n}": v for n, v in outputs.items()}


def _ranges(asset_class: AssetClass) -> np.ndarray:
    """f64[C,2] of the scalar channels; a class may have waveforms alone."""
    return np.array([asset_class.channels[name].range for name in asset_class.scalars]).reshape(-1, 2)


def _steps(step: StepFunction, twin: Twin, whole: History, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Inputs, states included, of every step of some machines with things going wrong; each as long as it lasts."""
    longest = sorted(range(len(whole.assets)), key=lambda i: -whole.rows[whole.assets[i]])[:MACHINES]
    series = [_some(whole.series[whole.assets[i]]) for i in longest]
    settings = whole.settings[longest]
    state = step.start(len(series))
    last = np.zeros(len(series), np.int64)
    batches = []
    for k in range(min(STEPS, len(series[0].time))):
        series = [s for s in series if len(s.time) > k]  # the longest are the first
        settings, state, last = (each[: len(series)] for each in (settings, state, last))
        time = np.array([s.time[k] for s in series])
        dt = np.where(k == 0, 0, (time - last) / 1e9).astype(np.float32)
        readings = np.stack([s.readings[k] for s in series])
        gap = rng.random(len(series)) < 0.05
        events = [Event.NONE, Event.NEW_LIFE, Event.SENSOR_REPLACED]
        restart = rng.random((len(series), 1)) < 0.02
        # Times off the grid: an age in whole cycles would sit right on the splits, which are whole cycles too.
        dt, late = dt * rng.uniform(0.8, 1.2, len(series)), rng.uniform(0.2, 0.8, len(series))
        age = np.where(rng.random(len(series)) < 0.5, [s.age[k] for s in series] + late, np.nan)
        inputs = {
            "readings": _spoil(readings, twin, rng),
            "dt": np.where(gap, dt + 2 * twin.asset_class.time.max_gap, dt).astype(np.float32),
            "event": rng.choice(events, len(series), p=[0.94, 0.03, 0.03]).astype(np.float32),
            "age": age.astype(np.float32),
            "settings": settings,
            "state": np.where(restart, np.float32(0), state).astype(np.float32),
        }
        batches.append(inputs)
        state, last = step(inputs, ["rul"])[STATE_OUT], time
    return batches


def _some(parts) -> Series:
    """The first observations of one machine."""
    return next(iter(parts))


def _spoil(readings: np.ndarray, twin: Twin, rng: np.random.Generator) -> np.ndarray:
    """Some readings missing, a few out of range; all a little off, or whole numbers would sit right on the splits."""
    spoiled = (readings * rng.normal(1, 1e-3, readings.shape)).astype(np.float32)
    spoiled[rng.random(readings.shape) < 0.03] = np.nan
    high = _ranges(twin.asset_class)[:, 1]
    wild = rng.random(readings.shape) < 0.02
    spoiled[wild] = (np.abs(high) * 10 + 1).astype(np.float32)[np.nonzero(wild)[1]]
    return spoiled


def _margins(twin: Twin, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Distance of each row from the tree splits, through the features its state and inputs make."""
    features = StepFunction(feature_graph(twin.step).SerializeToString())
    own = dict(inputs, state=inputs["state"][:, : twin.step.layout.size])
    return twin.trees.margin(features(own, ["features"])["features"])


def _chosen(
    inputs: dict[str, np.ndarray], ranges: np.ndarray, clear: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """ROWS of the clear rows, half of them of each kind of what goes wrong; `ranges` [C,2] of the channels."""
    readings = inputs["readings"]
    kinds = [
        inputs["event"] == Event.NEW_LIFE,
        inputs["event"] == Event.SENSOR_REPLACED,
        ~inputs["state"].any(axis=1),
        inputs["dt"] > np.median(inputs["dt"]) * 10,
        np.isnan(readings).any(axis=1),
        ((readings < ranges[:, 0]) | (readings > ranges[:, 1])).any(axis=1),
    ]
    shuffled = rng.permutation(clear)
    special = np.concatenate([shuffled[kind[shuffled]][: ROWS // 2 // len(kinds)] for kind in kinds])
    ordered = list(dict.fromkeys([*special.tolist(), *shuffled.tolist()]))
    return np.sort(ordered[:ROWS])


def _waveforms(twin: Twin, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Noise snapshots for every third row."""
    rng, made = np.random.default_rng(seed), {}
    for name in twin.asset_class.waveforms:
        channel = twin.asset_class.channels[name]
        assert channel.waveform is not None
        at = np.arange(0, rows, 3, dtype=np.int64)
        shape = (len(at), len(channel.waveform.axes), channel.waveform.samples)
        made[name] = (rng.normal(size=shape) * 0.1 * min(abs(limit) or 1.0 for limit in channel.range)).astype(
            np.float32
        )
        made[f"{name}.row"] = at
    return made
