"""What the fleet lived through comes out of the database as it went in, and goes through the pipeline's ingest."""

import csv
import dataclasses
import hashlib
import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

import data.fetch
import data.ingest
import data.resolve
import data.splits
from data import paths
from data.class_file import load
from data.errors import AssetClassError, SourceError
from data.lives import read_lives
from data.observations import Observations
from edge_runtime.contract.rows import Snapshots
from serving.database import queries
from serving.database.engine import Database
from serving.database.settings import DatabaseSettings
from serving.database.tables import observations, thinned
from serving.errors import ConfigError, InvalidError
from serving.export import __main__ as command
from serving.export import fleet
from serving.export import machine as machine_module
from serving.export.fleet import export
from serving.registry.asset_settings import set_settings
from serving.registry.audit import Act
from serving.registry.owners import assign
from tests.serving.export import fans
from tests.serving.hub import made

ACT = Act("test", 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    fans.workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVERHAUL_MIRROR", raising=False)
    monkeypatch.setattr(data.resolve, "load", partial(load, folder=tmp_path / "classes"))
    return tmp_path


def ingest(fleet="fan-plant"):
    """The stages up to ingest: the observations, lives and machines that training would see."""
    data.fetch.fetch(data.resolve.resolve(fleet))
    report = data.ingest.run_stage(fleet)
    cls = data.resolve.read_class(fleet)
    return Observations(paths.observations(fleet), cls), read_lives(paths.artifact(fleet, "lives.csv")), report


def rows_of(ingested, asset):
    parts = list(ingested.series(asset))
    return [np.concatenate([getattr(part, name) for part in parts]) for name in ("time", "readings", "event", "age")]


def same(found, sent):
    """Bit by bit but for which NaN it is: time, readings in the order of the class, event."""
    time, readings, event, _ = found
    assert time.tolist() == sent.keys.t.tolist()
    place = [sent.channels.index(name) for name in ("speed", "vibration")]
    np.testing.assert_array_equal(readings, sent.readings[:, place])
    np.testing.assert_array_equal(np.signbit(readings), np.signbit(sent.readings[:, place]) & ~np.isnan(readings))
    assert event.tolist() == sent.event.tolist()


def test_what_twins_were_fed_is_what_training_sees(database, folder):
    event = np.zeros(40)
    event[[0, 25]], event[10] = 1, 2
    age = np.r_[np.arange(25), np.arange(15)] + 0.25
    first = fans.observations("F-1", range(1, 41), event=event, age=age)
    snapshots = {"shake": Snapshots(np.array([6, 8], np.int32), np.zeros((2, 3), np.float32))}
    first = dataclasses.replace(first, waveforms=snapshots)
    second = fans.observations("F-0", range(5, 20))
    second.readings[3:5, 0] = np.nan
    sender = made.Sender()
    fans.commit(database, first, second, sender=sender)
    samples = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    fans.store(database).commit(fans.snapshot("F-1", 7, samples, sender))
    with database.write() as connection:
        set_settings(connection, ACT, "F-1", {"rated_speed": 980.5, "vibration_high.limit": 9.0})
    manifest = export(database, fans.wanted(folder))
    assert (manifest["machines"], manifest["rows"], manifest["left_out"], manifest["changed"]) == (2, 55, {}, {})
    assert manifest["models"] == {"model-1": 55}
    assert manifest["snapshots"] == {"kept": {"shake": 1}, "fed": {"shake": 2}}
    assert "shake: only 1 of 2 snapshots were kept" in manifest["notes"][0]

    ingested, lives, report = ingest()
    assert ingested.assets == ["F-0", "F-1"]
    assert report.counts["rejected"] == report.counts["duplicates"] == 0
    for sent in (first, second):
        found = rows_of(ingested, sent.keys.name(0))
        same(found, sent)
        np.testing.assert_array_equal(found[3], sent.age)
    [(row, block)] = [part.waveforms["shake"] for part in ingested.series("F-1")]
    assert row.tolist() == [6]
    assert block.tobytes() == samples.tobytes()
    assert [(life.asset, life.kind, life.known_new) for life in lives] == [
        ("F-0", "censored", False),
        ("F-1", "repair", True),
        ("F-1", "censored", True),
    ]
    machines = pd.read_csv(paths.artifact("fan-plant", "machines.csv"), index_col="asset")
    assert machines.rated_speed["F-1"] == 980.5
    assert np.isnan(machines.rated_speed["F-0"])
    # The class is the same but for where its data come from: a bundle trained on it fits the same gateways.
    cls, base = fans.load(folder), fans.load(folder, "fan")
    assert cls.fleet == "fan-plant"
    assert cls.model_dump(exclude={"source", "subset"}) == base.model_dump(exclude={"source", "subset"})


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 400_000_000_000),
        FLOATS,
        FLOATS,
        st.sampled_from([0, 0, 0, 0, 1, 2, 3, 0.5, np.nan, np.inf]),
        st.one_of(st.just(np.nan), st.just(np.inf), st.floats(-10, 1e6, width=32)),
    ),
    min_size=1,
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(rows=ROWS, page=st.integers(1, 5))
def test_any_values_come_back(sqlite_template, folder, rows, page):
    shutil.copy(sqlite_template, folder / "any.db")
    database = Database(DatabaseSettings(url="sqlite:///any.db", folder=folder))
    step, readings_0, readings_1, event, age = (np.array(column) for column in zip(*rows, strict=True))
    sent = fans.observations(
        "F-1",
        range(1, len(rows) + 1),
        np.stack([readings_0, readings_1], axis=1),
        event,
        age,
        fans.START + np.cumsum(step, dtype=np.int64),
    )
    fans.commit(database, sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_module, "page_rows", lambda _: page)
        manifest = export(database, fans.wanted(folder))
    database.close()
    # A whole channel out of range is refused by ingest, and rightly so; here single values matter.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.quality.REFUSED_SHARE", 1.0)
        ingested, lives, _ = ingest()
    [asset] = ingested.assets
    time, readings, found_event, found_age = rows_of(ingested, asset)
    known = np.where(np.isin(sent.event, [0, 1, 2]), sent.event, 0).astype(np.float32)
    np.testing.assert_array_equal(time, sent.keys.t)
    np.testing.assert_array_equal(readings, sent.readings[:, ::-1])
    np.testing.assert_array_equal(found_event, known)
    usable = (sent.age >= 0) & np.isfinite(sent.age)
    if usable.any():
        np.testing.assert_array_equal(found_age, np.where(usable, sent.age, np.nan))
    assert manifest["changed"].get("event that is none", 0) == (~np.isin(sent.event, [0, 1, 2])).sum()
    assert manifest["changed"].get("age that is none", 0) == (~usable & ~np.isnan(sent.age)).sum()
    assert len(lives) == 1 + (known[1:] == 1).sum()
    assert {life.kind for life in lives[:-1]} <= {"repair"}
    assert lives[-1].kind == "censored"


