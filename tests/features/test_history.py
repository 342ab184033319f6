"""The feature table: the traced graph over history, at the rows where a twin learns."""

import numpy as np
import pytest

from edge_runtime.replay import Series
from features import history
from features.history import History
from features.step import FeatureStep
from features.trace import feature_graph
from tests.features.machines import advance, asset_class, life, parameters

CLS = asset_class(time={"unit": "s", "interval": 10, "tick": 30, "max_gap": 600}, life=life(unit="h"))
STEP = FeatureStep(CLS, parameters(CLS))
GRAPH = feature_graph(STEP).SerializeToString()


def series(rows, seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.choice([7, 10, 14], rows)) * 10**9
    readings = rng.normal(25, 5, (rows, 2)).astype(np.float32)
    return Series(time, readings, np.eye(rows, dtype=np.float32)[0], np.full(rows, np.nan, np.float32))


def recorded(machines, pieces=1):
    """Machines with records of different length, read in `pieces`."""
    whole = {f"m{i}": series(40 + 13 * i, i) for i in range(machines)}
    parts = {
        name: [one.part(len(one.time) * k // pieces, len(one.time) * (k + 1) // pieces) for k in range(pieces)]
        for name, one in whole.items()
    }
    rows = {name: len(one.time) for name, one in whole.items()}
    return History(list(whole), rows, parts, np.zeros((machines, 0), np.float32)), whole


def by_hand(one):
    """Feature vectors at the ticks of one machine, and their row numbers, by NumPy."""
    state, vectors, ticks = np.zeros((1, STEP.layout.size), np.float32), [], []
    steps = np.diff(one.time, prepend=one.time[0]) / 1e9
    for k in range(len(one.time)):
        inputs = {
            "readings": one.readings[k : k + 1],
            "dt": steps[k : k + 1].astype(np.float32),
            "event": one.event[k : k + 1],
            "age": one.age[k : k + 1],
            "settings": np.zeros((1, 0), np.float32),
        }
        features, state = advance(STEP, inputs, state)
        if features.clock.ticks.item():
            ticks.append(k)
            vectors.append(features.vector[0])
    return ticks, np.array(vectors)


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_table_holds_every_machine_at_its_ticks(pieces):
    made, whole = recorded(3, pieces)
    table = history.run(GRAPH, made, ["features", "tick"])
    assert table.assets == ["m0", "m1", "m2"]
    assert (table.columns["tick"] == 1).all()
    for i, one in enumerate(whole.values()):
        rows, vectors = by_hand(one)
        assert 10 < len(rows) < len(one.time) / 2
        assert table.row[table.asset == i].tolist() == rows
        np.testing.assert_allclose(table.columns["features"][table.asset == i], vectors, rtol=1e-5, atol=1e-5)


def test_all_rows_can_be_asked_for():
    made, _ = recorded(2)
    table = history.run(GRAPH, made, ["health"], where=None)
    assert len(table.row) == made.total == 40 + 53
    assert table.columns["health"].shape == (93,)


def test_an_empty_history_is_refused():
    made, _ = recorded(1)
    empty = History(made.assets, made.rows, {"m0": []}, made.settings)
    with pytest.raises(ValueError, match="the history is empty"):
        history.run(GRAPH, empty, ["features"])
