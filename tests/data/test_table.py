import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import paths
from data.errors import SourceError
from data.quality import Report
from data.readers import table

HOUR = 3_600_000_000_000
ROWS = "asset,time,speed,vibration\nA,2026-01-01T00:00:00Z,1500,1.5\nA,2026-01-01T00:01:00Z,1501,1.6\n"


@pytest.fixture
def read(workspace):
    """`read(cls, name=content, …)` writes raw files and reads them; gives recordings and the report."""

    def run(cls, **files):
        folder = paths.raw(cls.fleet)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        with (workspace / "rejected.csv").open("w") as rejected:
            report = Report(cls, rejected)
            return list(table.read(cls, folder, report)), report

    return run


def rejected(workspace):
    return list(csv.DictReader((workspace / "rejected.csv").read_text().splitlines()))


def test_machines_come_apart_in_order_of_appearance(fan, read):
    text = "time,asset,speed,vibration\n0,B,1,2\n0,A,3,4\n60,B,5,\n60,A,7,8\n"
    (b, a), report = read(fan(), fan=text)
    assert (b.asset, a.asset) == ("B", "A")
    np.testing.assert_array_equal(b.time, [0, 60_000_000_000])
    np.testing.assert_array_equal(b.channels["vibration"], np.array([2, np.nan], np.float32))
    assert report.files == {"fan.csv": {"rows": 4}}


def test_a_missing_column_is_refused_with_the_closest_and_the_fix(fan, read):
    with pytest.raises(SourceError) as error:
        read(fan(), fan=ROWS.replace("vibration", "Vibration_RMS"))
    assert "fan.csv: no column 'vibration' for channel 'vibration'" in str(error.value)
    assert "did you mean 'Vibration_RMS'" in str(error.value)
    assert "source.columns of data/asset_classes/fan.yaml" in str(error.value)


def test_a_renamed_column_is_mapped(fan, read):
    cls = fan(source={"columns": {"vibration": "Vibration RMS"}, "asset": "unit", "time": "when"})
    (a,), _ = read(cls, fan="unit,when,speed,Vibration RMS\nA,0,1,2\n")
    assert a.channels["vibration"].tolist() == [2]


def test_extra_columns_are_noted(fan, read):
    _, report = read(fan(), fan="asset,time,speed,vibration,operator\nA,0,1,2,Bob\n")
    assert report.notes == ["fan.csv: columns not used: operator"]


def test_a_wrong_separator_is_recognised(fan, read):
    with pytest.raises(SourceError, match=r"set source\.separator: ';'"):
        read(fan(), fan=ROWS.replace(",", ";"))


@pytest.mark.parametrize("content", ["", "\n\n", "  \n"])
def test_an_empty_file_is_refused(fan, read, content):
    with pytest.raises(SourceError, match=r"fan\.csv: the file is empty"):
        read(fan(), fan=content)


def test_a_file_with_a_header_alone_has_no_machines(fan, read):
    recordings, report = read(fan(), fan="asset,time,speed,vibration\n")
    assert recordings == []
    with pytest.raises(SourceError, match=r"no usable row in fan\.csv"):
        report.refuse_impossible()


@pytest.mark.parametrize(
    "content", [b"asset,time\n\xff\xfe", ROWS.encode() + b"A,\xe9,1,2\n", b"PK\x03\x04\x00\xff\x00"]
)
def test_what_is_no_utf8_text_is_refused(fan, read, content):
    with pytest.raises(SourceError, match=r"fan\.csv"):
        read(fan(), fan=content)


def test_a_byte_order_mark_is_no_part_of_a_name(fan, read):
    assert read(fan(), fan=b"\xef\xbb\xbf" + ROWS.encode())[0][0].asset == "A"


def test_a_column_there_twice_is_refused(fan, read):
    with pytest.raises(SourceError, match="column 'speed' is there twice"):
        read(fan(), fan=ROWS.replace("vibration", "speed"))


def test_cells_that_are_no_numbers_are_missing_counted_and_shown(fan, read):
    (a,), report = read(fan(), fan=ROWS + "A,2026-01-01T00:02:00Z,ERR,1\nA,2026-01-01T00:03:00Z,n/a,1\n")
    assert np.isnan(a.channels["speed"][2:]).all()
    tally = report.channels["speed"]
    assert (tally.unparsable, tally.unparsable_examples) == (1, ["ERR"])