def test_nameplates_that_only_gateways_know_can_be_given(database, folder):
    for name in ("F-1", "F-2", "F-3"):
        fans.commit(database, fans.observations(name, range(3)), sender=made.Sender(epoch=ord(name[-1])))
    with database.write() as connection:
        set_settings(connection, ACT, "F-1", {"rated_speed": 900.0})
    table = folder / "machines.csv"
    table.write_text("asset,class,rated_speed\nF-1,fan,1000\nF-2,fan,1100\n")
    manifest = export(database, fans.wanted(folder, settings=table))
    assert manifest["notes"][0].startswith("1 machines have no settings here, such as F-3: they count as the class's")
    ingest()
    machines = pd.read_csv(paths.artifact("fan-plant", "machines.csv"), index_col="asset")
    assert machines.rated_speed.fillna(0).to_dict() == {"F-1": 900, "F-2": 1100, "F-3": 0}
    table.write_text("asset,rated_speed\nF-2,5\n")
    with pytest.raises(SourceError, match="setting 'rated_speed' is declared in rpm"):
        export(database, fans.wanted(folder, settings=table))
    with pytest.raises(SourceError, match="is no file: give --settings"):
        export(database, fans.wanted(folder, settings=folder / "none.csv"))


def test_the_same_database_gives_the_same_bytes(database, folder):
    for name in ("F-2", "F-1"):
        fans.commit(database, fans.observations(name, range(1, 30)), sender=made.Sender(epoch=ord(name[-1])))
    digests = []
    for _ in range(2):
        export(database, fans.wanted(folder))
        made_files = sorted((folder / "data" / "sources" / "fan-plant").iterdir())
        names = [path.name for path in made_files]
        assert names == ["failures.csv", "manifest.json", "observations.parquet", "settings.csv"]
        files = [*made_files, folder / "classes" / "fan-plant.yaml"]
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]
    assert [path.name for path in (folder / "data" / "sources").iterdir()] == ["fan-plant"]


