"""Small asset classes, constants for them, and readings in which everything happens that may happen to a machine."""

import numpy as np

from data.asset_class import AssetClass
from edge_runtime.contract.event import Event
from features.parameters import Parameters
from features.step import FeatureStep, Observation, sensor_names

SENSOR = {"quantity": "temperature", "unit": "°C", "range": [-50, 150]}
CONDITION = {"role": "condition", "quantity": "speed", "unit": "rpm", "range": [0, 100]}
SHAKE = {"quantity": "acceleration", "unit": "m/s2", "range": [-50, 50]} | {
    "waveform": {"axes": ["x", "y"], "samples": 64, "rate": 1000}
}


def asset_class(**changes):
    """A class in cycles with two sensors, whose tick is its interval; `changes` replace whole sections."""
    content = {
        "name": "machine",
        "title": "Machine",
        "time": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 20},
        "life": {
            "unit": "cycle",
            "age": "optional",
            "begins": "new",
            "ends": "failure",
            "healthy": {"min_remaining": 50},
        },
        "labels": {"cap": 100, "horizon": 20},
        "channels": {"oil": SENSOR, "water": SENSOR},
        "features": {"time_constants": [3, 9], "warm_up": 8},
        "source": {"reader": "table", "files": ["machines.csv"]},
    }
    return AssetClass.model_validate(content | changes)


def life(age="optional", unit="cycle"):
    return {"unit": unit, "age": age, "begins": "new", "ends": "failure", "healthy": {"min_remaining": 50}}


ALARMS = {
    "hot": {"level": 2, "signal": "oil", "above": 60, "dead_band": 10, "on_delay": 2, "off_delay": 3},
    "worn": {"level": 1, "signal": "health", "below": 0.3},
}
FORMULAS = {
    "difference": {"quantity": "temperature", "unit": "K", "formula": "oil - water", "range": [-300, 300]},
    "share": {"quantity": "share", "unit": "1", "formula": "oil / nominal", "range": [0, 1.2]},
}
NOMINAL = {"nominal": {"unit": "°C", "range": [10, 200], "default": 80}}
SINCE_NEW = {"time_constants": [3, 9, 30], "warm_up": 8, "first": 5, "since_new": 200}

# Everything that makes a graph differ from another, in eight classes.
CLASSES = {
    "plain": asset_class(),
    "age none": asset_class(life=life("none"), features={"time_constants": [4], "warm_up": 8, "spike": None}),
    "age required, since new": asset_class(life=life("required"), features=SINCE_NEW, alarms=ALARMS),
    "set points held": asset_class(
        channels={"speed": CONDITION | {"hold": 2}, "load": CONDITION, "oil": SENSOR, "water": SENSOR},
        features=SINCE_NEW,
    ),
    "polynomial, stuck, derived": asset_class(
        channels={"oil": SENSOR | {"stuck_after": 3}, "speed": CONDITION | {"hold": 3}, "water": SENSOR},
        derived=FORMULAS,
        settings=NOMINAL,
        alarms=ALARMS,
    ),
    "waveform": asset_class(channels={"oil": SENSOR, "shake": SHAKE, "speed": CONDITION}, life=life("none")),
    "waveform alone": asset_class(channels={"shake": SHAKE}),
    "seconds, compensated": asset_class(
        time={"unit": "s", "interval": 1, "tick": 3600, "max_gap": 20000},
        life=life("optional", "h"),
        features=SINCE_NEW,
    ),
}
REGIMES = {"set points held": 3}