def test_a_channel_of_text_is_refused(fan, read):
    (a,), report = read(fan(), fan="asset,time,speed,vibration\nA,0,1,'3,14'\n".replace("'", '"'))
    report.received(a, 0, 0)
    with pytest.raises(SourceError, match=r"channel 'vibration': 100% of its cells are not numbers, e\.g\. '3,14'"):
        report.refuse_impossible()


def test_rows_that_cannot_be_used_are_set_aside_as_they_came(fan, read, workspace):
    text = ROWS + "A,soon,1,2\n,2026-01-01T00:02:00Z,3,4\nA,2026-01-01T00:03:00Z,5\n" + ROWS.splitlines()[1] + "\n"
    (a,), report = read(fan(), fan=text)
    assert a.time.size == 3
    assert report.counts["rejected"] == 3
    rows = {row["row"]: row for row in rejected(workspace)}
    assert rows["4"]["reason"] == "no usable time"
    assert json.loads(rows["4"]["content"]) == {"asset": "A", "time": "soon", "speed": "1", "vibration": "2"}
    assert rows["5"]["reason"] == "no asset"
    assert rows["6"]["content"] == "A,2026-01-01T00:03:00Z,5"


def test_times_that_mostly_cannot_be_used_refuse_the_file(fan, read):
    with pytest.raises(SourceError, match=r"column 'time': 100% of its times.*'1767434400000'.*seconds since 1970"):
        read(fan(), fan="asset,time,speed,vibration\nA,1767434400000,1,2\n")


@pytest.mark.parametrize(
    ("asset", "better"), [("Pump 7", "Pump-7"), ("a/b", "a-b"), ("../x", "x"), ("Lüfter", "L-fter")]
)
def test_an_asset_that_is_no_identifier_is_refused_with_one_that_is(fan, read, asset, better):
    with pytest.raises(SourceError, match=f"e.g. to '{better}'"):
        read(fan(), fan=f"asset,time,speed,vibration\n{asset},0,1,2\n")


def test_age_life_and_event_columns(fan, read):
    cls = fan(source={"age": "hours", "life": "run", "event": "event"})
    text = (
        "asset,time,speed,vibration,hours,run,event\nA,0,1,2,5,x,0\nA,60,1,2,-1,x,2\nA,120,1,2,,y,7\nA,180,1,2,3,,q\n"
    )
    (a,), report = read(cls, fan=text)
    np.testing.assert_array_equal(a.age, [5, np.nan, np.nan, 3])
    np.testing.assert_array_equal(np.diff(a.life) != 0, [False, True, True])
    np.testing.assert_array_equal(a.event, [0, 2, 0, 0])
    assert report.counts["unusable_ages"] == 1
    assert report.counts["unusable_events"] == 2


def test_an_unknown_timezone_is_refused(fan, read):
    with pytest.raises(SourceError, match=r"source\.timezone: 'Mars/Base'"):
        read(fan(source={"timezone": "Mars/Base"}), fan=ROWS)


def test_several_files_are_one_record(fan, read):
    (a,), _ = read(fan(source={"files": ["x.csv", "y.csv"]}), x=ROWS, y=ROWS.replace("00:01", "00:09"))
    assert a.time.size == 4


LOG = {"source": {"failures": {"file": "log.csv", "kind": "what"}}}


def test_a_failure_log_joins_by_machine(fan, read):
    log = "asset,time,what\nA,2026-01-01T00:01:00Z,Failure\nA,2026-01-01T00:00:30Z,repair\n"
    log += "Z,2026-01-01T00:00:00Z,failure\nA,2026-01-01T00:00:00Z,inspection\nA,never,failure\n"
    (a,), report = read(fan(**LOG), fan=ROWS, log=log)
    assert [end.kind for end in a.ends] == ["failure", "repair"]
    assert a.censored
    assert report.counts["failures_of_unknown_assets"] == 1
    assert report.counts["rejected"] == 1
    assert any("'inspection'" in note for note in report.notes)
    assert any("'Z'" in note for note in report.notes)
    assert (report.counts["log_rows_rejected"], report.counts["log_rows_of_other_kinds"]) == (1, 1)


