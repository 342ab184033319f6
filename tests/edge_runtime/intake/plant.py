"""A class of machines, a clock to turn and a source that wants its receipts back, for tests of the intake."""

import json

import numpy as np

from edge_runtime.batch import Batch
from edge_runtime.decode import decode
from edge_runtime.intake import Intake
from edge_runtime.manifest import Contract
from edge_runtime.sources.source import Arrival, WaveformArrival
from tests.edge_runtime.tiny import tiny_contract

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01, a whole minute
MINUTES = {"unit": "s", "interval": 60, "tick": 600, "max_gap": 300}
AS_THEY_COME = MINUTES | {"assemble": False}
CYCLES = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50}
CHANNELS = [
    {"name": "flow", "quantity": "flow", "unit": "L/min", "range": [0, 400], "aggregate": "mean"},
    {"name": "speed", "quantity": "speed", "unit": "rpm", "range": [0, 3000]},
    {"name": "trips", "quantity": "events", "unit": "1", "range": [0, 3000], "aggregate": "count"},
]


def contract(**changes):
    plain = tiny_contract(**{"channels": CHANNELS, "time": MINUTES} | changes)
    return decode(Contract, json.loads(json.dumps(plain)), "contract")


class Clock:
    def __init__(self):
        self.now = START

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now - START + 5

    def turn(self, seconds):
        self.now += int(seconds * SECOND)


class Plant:
    """An intake whose journal is a list, with what it has given out in `batches`."""

    def __init__(self, assets=("a", "b"), clock=None, settle=0, max_ahead=1000 * SECOND, **changes):
        self.clock = clock or Clock()
        self.intake = Intake(contract(**changes), assets, self.clock, max_ahead, settle)
        self.sent = {}
        self.back = []
        self.batches = []
        self.journal = []

    def add(self, asset, seconds, values, receipt=True):
        """Values at `seconds` after the start."""
        self.add_at(asset, START + int(seconds * SECOND), values, receipt)

    def add_at(self, asset, time, values, receipt=True):
        arrival = Arrival(asset, time, values, "source", len(self.sent) + 1 if receipt else None)
        if receipt:
            self.sent[arrival.receipt] = arrival
        self.intake.add(arrival)

    def add_waveform(self, asset, seconds, samples, channel="shake"):
        samples = np.full((1, 4), samples, np.float32) if np.isscalar(samples) else samples
        time = START + int(seconds * SECOND)
        arrival = WaveformArrival(asset, channel, time, samples, "source", len(self.sent) + 1)
        self.sent[arrival.receipt] = arrival
        self.intake.add_waveform(arrival)

    def unacknowledged(self):
        """What a source would send again, in order."""
        return [arrival for receipt, arrival in self.sent.items() if receipt not in self.back]

    def round(self):
        """Take in and close, as the engine does; the newly closed batches."""
        samples, receipts = self.intake.take_samples()
        if samples is not None:
            self.journal.append(samples)
        batches = self.intake.ready()
        self.journal += batches
        self.batches += batches
        self.back += [receipt for _, receipt in receipts]
        self.back += [receipt for batch in batches for _, receipt in batch.receipts]
        return batches

    def resume(self, state=None, journal=(), sent_again=()):
        """Go on from `state` and the journal's entries after it; the clock runs again."""
        if state is not None:
            self.intake.restore(state)
        for entry in journal:
            (self.intake.replay_batch if isinstance(entry, Batch) else self.intake.replay_samples)(entry)
        self.intake.next_deadline()
        for arrival in sent_again:
            self.intake.add(arrival)

    def observed(self, asset="a", batches=None):
        """(seconds, readings…) of each observation of a machine."""
        row = self.intake.assets.index(asset)
        found = []
        for batch in self.batches if batches is None else batches:
            for i in np.flatnonzero(batch.rows == row):
                found.append(((int(batch.time[i]) - START) / SECOND, *batch.readings[i].tolist()))
        return found

    def events(self, asset="a"):
        """(seconds, event, age) of each observation of a machine."""
        row = self.intake.assets.index(asset)
        return [
            ((int(batch.time[i]) - START) / SECOND, float(batch.event[i]), float(batch.age[i]))
            for batch in self.batches
            for i in np.flatnonzero(batch.rows == row)
        ]
