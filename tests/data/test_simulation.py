import numpy as np
import pytest

from data import paths
from data.errors import SourceError
from data.fetch import fetch
from data.ingest import ingest
from data.quality import Report
from data.readers import simulation
from twins import Record

MINUTE = 60_000_000_000
SOURCE = {"source": None} | {"simulated": True}


def record(asset, minutes, kind="failure", end=None, new=True, channels=("speed", "vibration")):
    time = np.array(minutes, np.int64) * MINUTE
    values = {name: np.arange(time.size, dtype=np.float32) for name in channels}
    age = np.arange(time.size) / 60 if new else np.full(time.size, np.nan)
    damage = {"wear": np.linspace(0, 1, time.size, dtype=np.float32)}
    end = time[-1] if end is None else end * MINUTE
    return Record(asset, time, values, age, new, kind, int(end), {"rated_speed": 1450.0}, "wear", damage)


@pytest.fixture
def simulated(fan, monkeypatch):
    """`simulated(*records)`: the class of fans with a simulator that makes these records."""

    def make(*records):
        monkeypatch.setitem(simulation.SIMULATORS, "tiny", lambda machines, _seed: iter(records[:machines]))
        cls = fan(simulated=True)
        source = {"reader": "simulation", "simulator": "tiny", "machines": len(records) or 1, "seed": 7}
        return type(cls).model_validate(cls.model_dump() | {"source": source})

    return make


def test_records_become_lives(simulated, workspace):
    cls = simulated(
        record("f-1", [0, 1, 2], "repair"),
        record("f-1", [5, 6], "failure", end=7),
        record("f-2", [0, 1], "censored", new=False),
    )
    report = Report(cls)
    lives, settings = ingest(cls, fetch(cls), workspace / "o.parquet", report)
    assert [(life.asset, life.life, life.end // MINUTE, life.kind, life.known_new) for life in lives] == [
        ("f-1", 0, 2, "repair", True),
        ("f-1", 1, 7, "failure", True),
        ("f-2", 0, 1, "censored", False),
    ]
    assert settings["f-1"] == {"rated_speed": 1450.0}
    assert report.files == {"records.parquet": {"rows": 7}}


def test_the_same_records_make_the_same_bytes(simulated):
    cls = simulated(record("f-1", [0, 1, 2]))
    first = (fetch(cls) / "records.parquet").read_bytes()
    assert (fetch(cls) / "records.parquet").read_bytes() == first


def test_a_simulator_without_a_channel_is_refused(simulated):
    with pytest.raises(SourceError, match="makes no channel vibration"):
        fetch(simulated(record("f-1", [0], channels=("speed",))))
    assert not (paths.raw("fan") / "records.parquet").exists()


def test_an_unknown_simulator_is_refused_with_the_known_ones(simulated):
    cls = simulated()
    source = cls.source.model_copy(update={"simulator": "fusion"})
    with pytest.raises(SourceError, match="'fusion' is not in twins: use one of pump"):
        fetch(cls.model_copy(update={"source": source}))


def test_a_simulator_that_makes_nothing_is_refused(simulated):
    with pytest.raises(SourceError, match="made no record"):
        fetch(simulated())
