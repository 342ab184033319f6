"""A small class of fans with snapshots, as gateways send their observations, and a workspace to export them into."""

import numpy as np
import yaml

from data import class_file
from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane
from edge_runtime.contract.rows import Keys, Observations
from edge_runtime.contract.waveform import split
from serving.export.fleet import Wanted
from serving.hub.store import Store
from serving.registry.settings import RegistrySettings
from tests.data.conftest import FAN, merged
from tests.serving.hub import made

SHAKE = {
    "quantity": "acceleration",
    "unit": "m/s2",
    "range": [-10, 10],
    "waveform": {"axes": ["x", "y"], "samples": 16, "rate": 100},
}
CHANNELS = ("vibration", "speed")  # not in the order of the class
STEP = 60_000_000_000
START = 1_767_225_600_000_000_007  # times need not be round


def workspace(folder, **changes):
    """`folder` with the class of fans, as the pipeline finds it."""
    content = merged(merged(FAN, {"channels": {"shake": SHAKE}, "time": {"assemble": True}}), changes)
    (folder / "classes").mkdir(exist_ok=True)
    (folder / "classes" / "fan.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def wanted(folder, fleet="fan-plant", **more):
    more = {"classes": folder / "classes", "sources": folder / "data" / "sources", **more}
    return Wanted("fan", fleet, **more)


def load(folder, fleet="fan-plant"):
    return class_file.load(fleet, folder / "classes")


def store(database):
    return Store(database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)


def observations(asset, numbers, readings=None, event=None, age=None, time=None, term=0, channels=CHANNELS, seed=0):
    """Of one machine, a row for each of `numbers`."""
    numbers = np.asarray(numbers, np.int64)
    rows = len(numbers)
    random = np.random.default_rng([seed, rows, *asset.encode()])
    if readings is None:
        readings = np.stack([random.uniform(0, 50, rows), random.uniform(0, 3000, rows)], axis=1)
    time = START + numbers * STEP if time is None else np.asarray(time, np.int64)
    keys = Keys.of([asset], np.zeros(rows, np.int64), np.full(rows, term), numbers, time)
    event = np.zeros(rows) if event is None else event
    age = np.full(rows, np.nan) if age is None else age
    values = (np.ascontiguousarray(np.asarray(value, np.float32)) for value in (readings, event, age))
    return Observations("fan", keys, channels, time + 5, *values)


def commit(database, *rows, sender=None, model_id="model-1"):
    sender = sender or made.Sender()
    store(database).commit([read for each in rows for read in sender.read(made.block(each, model_id=model_id))])


def snapshot(asset, number, samples, sender, term=0):
    """The messages of one snapshot of `shake`, kept as measured."""
    t = START + number * STEP
    key = {"asset": asset, "channel": "shake", "term": term, "number": number}
    parts = split(samples, **key, t=t, t_rx=t + 5, lane=Lane.RAW, model_id="model-1")
    return [read for part in parts for read in sender.read(part)]
