import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import observations
from data.asset_class import AssetClass
from data.observations import Observations, Timeline, Writer
from tests.data.conftest import FAN, merged

WAVE = {"quantity": "acceleration", "unit": "m/s2", "range": [-9, 9]}
WAVE |= {"waveform": {"axes": ["x", "y"], "samples": 16, "rate": 100}}
CLS = AssetClass.model_validate(merged(FAN, {"channels": {"shock": WAVE}}))
CYCLES = {"time": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 9}, "life": {"unit": "cycle"}}


def machine(rows, seed=0):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(1, 10**12, rows))
    life, event = np.sort(rng.integers(0, 3, rows)).astype(np.int32), rng.integers(0, 3, rows).astype(np.int8)
    channels = {name: rng.normal(size=rows).astype(np.float32) for name in CLS.scalars}
    channels["speed"][0] = np.nan
    return Timeline(time, life, event, rng.normal(size=rows)), channels


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 12))
def test_what_is_written_reads_back(tmp_path_factory, sizes, group):
    path = tmp_path_factory.mktemp("o") / "fan.parquet"
    machines = {f"m{n}": machine(size, n) for n, size in enumerate(sizes)}
    original, observations.ROW_GROUP = observations.ROW_GROUP, group
    try:
        with Writer(path, CLS) as writer:
            for asset, (timeline, channels) in machines.items():
                writer.write(asset, timeline, channels)
    finally:
        observations.ROW_GROUP = original
    read = Observations(path, CLS)
    assert read.assets == list(machines)
    assert read.total_rows == sum(sizes)
    for asset, (timeline, channels) in machines.items():
        assert read.rows(asset) == timeline.time.size
        np.testing.assert_array_equal(read.timeline(asset).time, timeline.time)
        np.testing.assert_array_equal(read.timeline(asset).life, timeline.life)
        np.testing.assert_array_equal(read.timeline(asset).age, timeline.age)
        series = list(read.series(asset))
        assert max(each.time.size for each in series) <= group
        np.testing.assert_array_equal(np.concatenate([each.time for each in series]), timeline.time)
        np.testing.assert_array_equal(np.concatenate([each.event for each in series]), timeline.event)
        expected = np.column_stack([channels[name] for name in CLS.scalars])
        np.testing.assert_array_equal(np.concatenate([each.readings for each in series]), expected)


def test_the_file_is_what_others_rely_on(tmp_path):
    path = tmp_path / "fan.parquet"
    with Writer(path, CLS) as writer:
        writer.write("m", *machine(3))
    schema = pq.read_schema(path)
    assert schema.names == ["asset", "time", "life", "event", "age", "speed", "vibration"]
    assert schema.types == [
        pa.string(), pa.timestamp("ns", "UTC"), pa.int32(), pa.int8(), pa.float64(), pa.float32(), pa.float32()
    ]  # fmt: skip
    assert schema.metadata[b"fleet"] == b"fan"
    assert schema.metadata[b"simulated"] == b"false"


def test_cycles_are_floats_on_disk_and_nanos_inside(tmp_path):
    cls = AssetClass.model_validate(merged(FAN, CYCLES))
    timeline, channels = machine(4)
    timeline = Timeline(np.array([1, 2, 3.5, 400]) * 1e9, timeline.life, timeline.event, timeline.age)
    with Writer(tmp_path / "fan.parquet", cls) as writer:
        writer.write("m", timeline, channels)
    assert pq.read_table(tmp_path / "fan.parquet")["time"].to_pylist() == [1, 2, 3.5, 400]
    np.testing.assert_array_equal(Observations(tmp_path / "fan.parquet", cls).timeline("m").time, timeline.time)


def test_snapshots_stay_with_their_observations_across_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(observations, "ROW_GROUP", 4)
    monkeypatch.setattr(observations, "WAVEFORM_GROUP", 2)
    timeline, channels = machine(11)
    rows = np.array([0, 3, 4, 7, 10])
    samples = np.arange(5 * 32, dtype=np.float32).reshape(5, 32)
    with Writer(tmp_path / "fan.parquet", CLS) as writer:
        writer.write("a", timeline, channels)
        writer.write_waveform("a", "shock", timeline.time[rows], samples)
        writer.write("b", timeline, channels)
    read = Observations(tmp_path / "fan.parquet", CLS)
    found = [each.waveforms["shock"] for each in read.series("a")]
    assert [row.tolist() for row, _ in found] == [[0, 3], [0, 3], [2]]
    np.testing.assert_array_equal(np.concatenate([block for _, block in found]), samples.reshape(5, 2, 16))
    assert all(each.waveforms["shock"][1].shape == (0, 2, 16) for each in read.series("b"))


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "fan.parquet"
    with Writer(path, CLS) as writer:
        writer.write("m", *machine(3))
    before = path.read_bytes()
    timeline, channels = machine(5)
    with pytest.raises(KeyError, match="vibration"), Writer(path, CLS) as writer:
        writer.write("m", timeline, {"speed": channels["speed"]})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["fan.parquet"]


def test_snapshots_of_an_earlier_run_do_not_stay(tmp_path):
    path = tmp_path / "fan.parquet"
    timeline, channels = machine(3)
    with Writer(path, CLS) as writer:
        writer.write("m", timeline, channels)
        writer.write_waveform("m", "shock", timeline.time[:1], np.zeros((1, 32), np.float32))
    with Writer(path, CLS) as writer:
        writer.write("m", timeline, channels)
    assert [file.name for file in tmp_path.iterdir()] == ["fan.parquet"]