def test_only_the_log_says_that_a_machine_failed(database, folder):
    event = np.zeros(60)
    event[[10, 20, 30]] = 1
    sent = fans.observations("F-1", range(60), event=event)
    fans.commit(database, sent, fans.observations("F-2", range(5)))
    t = sent.keys.t
    log = folder / "log.csv"
    stamps = [pd.Timestamp(int(at), tz="UTC").isoformat() for at in (t[9] + 5, t[20], t[59] + 7)]
    rows = [("F-1", stamps[0], "failure"), ("F-1", stamps[1], "failure"), ("F-2", "soon", "failure")]
    rows += [("F-1", stamps[2], "failure"), ("F-9", stamps[0], "repair")]
    with log.open("w", newline="") as file:
        csv.writer(file).writerows([("asset", "time", "kind"), *rows])
    with pytest.raises(
        SourceError, match=r"(?s)1 rows cannot be used.*log.csv, line 4: time 'soon': write a time such as"
    ):
        export(database, fans.wanted(folder, failures=log))
    manifest = export(database, fans.wanted(folder, failures=log, skip_unusable=True))
    assert any(note.startswith("left out: log.csv, line 4: time 'soon'") for note in manifest["notes"])
    assert any(note.startswith("the failure log names F-9: no such machines") for note in manifest["notes"])
    assert manifest["ends"] == {"failure": 3, "repair": 1}
    assert manifest["left_out"] == {"failures of unknown machines": 1, "unusable rows of the failure log": 1}
    _, lives, _ = ingest()
    assert [(life.asset, life.kind, life.end) for life in lives] == [
        ("F-1", "failure", t[9] + 5),
        ("F-1", "failure", t[19]),
        ("F-1", "repair", t[29]),
        ("F-1", "failure", t[59] + 7),
        ("F-2", "censored", t[4]),
    ]
    until = int(t[40])
    manifest = export(database, fans.wanted(folder, failures=log, skip_unusable=True, since=int(t[15]), until=until))
    assert (manifest["rows"], manifest["ends"]) == (25, {"failure": 1, "repair": 1})


def test_what_ended_before_the_first_row_ends_nothing_here(database, folder):
    """The log may hold everything since the beginning, the database what retention has left of it."""
    fans.commit(database, fans.observations("F-1", range(1, 21)), fans.observations("F-2", range(1, 21)))
    (folder / "log.csv").write_text(
        "asset,time,kind\nF-1,2025-12-01T00:00:00Z,failure\nF-2,2025-12-01T00:00:00Z,repair\n"
        "F-2,2026-01-01T00:30:00Z,failure\n"
    )
    manifest = export(database, fans.wanted(folder, failures=folder / "log.csv"))
    assert manifest["ends"] == {"failure": 1, "repair": 0}
    assert manifest["left_out"] == {"failures and repairs before the first row": 2}
    _, lives, report = ingest()
    assert [(life.asset, life.kind) for life in lives] == [("F-1", "censored"), ("F-2", "failure")]
    assert "failures_outside_record" not in report.counts


