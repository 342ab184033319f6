"""Golden rows: of each kind of what goes wrong there are some, and rows on a split are left out."""

from types import SimpleNamespace

import numpy as np

from edge_runtime.contract.event import Event
from edge_runtime.replay import Series
from edge_runtime.step import STATE_OUT
from features.history import History
from tests.training.tables import asset_class
from training.golden import ROWS, STEPS, _chosen, _ranges, _steps

RANGES = np.array([[0.0, 100.0], [-50.0, 50.0]])


def recorded(rows=2000):
    """Good rows, among them two of each kind that is not."""
    rng = np.random.default_rng(0)
    inputs = {
        "readings": rng.uniform(1, 49, (rows, 2)).astype(np.float32),
        "dt": np.ones(rows, np.float32),
        "event": np.zeros(rows, np.float32),
        "state": rng.uniform(1, 2, (rows, 3)).astype(np.float32),
    }
    inputs["event"][10:12] = Event.NEW_LIFE
    inputs["event"][20:22] = Event.SENSOR_REPLACED
    inputs["state"][30:32] = 0
    inputs["dt"][40:42] = 100
    inputs["readings"][50:52, 1] = np.nan
    inputs["readings"][60, 0] = 1001
    inputs["readings"][61, 1] = -51
    return inputs


def test_every_kind_is_among_them_however_rare():
    chosen = _chosen(recorded(), RANGES, np.arange(2000), np.random.default_rng(1))
    assert len(chosen) == len(set(chosen)) == ROWS
    for first in (10, 20, 30, 40, 50, 60):
        assert {first, first + 1} <= set(chosen)


def test_no_kind_takes_the_place_of_ordinary_rows():
    inputs = recorded()
    inputs["readings"][::2, 0] = np.nan
    chosen = _chosen(inputs, RANGES, np.arange(2000), np.random.default_rng(1))
    assert np.isfinite(inputs["readings"][chosen]).all(axis=1).sum() > ROWS / 4


def test_a_class_may_have_waveforms_alone():
    wave = {"quantity": "g", "unit": "g", "range": [-9, 9], "waveform": {"axes": ["x"], "samples": 16, "rate": 9}}
    ranges = _ranges(asset_class(channels={"shake": wave}))
    inputs = recorded() | {"readings": np.empty((2000, 0), np.float32)}
    assert len(_chosen(inputs, ranges, np.arange(2000), np.random.default_rng(1))) == ROWS


def test_only_clear_rows_are_taken():
    clear = np.array([10, 41, 60, 100, 101])
    assert _chosen(recorded(), RANGES, clear, np.random.default_rng(1)).tolist() == clear.tolist()


class Counting:
    """A step function whose state counts the steps."""

    def start(self, machines):
        return np.zeros((machines, 1), np.float32)

    def __call__(self, inputs, _wanted):
        return {STATE_OUT: inputs["state"] + 1}


def test_a_machine_of_one_row_does_not_end_the_recording_of_the_others():
    rows = {"short": 1, "long": 400, "middle": 30}
    series = {
        asset: [Series(np.arange(n) * 10**9, np.ones((n, 1), np.float32), *np.zeros((2, n), np.float32), {})]
        for asset, n in rows.items()
    }
    whole = History(list(rows), rows, series, np.array([[1.0], [2.0], [3.0]], np.float32))
    batches = _steps(Counting(), SimpleNamespace(asset_class=asset_class()), whole, np.random.default_rng(0))
    assert [len(batch["state"]) for batch in batches] == [3, *[2] * 29, *[1] * (STEPS - 30)]
    assert batches[-1]["settings"].tolist() == [[2.0]]
    assert max(batch["state"].max() for batch in batches) > 20
