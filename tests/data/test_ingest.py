import csv
import json

import numpy as np
import pytest

from data import command, ingest, paths, resolve
from data.class_file import load
from data.errors import SourceError, SplitError
from data.lives import read_lives
from data.observations import Observations
from data.splits import SplitParams
from data.splits import run_stage as run_splits

HEADER = "asset,time,speed,vibration\n"


@pytest.fixture
def stages(fan, workspace, monkeypatch):
    """`stages(text, …)`: the class of fans in its file and `text` in data/sources/fan.csv; gives the fleet's name."""

    def make(text, **changes):
        fan(**changes)
        classes = workspace / "classes"
        monkeypatch.setattr(resolve, "load", lambda fleet: load(fleet, classes))
        monkeypatch.setattr(ingest, "load", lambda fleet: load(fleet, classes))
        (workspace / "data/sources").mkdir(parents=True, exist_ok=True)
        (workspace / "data/sources/fan.csv").write_text(text)
        return "fan"

    return make


def rows(asset, minutes, vibration=1.5):
    return "".join(f"{asset},{60 * minute},1500,{vibration + minute / 1000}\n" for minute in minutes)


def run(fleet):
    cls = resolve.resolve(fleet)
    ingest.fetch.fetch(cls)
    return ingest.run_stage(fleet)


def test_from_a_table_to_splits(stages):
    text = HEADER + "".join(rows(f"f{n}", range(20 + n)) for n in range(5)) + "f0,soon,1,1\n"
    fleet = stages(text)
    report = run(fleet)
    assert report.counts["rejected"] == 1
    assert [life.kind for life in read_lives(paths.artifact(fleet, "lives.csv"))] == ["failure"] * 5
    with paths.artifact(fleet, "machines.csv").open() as file:
        assert [row["rated_speed"] for row in csv.DictReader(file)] == [""] * 5
    with paths.artifact(fleet, "rejected.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["no usable time"]
    quality = json.loads(paths.artifact(fleet, "quality.json").read_text())
    assert (quality["assets"], quality["rows"], quality["observations"]) == (5, 110, 110)
    splits = run_splits(fleet, SplitParams())
    assert (len(splits.test), len(splits.train), len(splits.cuts)) == (1, 4, 1)


def test_failures_that_were_lost_on_the_way_are_named_by_split(stages, workspace):
    text = HEADER + "".join(rows(f"f{n}", range(20 + n)) for n in range(5))
    fleet = stages(text, source={"failures": {"file": "log.csv", "kind": "what"}})
    log = "f0,1200,failure\nf1,soon,failure\nf2,,failure\nF3,1400,failure\nf4,1500,failed\nf4,-1,failure\n"
    (workspace / "data/sources/log.csv").write_text("asset,time,what\n" + log)
    run(fleet)
    with pytest.raises(SplitError) as error:
        run_splits(fleet, SplitParams())
    told = str(error.value)
    assert "one has failed; 3 that failed are needed" in told
    assert "if failures are in them, they have to be in log.csv" in told
    assert "end no life are without asset or usable time, see artifacts/fan/rejected.csv (2); of a kind in " in told
    for what in ("repair_values (1)", "ids are written otherwise there (1)", "before the first row of their machine"):
        assert what in told


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_repair_within_the_observation_of_a_failure_leaves_it_a_failure(stages, workspace, newest_first):
    """Whatever the order of the log: assembled, both lie at the end of one observation."""
    changes = {"time": {"assemble": True}, "source": {"failures": {"file": "log.csv", "kind": "what"}}}
    fleet = stages(HEADER + rows("a", range(8)) + "a,450,1500,1\n" + rows("a", range(20, 30)), **changes)
    log = ["a,460,failure\n", "a,470,repair\n", "a,470,repair\n"]
    (workspace / "data/sources/log.csv").write_text("asset,time,what\n" + "".join(log[:: -1 if newest_first else 1]))
    report = run(fleet)
    assert [life.kind for life in read_lives(paths.artifact(fleet, "lives.csv"))] == ["failure", "censored"]
    assert report.counts["ends_at_the_same_time"] == 2
    (note,) = report.notes
    assert "repair of a at 1970-01-01T00:08:00Z ends no life: a failure ends that life already" in note


def test_a_machine_with_one_observation_goes_through(stages):
    report = run(stages(HEADER + rows("a", range(9)) + rows("b", [3])))
    assert report.summary()["single_observation_assets"] == ["b"]
    timeline = Observations(paths.observations("fan"), resolve.read_class("fan")).timeline("b")
    assert (timeline.event.tolist(), timeline.age.tolist()) == ([1], [0])


@pytest.mark.parametrize("assemble", [False, True])
def test_duplicates_and_disorder_are_counted_and_the_first_wins(stages, assemble):
    text = HEADER + rows("a", [0, 2, 1]) + rows("a", [2], vibration=9) + rows("a", [4])
    report = run(stages(text, time={"assemble": assemble}))
    assert (report.counts["duplicates"], report.counts["out_of_order"]) == (1, 1)
    cls = resolve.read_class("fan")
    (series,) = Observations(paths.observations("fan"), cls).series("a")
    assert (series.time // 60_000_000_000).tolist() == ([0, 1, 2, 3, 4] if assemble else [0, 1, 2, 4])
    assert series.readings[2, 1] == np.float32(1.502)


def test_values_out_of_range_stay_as_measured(stages):
    run(stages(HEADER + "a,0,1500,1\na,60,99999,1\na,120,1500,1\n"))
    (series,) = Observations(paths.observations("fan"), resolve.read_class("fan")).series("a")
    assert series.readings[1, 0] == 99999


def test_a_wrong_unit_is_refused_and_leaves_no_observations(stages):
    fleet = stages(HEADER + rows("a", range(9), vibration=7000))
    with pytest.raises(SourceError, match="check the unit"):
        run(fleet)
    assert list(paths.observations(fleet).parent.iterdir()) == []


@pytest.mark.parametrize("assemble", [False, True])
def test_a_machine_without_any_value(stages, assemble):
    report = run(stages(HEADER + "a,0,,\na,60,,\n" + rows("b", range(3)), time={"assemble": assemble}))
    assets = Observations(paths.observations("fan"), resolve.read_class("fan")).assets
    assert assets == (["b"] if assemble else ["a", "b"])
    assert report.channels["speed"].missing == 2


def test_an_empty_file_is_refused(stages):
    with pytest.raises(SourceError, match=r"fan\.csv: the file is empty"):
        run(stages(""))
    with pytest.raises(SourceError, match="no usable row"):
        run(stages(HEADER))


def test_without_fetch_the_way_out_is_told(stages):
    fleet = stages(HEADER)
    resolve.resolve(fleet)
    with pytest.raises(SourceError, match=r"run `python -m data\.fetch fan` first"):
        ingest.run_stage(fleet)


def test_observations_alone_need_no_earlier_stage(stages, workspace):
    fleet = stages(HEADER + rows("a", range(9)))
    ingest.run_alone(fleet, workspace / "elsewhere" / "x.parquet")
    assert Observations(workspace / "elsewhere" / "x.parquet", load(fleet, workspace / "classes")).total_rows == 9
    assert not (workspace / "artifacts").exists()


@pytest.mark.usefixtures("workspace")
def test_on_the_command_line_errors_are_messages(monkeypatch):
    monkeypatch.setattr("sys.argv", ["ingest", "pumpp"])
    with pytest.raises(SystemExit, match=r"error: .*class\.json is missing"):
        command.run(ingest.__doc__, ingest.main, ("-o --output", "file"))