def test_each_wrong_row_of_a_failure_log_is_told_with_its_line(database, folder):
    fans.commit(database, fans.observations("F-1", range(5)))
    log = folder / "log.csv"
    log.write_text(
        "asset,time,kind\nF-1,2026-01-03T08:00:00Z,broken\n,2026-01-03T08:00:00Z,failure\nF-1,x\nF-1,28.8.2025,repair\n"
    )
    with pytest.raises(SourceError) as caught:
        export(database, fans.wanted(folder, failures=log))
    said = str(caught.value).splitlines()
    assert said[0].startswith("4 rows cannot be used")
    for line, problem in zip(
        said[1:], ("2: kind 'broken'", "3: no asset", "4: 2 cells", "5: time '28.8."), strict=True
    ):
        assert line.startswith(f"  log.csv, line {problem}")
    log.write_text("asset,date\nF-1,2026-01-03\n")
    with pytest.raises(SourceError, match=r"no column 'time'; its columns are asset, date: expected asset, time"):
        export(database, fans.wanted(folder, failures=log))


def test_thinned_repeated_and_foreign_rows_are_left_out_and_counted(database, folder):
    rows = fans.observations("F-1", range(1, 21))
    again = fans.observations("F-1", [7], time=rows.keys.t[14:15], term=1, seed=3)
    third = np.zeros((5, 3))
    foreign = fans.observations("F-1", range(100, 105), third, channels=("vibration", "speed", "noise"), term=1)
    sender = made.Sender()
    fans.commit(database, rows, sender=sender)
    with database.write() as connection:
        machine = queries.find_asset(connection, "F-1")
        assign(connection, ACT, "F-1", made.GATEWAY)
        connection.execute(insert(thinned).values(asset=machine.id, kind="observation", t=int(rows.keys.t[10])))
    fans.commit(database, again, foreign, sender=sender)
    manifest = export(database, fans.wanted(folder))
    assert manifest["left_out"] == {"repeated time": 1, "thinned": 10}
    assert manifest["rows"] == 15
    assert manifest["channels_not_of_the_class"] == ["noise"]
    assert manifest["unnumbered"] == 92  # 8 … 99 of term 1
    assert manifest["gaps"] == 1
    ingested, _, _ = ingest()
    time, readings, _, _ = rows_of(ingested, "F-1")
    assert time[0] == rows.keys.t[10]
    np.testing.assert_array_equal(readings[4], again.readings[0, ::-1])


def test_what_happens_meanwhile_is_of_the_next_export(database, folder, monkeypatch):
    sender = made.Sender()
    fans.commit(database, *(fans.observations(name, range(1, 20)) for name in ("F-1", "F-2")), sender=sender)
    really = fleet._one

    def one(connection, cls, asset, *more):
        really(connection, cls, asset, *more)
        with database.write() as other:  # retention, and the hub
            other.execute(delete(observations).where(observations.c.t > fans.START + 5 * fans.STEP))
        fans.commit(database, fans.observations("F-2", range(50, 60)), sender=sender)

    monkeypatch.setattr(fleet, "_one", one)
    manifest = export(database, fans.wanted(folder))
    assert {name: own["rows"] for name, own in manifest["per_machine"].items()} == {"F-1": 19, "F-2": 19}


def test_a_beginning_of_life_is_not_lost_with_its_row(database, folder):
    fans.workspace(folder, life={"age": "required", "begins": "unknown"})
    event, age = np.zeros(20), np.arange(20.0)
    event[10], age[10:12] = 1, np.nan
    fans.commit(database, fans.observations("F-1", range(20), event=event, age=age))
    manifest = export(database, fans.wanted(folder))
    assert manifest["left_out"] == {"unknown age": 2}
    ingested, lives, _ = ingest()
    assert rows_of(ingested, "F-1")[2].tolist() == [0.0] * 10 + [1.0] + [0.0] * 7
    assert [life.kind for life in lives] == ["repair", "censored"]


