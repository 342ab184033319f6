"""Batches and outputs made up for tests of what goes up."""

import numpy as np

from edge_runtime.batch import Batch

SECOND = 1_000_000_000
CHANNELS = ("flow", "speed")


def batch(rows, time, *, random=None, waveforms=None, channels=2):
    """Observations of the machines in `rows`; some readings are lost."""
    random = random or np.random.default_rng(0)
    rows = np.asarray(rows, np.int64)
    readings = random.normal(size=(len(rows), channels)).astype(np.float32)
    readings[random.random(readings.shape) < 0.1] = np.nan
    time = np.broadcast_to(np.asarray(time, np.int64), rows.shape).copy()
    none = np.zeros(len(rows), np.float32)
    age = np.full(len(rows), np.nan, np.float32)
    return Batch(rows, time, readings, none, age, waveforms or {}, time + 5)


def outputs(count, *, random=None, channels=2, alarm=0.0, snapshots=None):
    """What a fleet says of `count` accepted observations, `snapshots` of them with a waveform 'shake'."""
    random = random or np.random.default_rng(0)
    scalar = ("health", "anomaly_score", "rul")
    made = {name: random.random(count).astype(np.float32) for name in scalar}
    made["alarm"] = np.full(count, alarm, np.float32)
    made["quality"] = random.integers(0, 64, (count, channels)).astype(np.float32)
    made["contribution"] = random.normal(size=(count, channels)).astype(np.float32)
    if snapshots is not None:
        made["shake.features"] = random.normal(size=(snapshots, 3)).astype(np.float32)
    return made
