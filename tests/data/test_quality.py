import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import SourceError
from data.lives import Life
from data.quality import Report, longest_run
from data.recording import End, Recording

SECOND = 1_000_000_000


@given(st.lists(st.booleans()))
def test_longest_run(flags):
    text = "".join("x" if flag else " " for flag in flags)
    assert longest_run(np.array(flags, dtype=bool)) == max((len(run) for run in text.split(" ")), default=0)


def recording(asset="A", speed=(1500.0, 1501.0), vibration=(1.0, 2.0), minutes=None):
    minutes = range(len(speed)) if minutes is None else minutes
    channels = {"speed": np.array(speed, np.float32), "vibration": np.array(vibration, np.float32)}
    return Recording(asset, np.array(minutes) * 60 * SECOND, channels)


def reported(cls, *recordings):
    report = Report(cls)
    for each in recordings:
        report.received(each, duplicates=0, out_of_order=0)
        report.observed(each)
    return report


def test_what_is_wrong_is_counted(fan):
    nan = float("nan")
    rec = recording(speed=[5, 5, 5, 5, 5], vibration=[nan, 99, nan, nan, -1], minutes=[0, 1, 2, 12, 30])
    summary = reported(fan(), rec, recording("B", [7], [1])).summary()
    vibration = summary["channels"]["vibration"]
    assert (vibration["missing"], vibration["out_of_range"], vibration["longest_missing_run"]) == (3, 2, 2)
    assert vibration["first_out_of_range"] == {"asset": "A", "time": "1970-01-01T00:01:00Z", "value": 99.0}
    assert summary["channels"]["speed"]["constant_assets"] == ["A"]
    assert not summary["channels"]["speed"]["constant"]
    assert summary["single_observation_assets"] == ["B"]
    assert summary["per_asset"]["A"] == {
        "rows": 5, "duplicates": 0, "out_of_order": 0, "missing": 3, "out_of_range": 2,
        "observations": 5, "irregular_steps": 2, "gaps": 1,
    }  # fmt: skip


def life(asset, last, end, **others):
    return Life(
        asset, 0, 0, last * 60 * SECOND, end * 60 * SECOND, "failure", **({"held_out": False} | others), known_new=True
    )


def test_what_a_failure_log_says_of_other_times_is_named(fan):
    """fan.time.max_gap is ten minutes."""
    report = Report(fan())
    report.ends([life("A", 5, 14)], [])
    report.ends([life("B", 5, 500, held_out=True)], [])  # a test machine: its record was cut on purpose
    assert report.notes == []
    report.ends([life("C", 5, 500)], [End(-60 * SECOND, "repair")])
    assert (report.counts["failures_long_after_record"], report.counts["failures_outside_record"]) == (1, 1)
    outside, late = report.notes
    assert "repair of C at 1969-12-31T23:59:00Z ends no life" in outside
    assert "C failed at 1970-01-01T08:20:00Z, but its rows end at 1970-01-01T00:05:00Z" in late


def test_the_first_row_of_each_kind_that_was_set_aside_is_shown(fan):
    report = Report(fan())
    for row in (3, 7):
        report.reject("log.csv", row, "no asset or usable time", f"A,never {row}")
    assert report.lines()[1:3] == [
        "rejected: 2",
        "rejected: log.csv: no asset or usable time, first in row 3: A,never 3",
    ]


def test_a_constant_channel_is_said(fan):
    assert "channel 'speed': constant at 5.0" in reported(fan(), recording(speed=[5, 5])).lines()


def test_a_channel_that_never_came_is_said(fan):
    nan = float("nan")
    assert "channel 'speed': never received" in reported(fan(), recording(speed=[nan, nan])).lines()


def test_a_wrong_unit_is_refused_with_the_reason(fan):
    report = reported(fan(), recording(vibration=[7000, 7001]), recording("B", vibration=[1.0, 7000]))
    with pytest.raises(SourceError) as error:
        report.refuse_impossible()
    assert str(error.value) == (
        "channel 'vibration' is declared in mm/s (0…50); 75% of its values lie outside, e.g. 7,000 of A at "
        "1970-01-01T00:00:00Z: check the unit in data/asset_classes/fan.yaml"
    )


def test_a_faulty_sensor_is_no_wrong_unit(fan):
    reported(fan(), recording(vibration=[7000, 7000]), recording("B", vibration=[1.0, 1.0])).refuse_impossible()


def test_the_report_is_json_even_of_infinite_values(fan, tmp_path):
    reported(fan(), recording(vibration=[np.inf, 1])).write(tmp_path / "quality.json")
    channel = json.loads((tmp_path / "quality.json").read_text())["channels"]["vibration"]
    assert (channel["max"], channel["out_of_range"]) == ("inf", 1)