def test_nor_is_a_replaced_sensor(database, folder, monkeypatch):
    monkeypatch.setattr(machine_module, "page_rows", lambda _: 5)
    fans.workspace(folder, life={"age": "required", "begins": "unknown"})
    event, age = np.zeros(20), np.arange(20.0)
    event[[4, 12]] = 2
    event[13] = 1
    age[[4, 5, 6, 7, 8, 9, 12]] = np.nan  # a whole page among them
    fans.commit(database, fans.observations("F-1", range(20), event=event, age=age))
    export(database, fans.wanted(folder))
    ingested, _, _ = ingest()
    assert rows_of(ingested, "F-1")[2].tolist() == [0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0]


def test_cycles(database, folder):
    changes = {"time": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 20}, "life": {"unit": "cycle"}}
    fans.workspace(folder, **changes)
    time = np.array([1, 2, 3, 3.25, 5]) * 1e9
    time[4] += 1  # a billionth of a cycle
    sent = fans.observations("F-1", range(5), time=time)
    fans.commit(database, sent)
    manifest = export(database, fans.wanted(folder))
    assert manifest["left_out"] == {"time finer than a millionth of a cycle": 1}
    assert (manifest["first"], manifest["last"]) == ("1.0", "3.25")
    ingested, _, _ = ingest()
    assert rows_of(ingested, "F-1")[0].tolist() == sent.keys.t[:4].tolist()


def test_names_that_cannot_be_and_nothing_to_export(database, folder):
    with pytest.raises(InvalidError, match="no machine of class 'fan'"):
        export(database, fans.wanted(folder))
    fans.commit(database, fans.observations("F-1", range(3)))
    for name in ("pump-plant", "fan", "fan-", "fan-a/b"):
        with pytest.raises(ConfigError, match="write fan- and a name"):
            export(database, fans.wanted(folder, name))
    with pytest.raises(InvalidError, match="widen --since and --until"):
        export(database, fans.wanted(folder, until=0))
    (folder / "classes" / "fan-mine.yaml").write_text("subset_of: fan\n")
    with pytest.raises(ConfigError, match="not written by an export"):
        export(database, fans.wanted(folder, "fan-mine"))
    assert not list((folder / "data" / "sources").iterdir())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("subset_of: fan\nlabels: {}\nsource: {}\n", "fan-x.yaml:2: 'labels': a subset has"),
        ("subset_of: pan\nsource: {}\n", "fan-x.yaml:1: subset_of is 'pan'"),
        ("subset_of: fan\n", "fan-x.yaml:1: source"),
        ("subset_of: fan\nsource: {reader: table}\n", "required key 'files' is missing"),
        ("subset_of: fan\nsource: {reader: simulation, simulator: x, machines: 2, seed: 1}\n", "has reader 'table'"),
    ],
)
def test_a_subset_of_its_own_says_what_is_wrong(folder, text, says):
    (folder / "classes" / "fan-x.yaml").write_text(text)
    with pytest.raises(AssetClassError, match=r"fan-x\.yaml") as error:
        fans.load(folder, "fan-x")
    assert says in str(error.value)


def test_the_command(database, database_settings, folder, monkeypatch, capsys):
    fans.commit(database, fans.observations("F-1", range(10)))
    url = database_settings.url
    (folder / "centre.toml").write_text(f'[database]\nurl = "{url}"\n')
    monkeypatch.setattr(command, "load_class", partial(fans.load, folder))
    monkeypatch.setattr(
        command, "Wanted", lambda _, fleet, *more, **rest: fans.wanted(folder, fleet, **_named(more), **rest)
    )
    since = pd.Timestamp(fans.START + 2 * fans.STEP, tz="UTC").isoformat()
    assert command.main(["fan", "--config", "centre.toml", "--since", since]) == 0
    assert "fan-lived: 1 machines, 8 observations from 2026-01-01T00:02:00.000000007Z" in capsys.readouterr().out
    told = json.loads((folder / "data" / "sources" / "fan-lived" / "manifest.json").read_text())
    assert told["rows"] == 8
    assert command.main(["fan", "--config", "centre.toml", "--until", "later"]) == 1
    assert "--until 'later': write a time such as" in capsys.readouterr().err


def _named(more):
    return dict(zip(("since", "until", "failures", "settings"), more, strict=True))
