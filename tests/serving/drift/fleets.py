"""Made-up fleets of the tiny class: what they measured and were told, and the reference of a model."""

import numpy as np

from data import reference
from data.reference import Reference
from edge_runtime.bundle import Bundle, write_bundle
from edge_runtime.contract.rows import Keys, Observations, Prognoses
from serving.models.served import Served
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract, tiny_golden, tiny_twin

CHANNELS = ("flow", "speed")
RANGES = ((0.0, 400.0), (0.0, 3000.0))
WINDOW = 42 * 600.0  # seconds
STEP = 300_000_000_000
ROWS = 84
START = 1_767_225_600_000_000_000


def machine(number, shift=0.0, missing=0.0, lost=0.0, rows=ROWS):
    """Readings f32[rows,2] and outputs of one machine: each has a level of its own, and noise."""
    random = np.random.default_rng([7, number])
    flow = random.normal(200 + random.normal(0, 10) + shift, 15, rows)
    readings = np.stack([flow, random.normal(1500, 50, rows)], axis=1).astype(np.float32)
    readings[random.random(rows) < missing, 1] = np.nan
    worn = np.linspace(*np.sort(random.uniform(0, 1, 2)), rows)
    outputs = {
        "health": np.clip(1 - worn - lost, 0, 1),
        "rul": 480 * np.clip(1 - worn - lost, 0, 1),
        "failure_probability": np.clip(worn**3 + lost, 0, 1),
        "anomaly_score": random.uniform(0, 1, rows),
        "alarm": np.floor(worn * 1.2),
        "unfamiliar": np.zeros(rows),
        "warming_up": (np.arange(rows) < 3) * 1.0,
    }
    return readings, {name: value.astype(np.float32) for name, value in outputs.items()}


def counts(variables, readings, outputs):
    values, how = reference.split_readings(readings, RANGES)
    made = reference.count_readings(variables, CHANNELS, values, how)
    return {**made, **reference.count_prognoses(variables, outputs)}


def made_reference(machines=30, windows=4):
    """Of machines 0 … n − 1; each window of a machine has its own noise and wear, and the machine's level."""
    records = [machine(number, rows=windows * ROWS) for number in range(machines)]
    readings = np.concatenate([readings for readings, _ in records])
    values, _ = reference.split_readings(readings, RANGES)
    variables = []
    for column, channel in enumerate(CHANNELS):
        variables += [reference.measured(channel, "reading", values[:, column]), reference.received(channel)]
    for name in reference.MEASURED:
        said = np.concatenate([outputs[name] for _, outputs in records])
        variables.append(reference.measured(name, "prognosis", said))
    variables += [reference.counted(name) for name in reference.COUNTED]
    by_name = {variable.name: variable for variable in variables}
    table = {v.name: np.zeros((machines, windows, v.bins), np.int64) for v in variables}
    for i, (readings, outputs) in enumerate(records):
        for w in range(windows):
            rows = slice(w * ROWS, (w + 1) * ROWS)
            part = {name: value[rows] for name, value in outputs.items()}
            for name, count in counts(by_name, readings[rows], part).items():
                table[name][i, w] = count
    return Reference(WINDOW, tuple(f"t{i}" for i in range(machines)), tuple(variables), table)


def served(folder, of=None):
    """The tiny bundle with a reference, as the centre serves it."""
    if of is None:
        tiny_bundle(folder)
    else:
        more = {reference.FILE: of.dump()}
        about = {"models": {}, "quality": {}, "provenance": {}}
        write_bundle(folder, tiny_twin(), tiny_golden(), tiny_contract(), **about, more=more)
    return Served("tiny", "1", Bundle.load(folder))


def rows(asset, readings, outputs, start=START):
    """As a gateway sends them."""
    many = len(readings)
    number = np.arange(1, many + 1)
    keys = Keys.of([asset], np.zeros(many, np.int64), np.zeros(many, np.int64), number, start + number * STEP)
    nothing = np.zeros(many, np.float32)
    seen = Observations("tiny", keys, CHANNELS, keys.t + 5, readings, nothing, np.full(many, np.nan, np.float32))
    return seen, Prognoses("tiny", keys, outputs)
