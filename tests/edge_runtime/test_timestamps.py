import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.timestamps import format_times, parse_times

TEN = int(dt.datetime(2026, 1, 3, 10, tzinfo=dt.timezone.utc).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("2026-01-03T10:00:00Z", TEN),
        ("2026-01-03 10:00:00", TEN),
        ("2026-01-03T10:00", TEN),
        (" 2026-01-03T12:30:00+02:30 ", TEN),
        ("2026-01-03T05:00:00-0500", TEN),
        ("2026-01-03T10:00:00.000000001Z", TEN + 1),
        ("2026-01-03", TEN - 36_000 * 10**9),
    ],
)
def test_iso_times(text, nanos):
    got, usable = parse_times([text], "s")
    assert (got.tolist(), usable.tolist()) == ([nanos], [True])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-02-30",
        "2026-01-03T25:00",
        "1600-01-01",
        "9999-01-01",
        "1700000000",
        "2026-01-03-0500",
        "2026-01-03T10:00+25:00",
        "2026-01-03T10:00+01:75",
        "٢٠٢٦-٠١-٠٣",
    ],
)
def test_what_is_no_time_is_marked_and_leaves_its_neighbours_alone(text):
    got, usable = parse_times(["2026-01-03T10:00:00Z", text, "2026-01-03T11:00:00+01:00"], "s")
    assert usable.tolist() == [True, False, True]
    assert got.tolist() == [TEN, 0, TEN]


def test_cycles_are_numbers():
    got, usable = parse_times(["1", "2.5", "-3", "x", "nan", "inf", "1e30"], "cycle")
    assert usable.tolist() == [True, True, True, False, False, False, False]
    assert got[:3].tolist() == [10**9, 25 * 10**8, -3 * 10**9]


@given(st.lists(st.integers(-9_000_000_000 * 10**9, 9_000_000_000 * 10**9), min_size=1, max_size=4))
def test_formatted_times_are_read_back(nanos):
    got, usable = parse_times(format_times(np.array(nanos), "s"), "s")
    assert usable.all()
    assert got.tolist() == nanos


@given(st.lists(st.text(alphabet="0123456789-T:.Z+ e", max_size=26), max_size=5), st.sampled_from(["s", "cycle"]))
def test_no_text_raises(texts, unit):
    got, usable = parse_times(texts, unit)
    assert len(got) == len(usable) == len(texts)
    assert not got[~usable].any()