def test_a_failure_log_whose_times_mostly_cannot_be_used_is_refused(fan, read):
    log = "asset,time,what\nA,03.01.2026,failure\nA,31.01.2026 07:00,failure\nA,2026-01-01,failure\n"
    with pytest.raises(SourceError, match=r"log\.csv, column 'time': 67% .* e\.g\. '03\.01\.2026'; .*ISO 8601"):
        read(fan(**LOG), fan=ROWS, log=log)
    _, report = read(fan(**LOG), fan=ROWS, log="asset,time,what\nA,,failure\nA,,failure\nA,2026-01-01,failure\n")
    assert report.counts["log_rows_rejected"] == 2  # not yet filled in is no wrong format


def test_a_failure_log_without_its_column_is_refused(fan, read):
    with pytest.raises(SourceError, match=r"log\.csv: no column 'what' for the kind.*source\.failures\.kind"):
        read(fan(**LOG), fan=ROWS, log="asset,time\nA,0\n")


SETTINGS = {"source": {"settings": "settings.csv"}}


def test_settings_a_machine(fan, read):
    (a,), report = read(fan(**SETTINGS), fan=ROWS, settings="asset,rated_speed,colour\nA,1450,red\nB,,blue\n")
    assert a.settings == {"rated_speed": 1450}
    assert report.notes == ["settings.csv: columns that are no settings of the class are not used: colour"]


@pytest.mark.parametrize(("cell", "said"), [("99999", r"100…3,000\); got 99,999"), ("fast", "got nan")])
def test_an_impossible_setting_is_refused(fan, read, cell, said):
    with pytest.raises(SourceError, match=rf"settings\.csv, row 2: setting 'rated_speed'.*{said}"):
        read(fan(**SETTINGS), fan=ROWS, settings=f"asset,rated_speed\nA,{cell}\n")


def test_settings_of_a_machine_twice_are_refused(fan, read):
    with pytest.raises(SourceError, match="'A' is there twice"):
        read(fan(**SETTINGS), fan=ROWS, settings="asset,rated_speed\nA,1450\nA,1460\n")


WAVEFORM = {
    "source": {"files": ["fan.parquet"]},
    "channels": {
        "shock": {"quantity": "acceleration", "unit": "m/s2", "range": [-100, 100]}
        | {"waveform": {"axes": ["x", "y"], "samples": 16, "rate": 1000}}
    },
}


def write_parquet(cls, **columns):
    path = paths.raw(cls.fleet) / "fan.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_parquet_with_waveforms(fan, read):
    cls = fan(**WAVEFORM)
    snapshot = np.arange(32, dtype=np.float32)
    write_parquet(
        cls,
        asset=pa.array(["A", "B", "A"]).dictionary_encode(),
        time=pa.array([0, 0, 60]),
        speed=pa.array([1.0, None, 3.0]),
        vibration=pa.array([1, 2, 3]),
        shock=pa.array([None, None, snapshot.tolist()], pa.list_(pa.float64())),
    )
    (a, b), _ = read(cls)
    row, samples = a.waveforms["shock"]
    assert row.tolist() == [1]
    np.testing.assert_array_equal(samples, [snapshot])
    assert b.waveforms == {}


def test_a_snapshot_of_the_wrong_length_is_refused(fan, read):
    cls = fan(**WAVEFORM)
    one = {"asset": ["A"], "time": [0], "speed": [1.0], "vibration": [1.0]}
    write_parquet(cls, **one, shock=[[1.0] * 31])
    with pytest.raises(SourceError, match="column 'shock': a snapshot of 31 to 31 samples, where 2 axes of 16"):
        read(cls)


def test_a_parquet_column_of_the_wrong_type_is_refused(fan, read):
    cls = fan(source={"files": ["fan.parquet"]})
    write_parquet(cls, asset=["A"], time=[0], speed=[[1.0]], vibration=[1.0])
    with pytest.raises(SourceError, match=r"fan\.parquet, column 'speed': holds list"):
        read(cls)


def test_a_truncated_parquet_file_is_refused(fan, read):
    cls = fan(source={"files": ["fan.parquet"]})
    write_parquet(cls, asset=["A"], time=[0], speed=[1.0], vibration=[1.0])
    path = paths.raw("fan") / "fan.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="not a Parquet file, or cut short"):
        read(cls)
