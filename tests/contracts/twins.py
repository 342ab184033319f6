"""Twins with made-up models, and the same twins in NumPy: features, models, blend and alarms one after another."""

import numpy as np

from features.state import StateLayout
from tests.features.machines import CLASSES, advance, step_of
from training.calibration import Calibration, Head
from training.lstm_weights import LstmWeights
from training.prognosis import Said, prognose
from training.trees import Trees
from training.twin import Twin

CAP = 100.0
UNITS = 4
KNOTS = [0.0, 30.0, 100.0]
HEADS = {
    "aged": Head({"lstm": 0.25, "xgboost": 0.75}, [0, -5, -10], [3, 5, 10], [0.95, 0.3, 0.01]),
    "free": Head({"lstm": 0.5, "xgboost": 0.5}, [0, -15, -30], [9, 15, 30], [0.8, 0.4, 0.1]),
}
OF_AGE = {"optional": ("aged", "free"), "required": ("aged",), "none": ("free",)}


def calibration(cls):
    return Calibration(
        cap=CAP,
        horizon=20.0,
        level=0.9,
        knots=KNOTS,
        heads={name: HEADS[name] for name in OF_AGE[cls.life.age]},
        prior=0.2,
        anomaly_path=[0.7, 1.0, 1.3],
        anomaly_rank=[1.0, 0.4, 0.0],
        familiar=1.5,
        familiar_share=0.99,
    )


def stumps(columns, targets, rng, each=12):
    """Trees of one split: `each` for every target, on features drawn from `columns[target]`."""
    count = each * targets
    root = 3 * np.arange(count)
    inner = np.arange(3 * count) % 3 == 0
    itself = np.arange(3 * count)
    target = np.repeat(np.arange(targets), each)
    feature = np.array([rng.choice(columns[t]) for t in target])
    return Trees(
        feature=np.where(inner, np.repeat(feature, 3), 0),
        threshold=np.where(inner, rng.normal(0, 1, 3 * count), 0).astype(np.float32),
        left=np.where(inner, itself + 1, itself),
        right=np.where(inner, itself + 2, itself),
        missing_left=np.zeros(3 * count, bool),
        value=np.where(inner, 0, rng.normal(0, 0.05, 3 * count)).astype(np.float32),
        root=root,
        target=target,
        base=np.array([*[0.5] * (targets - 1), 1.0], np.float32),
    )


def twin(name, seed=0):
    """The twin of one of `machines.CLASSES`. Heads free of age see features free of age only."""
    rng, step = np.random.default_rng(seed), step_of(name)
    cls, everything = CLASSES[name], np.arange(len(step.names))
    free = everything[: step.free_of_age]
    columns = [{"aged": everything, "free": free}[head] for head in OF_AGE[cls.life.age]] + [free]
    seen = rng.choice(free, 5, replace=False)

    def weights(*shape):
        return rng.normal(0, 0.5, shape).astype(np.float32)

    lstm = LstmWeights(
        kernel=weights(len(seen), 4 * UNITS),
        recurrent=weights(UNITS, 4 * UNITS),
        bias=weights(4 * UNITS),
        head=weights(UNITS),
        head_bias=np.float32(0.5),
        low=np.full(len(seen), -5, np.float32),
        high=np.full(len(seen), 5, np.float32),
    )
    return Twin(
        asset_class=cls,
        parameters=step.parameters,
        lstm=lstm,
        lstm_columns=tuple(seen.tolist()),
        trees=stumps(columns, len(columns), rng),
        calibration=calibration(cls),
    )


def in_numpy(whole, inputs, state):
    """Outputs of the contract and the next state, by NumPy alone; also the features."""
    slices = whole.layout.enter(state, inputs["event"])
    own = StateLayout(tuple(whole.step.slices))
    features, new = advance(whole.step, inputs, own.leave(slices))
    new = own.enter(new, np.zeros(len(state), np.float32))
    ticks = features.clock.ticks
    remaining, hidden, cell = whole.lstm.step(
        features.vector[:, list(whole.lstm_columns)], slices["lstm.hidden"], slices["lstm.cell"]
    )
    models = np.concatenate([remaining, whole.trees.predict(features.vector)], axis=1)
    new["models.said"] = said = np.where(ticks, models, slices["models.said"]).astype(np.float32)
    new["lstm.hidden"] = np.where(ticks, hidden, slices["lstm.hidden"])
    new["lstm.cell"] = np.where(ticks, cell, slices["lstm.cell"])
    heads = dict(zip(whole.heads, said[:, 1:-1].T[:, :, None] * np.float32(CAP), strict=True))
    only = next(iter(heads.values()))
    made = prognose(
        whole.asset_class,
        whole.calibration,
        Said(said[:, :1] * np.float32(CAP), heads.get("aged", only), heads.get("free", only), said[:, -1:]),
        features.clock.since_new,
        features.clock.warming_up,
        features.novelty,
    )
    readings = np.where(features.quality == 0, inputs["readings"], np.nan)
    signals = {
        "health": features.health,
        "anomaly_score": made.anomaly_score,
        "failure_probability": made.failure_probability,
        "rul": made.rul,
        "rul_lower": made.lower,
        "unfamiliar": made.unfamiliar,
    } | {name: readings[:, i : i + 1] for i, name in enumerate(whole.asset_class.scalars)}
    alarm, alarms = whole.alarms(signals, inputs["settings"], inputs["dt"][:, None], slices)
    outputs = {
        "health": features.health[:, 0],
        "anomaly_score": made.anomaly_score[:, 0],
        "failure_probability": made.failure_probability[:, 0],
        "rul": made.rul[:, 0],
        "rul_lower": made.lower[:, 0],
        "rul_upper": made.upper[:, 0],
        "alarm": alarm[:, 0],
        "warming_up": made.warming_up[:, 0],
        "unfamiliar": made.unfamiliar[:, 0],
        "with_age": made.with_age[:, 0],
        "quality": features.quality,
        "contribution": features.contribution,
        "rul_model": made.rul_model,
        "tick": ticks[:, 0].astype(np.float32),
        **{f"{name}.features": snapshot for name, snapshot in features.waveforms.items()},
    }
    return outputs | {"state_out": whole.layout.leave(new | alarms)}, features