def parameters(cls, seed=0, regimes=1):
    """Made-up constants: with several regimes a mean in each, with conditions and one regime a polynomial."""
    rng = np.random.default_rng(seed)
    sensors, conditions = sensor_names(cls), len(cls.conditions)
    degree = 2 if conditions and regimes == 1 else 0
    functions = (conditions + 1) * (conditions + 2) // 2 if degree else regimes
    return Parameters(
        sensors=sensors,
        centres=rng.uniform(10, 90, (regimes, conditions)).astype(np.float32),
        half_widths=rng.uniform(5, 30, (regimes, conditions)).astype(np.float32),
        scale=np.full(conditions, 50, np.float32),
        degree=degree,
        expected=rng.normal(20, 3, (functions, len(sensors))).astype(np.float32),
        spread=rng.uniform(5, 20, (regimes, len(sensors))).astype(np.float32),
        projections=("ridge", "pc1"),
        weights=rng.normal(size=(len(sensors), 2)).astype(np.float32),
        healthy=1.0,
        failed=-1.5,
        middle=rng.normal(size=len(sensors)).astype(np.float32),
        reach=rng.uniform(1, 5, len(sensors)).astype(np.float32),
    )


def step_of(name, seed=0):
    cls = CLASSES[name]
    return FeatureStep(cls, parameters(cls, seed, REGIMES.get(name, 1)))


def stream(cls, machines, steps, seed=0):
    """Inputs of the graph but the state, step by step: noise, gaps, events, ages, missing and impossible readings."""
    rng = np.random.default_rng(seed)
    low, high = np.array([cls.channels[name].range for name in cls.scalars]).reshape(-1, 2).T
    level = rng.uniform(0.5, 0.8, (machines, len(low))) * (high - low) + low
    settings = rng.uniform(0.5, 1.5, (machines, len(cls.settings) + len(cls.alarm_settings)))
    defaults = [*(s.default for s in cls.settings.values()), *cls.alarm_settings.values()]
    settings = np.where(rng.random(settings.shape) < 0.5, np.nan, settings * defaults).astype(np.float32)
    previous = level
    for k in range(steps):
        readings = level + rng.normal(0, 0.05, level.shape) * (high - low)
        readings = np.where(rng.random(level.shape) < 0.3, previous, readings)  # unchanged
        previous = readings
        wild = rng.choice([np.nan, np.inf, -np.inf, 1e30, *high], level.shape)
        dt = rng.choice([0, 0.2, 1, 1, 1, 1.3, 7, 50], machines) * cls.time.interval
        inputs = {
            "readings": np.where(rng.random(level.shape) < 0.15, wild, readings).astype(np.float32),
            "dt": (dt if k else np.zeros(machines)).astype(np.float32),
            "event": rng.choice([0, Event.NEW_LIFE, Event.SENSOR_REPLACED], machines, p=[0.94, 0.03, 0.03]),
            "age": rng.choice([np.nan, 0, 3.5, 1000], machines, p=[0.9, 0.04, 0.03, 0.03]),
            "settings": settings,
        }
        for name in cls.waveforms:
            inputs |= snapshots(cls, name, rng.permutation(machines)[: rng.integers(machines + 1)], rng)
        yield {name: value if name.endswith(".row") else value.astype(np.float32) for name, value in inputs.items()}


def snapshots(cls, name, rows, rng):
    """Waveform inputs: one snapshot of noise for each of `rows`, a tenth of them with a sample out of range."""
    spec = cls.channels[name].waveform
    samples = rng.standard_t(4, (len(rows), len(spec.axes), spec.samples))
    samples[rng.random(len(rows)) < 0.1, 0, 3] = np.nan
    return {name: samples.astype(np.float32), f"{name}.row": np.asarray(rows, np.int64)}


def observation(cls, inputs):
    """The inputs as `FeatureStep` takes them."""
    names = ("readings", "dt", "event", "age", "settings")
    waveforms = {name: (inputs[name], inputs[f"{name}.row"]) for name in cls.waveforms}
    return Observation(**{name: inputs[name] for name in names}, waveforms=waveforms)


def advance(step, inputs, state):
    """One step in NumPy: features and the next state f32[B,S]."""
    with np.errstate(all="ignore"):  # 0/0 in a formula is a missing value
        features, new = step(observation(step.asset_class, inputs), step.layout.enter(state, inputs["event"]))
    return features, step.layout.leave(new)
