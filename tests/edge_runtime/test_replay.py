import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_runtime.replay
from edge_runtime.fleet import Fleet
from edge_runtime.replay import Series, replay
from edge_runtime.step import StepFunction
from tests.edge_runtime.tiny import tiny_twin

STEP = StepFunction(tiny_twin())
WANTED = ("health", "rul_lower", "quality")


@st.composite
def histories(draw):
    """Asset → its observations, some of them duplicated or late, some with a waveform."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    series = {}
    for i, n in enumerate(lengths):
        row = np.flatnonzero(random.random(n) < 0.3)
        series[f"m{i}"] = Series(
            time=np.cumsum(random.integers(-1, 4, n)) * 1_000_000_000,
            readings=random.normal(size=(n, 2)).astype(np.float32),
            event=random.integers(0, 2, n).astype(np.float32),
            age=np.full(n, np.nan, np.float32),
            waveforms={"shake": (row, random.normal(size=(len(row), 1, 4)).astype(np.float32))},
        )
    return series


def in_pieces(series, size):
    for start in range(0, len(series.time), size):
        yield series.part(start, min(start + size, len(series.time)))


def one_by_one(series):
    fleet = Fleet(STEP, list(series))
    rows, outputs = {}, {}
    for machine, (asset, s) in enumerate(series.items()):
        rows[asset], outputs[asset] = [], []
        for k in range(len(s.time)):
            one = s.part(k, k + 1)
            waveforms = {name: (samples, row) for name, (row, samples) in one.waveforms.items()}
            out, accepted = fleet.advance(
                np.array([machine]), one.time, one.readings, one.event, one.age, waveforms, ("tick", *WANTED)
            )
            if accepted[0]:
                rows[asset].append(k)
                outputs[asset].append(out)
    return fleet, rows, outputs


@settings(max_examples=60)
@given(histories(), st.integers(1, 5), st.integers(10, 300), st.sampled_from([None, "tick"]))
def test_a_replay_equals_single_steps(series, piece, chunk, where):
    fleet = Fleet(STEP, list(series))
    pieces = {asset: in_pieces(s, piece) for asset, s in series.items()}
    got = {asset: ([], {name: [] for name in WANTED}) for asset in series}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_runtime.replay, "CHUNK", chunk)
        for asset, rows, outputs in replay(fleet, pieces, WANTED, where=where):
            got[asset][0].extend(rows.tolist())
            for name in WANTED:
                got[asset][1][name].extend(outputs[name].tolist())
    alone, rows, outputs = one_by_one(series)
    for asset in series:
        keep = [i for i, out in enumerate(outputs[asset]) if where is None or out[where][0] > 0.5]
        assert got[asset][0] == [rows[asset][i] for i in keep]
        for name in WANTED:
            assert got[asset][1][name] == [outputs[asset][i][name][0].tolist() for i in keep]
    assert np.array_equal(fleet.state, alone.state)
    assert fleet.counts == alone.counts


def test_sources_are_streamed():
    """No more of a source is read than the chunk at hand needs."""
    read = []

    def source():
        for i in range(100):
            read.append(i)
            yield Series(np.array([i * 10**9]), np.zeros((1, 2), np.float32), np.zeros(1), np.zeros(1))

    stream = replay(Fleet(STEP, ["a"]), {"a": source()}, ["rul"])
    for _ in range(3):
        next(stream)
    assert len(read) == 3


def test_outputs_of_single_snapshots_are_refused():
    with pytest.raises(ValueError, match="one row a snapshot"):
        next(replay(Fleet(STEP, ["a"]), {"a": []}, ["shake.features"]))
