"""A gateway that runs a real fleet and sends what it lives through to a real hub's store, and remembers its states."""

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.contract.rows import Keys, Observations, Prognoses, Snapshots, States
from edge_runtime.contract.waveform import split
from edge_runtime.takeover import take_over
from serving.api.settings import ServiceSettings
from serving.models.catalogue import Catalogue
from serving.models.settings import ModelsSettings
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.hub import made

NANOS = 10**9
CHANNELS = ("flow", "speed")


def shelf(folder, **bundles):
    """A catalogue of tiny bundles: name of the folder → what is changed in its contract."""
    for name, changes in bundles.items():
        if not (folder / name / "bundle").exists():
            tiny_bundle(folder / name / "bundle", **changes)
    catalogue = Catalogue.of(ModelsSettings(folders=("*/bundle",), base=folder))
    catalogue.refresh()
    return catalogue


def settings(folder, **changes):
    return ServiceSettings(insecure=True, models=ModelsSettings(folders=("*/bundle",), base=folder), **changes)


def load(folder, name):
    return Bundle.load(folder / name / "bundle")


class Gateway:
    """Machines in lockstep, a minute between observations. `lived`: (t, asset) → (term, number, model_id, state)."""

    def __init__(self, store, bundle, assets=("m1",), *, name=made.GATEWAY, term=0, seed=1, epoch=made.EPOCH):
        self.store, self.bundle, self.assets, self.term = store, bundle, tuple(assets), term
        self.sender = made.Sender(name, epoch)
        self.fleet = bundle.fleet(self.assets)
        self.random = np.random.default_rng(seed)
        self.t = made.START
        self.lived = {}

    def observe(self, count, *, waveforms=0.0, keep=True, events=0.0, alarm=None, step=60, t_rx=None):
        """`waveforms`, `events`: how often; `keep`: whether raw waveforms go up, too."""
        for _ in range(count):
            self.t += int(step * NANOS)
            size = len(self.assets)
            t = np.full(size, self.t, np.int64)
            readings = self.random.normal(size=(size, 2)).astype(np.float32) * 10
            readings[self.random.random(readings.shape) < 0.1] = np.nan
            event = (self.random.random(size) < events).astype(np.float32)
            age = np.full(size, np.nan, np.float32)
            row = np.flatnonzero(self.random.random(size) < waveforms)
            samples = self.random.normal(size=(len(row), 1, 4)).astype(np.float32)
            given = {"shake": (samples, row)} if len(row) else {}
            outputs, _ = self.fleet.advance(slice(None), t, readings, event, age, given)
            features = outputs.pop("shake.features")
            if alarm is not None:
                outputs["alarm"] = np.full(size, alarm, np.float32)
            keys = self._keys(t)
            snapshots = {"shake": Snapshots(row.astype(np.int32), features)} if len(row) else {}
            received = np.full(size, t_rx or self.t + 5, np.int64)
            seen = Observations("tiny", keys, CHANNELS, received, readings, event, age, snapshots)
            self.send(seen, Prognoses("tiny", keys, outputs), t_rx=int(received[0]))
            if keep:
                self._raw(samples, row)
            for place, asset in enumerate(self.assets):
                self.lived[self.t, asset] = (*self.key(place), self.bundle.model_id, self.fleet.state[place].copy())

    def key(self, place=0):
        return self.term, int(self.fleet.number[place])

    def snapshot(self):
        self.send(States("tiny", self._keys(self.fleet.time), self.fleet.state.copy()))

    def swap(self, bundle, *, tell=True):
        """Another bundle takes over, as at a gateway; `tell`: its snapshot goes up."""
        new = bundle.fleet(self.assets, self.fleet.settings)
        take_over(self.fleet, self.bundle.contract, new, bundle.contract)
        self.fleet, self.bundle = new, bundle
        if tell:
            self.snapshot()

    def follow(self, other, *, snapshot=True):
        """Goes on from the twins of another gateway, as they are now."""
        if snapshot:
            self.fleet.restore(other.fleet.snapshot())
        self.t = other.t
        self.lived |= other.lived

    def send(self, *rows, t_rx=None):
        blocks = [made.block(each, t_rx=t_rx or self.t + 5, model_id=self.bundle.model_id) for each in rows]
        self.store.commit(self.sender.read(*blocks))

    def _keys(self, t):
        terms = np.full(len(self.assets), self.term, np.int64)
        return Keys.of(self.assets, np.arange(len(self.assets)), terms, self.fleet.number.copy(), t.copy())

    def _raw(self, samples, row):
        for one, place in zip(samples, row.tolist(), strict=True):
            term, number = self.key(place)
            parts = split(
                one,
                asset=self.assets[place],
                channel="shake",
                term=term,
                number=number,
                t=self.t,
                t_rx=self.t,
                model_id=self.bundle.model_id,
            )
            self.store.commit(self.sender.read(*parts))
