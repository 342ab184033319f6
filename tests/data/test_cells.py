import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.readers.cells import numbers, times

SECOND = 1_000_000_000


@given(st.lists(st.one_of(st.text(max_size=12), st.from_regex(r"[ +-]?\d{0,20}[.,]?\d*([eE][+-]?\d{0,4})?"))))
def test_any_text_is_a_number_or_told(cells):
    read = numbers(pa.array(cells, pa.string()))
    for cell, value, known, bad in zip(cells, read.values, read.known, read.bad, strict=True):
        assert known == (not np.isnan(value))
        assert not (known and bad)
        if known:
            assert value == float(cell.strip())  # float() itself leaves some white space of Unicode
        elif not bad:
            assert cell.strip().lower() in {"", "-", "--", "?", "na", "n/a", "nan", "nat", "null", "none", "#n/a"}


@given(st.lists(st.floats(allow_nan=False)))
def test_what_python_writes_reads_back_equal(values):
    np.testing.assert_array_equal(numbers(pa.array([repr(value) for value in values], pa.string())).values, values)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.decimal128(9, 2)])
def test_typed_columns_are_numbers(kind):
    cells = [True, None, False] if kind == pa.bool_() else [1, None, 0]
    np.testing.assert_array_equal(numbers(pa.array(cells, kind)).values, [1, np.nan, 0])


@pytest.mark.parametrize("column", [pa.array([[1.0]]), pa.array([b"x"]), pa.array([dt.datetime(2026, 1, 1)])])
def test_columns_that_hold_no_numbers_are_refused(column):
    with pytest.raises(TypeError, match="where numbers are expected"):
        numbers(column)


@given(st.lists(st.text(max_size=30)), st.sampled_from(["s", "cycle"]), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_any_text_is_a_time_or_told(cells, unit, timezone):
    read = times(pa.array(cells, pa.string()), unit, timezone)
    assert not (read.known & read.bad).any()
    assert not read.values[~read.known].any() or unit == "s"


@given(
    # Arrow knows no summer times after 2037.
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2037, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
    st.booleans(),
)
def test_iso_times_are_understood_as_python_does(naive, timezone, named):
    zone = ZoneInfo(timezone)
    aware = naive.replace(tzinfo=zone)
    if aware.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != naive:
        return  # an hour the clock skips: no such time
    text = aware.isoformat() if named else naive.isoformat(" ")
    read = times(pa.array([text]), "s", "UTC" if named else timezone)
    nanos = (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    assert read.known[0]
    assert read.values[0] == nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("2026-01-03T10:00:00Z", 1767434400 * SECOND),
        ("2026-01-03 12:00+02:00", 1767434400 * SECOND),
        ("2026-01-03T10:00:00.123456789Z", 1767434400 * SECOND + 123456789),
        ("2026-01-03", 1767398400 * SECOND),
        ("1767434400", 1767434400 * SECOND),
        ("1767434400.1", 1767434400 * SECOND + SECOND // 10),
        (" 1767434400 ", 1767434400 * SECOND),
    ],
)
def test_ways_to_write_a_time(text, nanos):
    assert times(pa.array([text]), "s", "UTC").values[0] == nanos


@pytest.mark.parametrize(
    "text", ["2026-02-30", "yesterday", "1767434400000", "9999-01-01T00:00:00Z", "inf", "03.01.2026"]
)
def test_what_is_no_time_is_told(text):
    read = times(pa.array([text]), "s", "UTC")
    assert read.bad[0]
    assert not read.known[0]


def test_of_an_hour_shown_twice_the_first_is_meant():
    read = times(pa.array(["2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00"]), "s", "Europe/Berlin")
    assert (read.values[1] - read.values[0]) / SECOND == 3600


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_timestamp_columns(unit, zone):
    instant = dt.datetime(2026, 1, 3, 10, tzinfo=dt.UTC)
    column = pa.array([instant.replace(tzinfo=None), None]).cast(pa.timestamp("us")).cast(pa.timestamp(unit))
    if zone:
        column = column.cast(pa.int64()).cast(pa.timestamp(unit, zone))
    read = times(column, "s", "UTC")
    assert read.values[0] == 1767434400 * SECOND
    assert read.known.tolist() == [True, False]


def test_a_timestamp_beyond_int64_is_told():
    assert times(pa.array([dt.datetime(9999, 1, 1)]).cast(pa.timestamp("us")), "s", "UTC").bad.tolist() == [True]


def test_cycles_are_numbers_and_nothing_else():
    read = times(pa.array(["1", "2.5", "2026-01-03", "", "1e30"]), "cycle", "UTC")
    assert read.values[:2].tolist() == [SECOND, 2.5 * SECOND]
    assert read.known.tolist() == [True, True, False, False, False]
    assert read.bad.tolist() == [False, False, True, False, True]
