import datetime as dt
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle import Bundle
from edge_runtime.errors import DataError
from edge_runtime.table import Findings, new_lives, read_rows
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract

T = "2026-01-03T10:00:00Z"


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    return Bundle.load(tiny_bundle(tmp_path_factory.mktemp("bundle"))).contract


def read(tmp_path, contract, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    findings = Findings()
    return list(read_rows(path, contract, findings)), findings


def test_columns_may_come_in_any_order_and_cells_may_be_missing(tmp_path, contract):
    (rows,), findings = read(tmp_path, contract, f"speed,asset,age,flow,time\n1500,a,12,7.5,{T}\n,a,,NA,{T}\n")
    assert rows.readings.tolist()[0] == [7.5, 1500]
    assert np.isnan(rows.readings[1]).all()
    assert rows.age[0] == 12
    assert np.isnan(rows.age[1])
    assert rows.event.tolist() == [0, 0]
    assert rows.life is None
    assert findings.rows == 2
    assert not findings.not_numbers


@pytest.mark.parametrize(
    "text", ["\ufeffasset;time;flow;speed\na;{T};1;2\n", "asset\ttime\tflow\tspeed\r\na\t{T}\t1\t2\r\n"]
)
def test_other_separators_byte_order_marks_and_line_ends(tmp_path, contract, text):
    (rows,), _ = read(tmp_path, contract, text.replace("{T}", T))
    assert rows.readings.tolist() == [[1, 2]]


def test_cells_that_are_no_numbers_are_counted_with_an_example(tmp_path, contract):
    (rows,), findings = read(
        tmp_path,
        contract,
        f'asset,time,flow,speed,event\na,{T},1e300,-inf,3\na,{T},n/a,12 rpm,1\na,{T},"1,5",error,x\n',
    )
    assert rows.readings[0].tolist() == [np.inf, -np.inf]
    assert np.isnan(rows.readings[1:]).all()
    assert rows.event.tolist() == [0, 1, 0]
    assert findings.not_numbers == {"flow": 1, "speed": 2, "event": 2}
    assert findings.examples["speed"] == "12 rpm"
    assert findings.outside == {"flow": 1, "speed": 1}


def test_ragged_lines_are_filled_or_cut(tmp_path, contract):
    (rows,), findings = read(tmp_path, contract, f"asset,time,flow,speed\na,{T},1\n\nb,{T},2,3,4,5\n")
    assert np.array_equal(rows.readings, [[1, np.nan], [2, 3]], equal_nan=True)
    assert findings.ragged == 2


def test_extra_columns_are_noted(tmp_path, contract):
    _, findings = read(tmp_path, contract, f"asset,time,flow,speed,comment\na,{T},1,2,fine\n")
    assert findings.extra == ["comment"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("asset,time,flow,speed\n", "has a header but no rows"),
        (f"asset,time,Flow_rate,speed\na,{T},1,2\n", r"column 'flow' \(is 'Flow_rate' meant\?\) is missing"),
        (f"time,flow,speed\n{T},1,2\n", "column 'asset' is missing; it has time, flow, speed"),
        (
            f"when,Flow,x\n{T},1,2\n",
            r"4 of 4 columns are missing: 'flow' \(is 'Flow' meant\?\), 'asset', 'time', 'speed'; it",
        ),
        (f"asset|time|flow|speed\na|{T}|1|2\n", r"csv: its header is one column, 'asset\|time\|flow\|speed': separate"),
        (
            f"asset,time,flow;speed\na,{T},1;2\n",
            "2 of 4 columns .*; one column is called 'flow;speed': is the separator",
        ),
        (f"asset,time,flow,flow,speed\na,{T},1,2,3\n", "column 'flow' stands there twice"),
        (b"PAR1 and then nothing", "truncated or altered"),
        (f"asset,time,flow,speed\na,{T},{'9' * 200_000},1\n", "line 2: not CSV: field larger"),
    ],
)
def test_what_cannot_be_a_table_is_refused_with_the_reason(tmp_path, contract, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, contract, content)


def test_many_missing_columns_are_counted_and_a_few_named(tmp_path):
    layout = SimpleNamespace(
        channels=[SimpleNamespace(name=f"c{i}", range=(0, 1)) for i in range(30)],
        time=SimpleNamespace(unit="s"),
        life=SimpleNamespace(age="optional"),
    )
    with pytest.raises(DataError) as raised:
        read(tmp_path, layout, f"asset,time,c7,x\na,{T},1,2\n")
    told = str(raised.value)
    assert "csv: 29 of 32 columns are missing: 'c0', 'c1', 'c2', 'c3', 'c4' and 24 others; it has asset, time, " in told
    assert "and leave cells of a channel that is not measured empty" in told


def test_a_separator_within_quotes_is_none(tmp_path, contract):
    header = 'asset,time,flow,speed,"a;b;c;d;e;f"'
    (rows,), findings = read(tmp_path, contract, f"{header}\na,{T},1,2,x;y\n")
    assert (rows.asset, rows.readings.tolist()) == (["a"], [[1, 2]])
    assert findings.extra == ["a;b;c;d;e;f"]


def test_a_missing_file_is_named(tmp_path, contract):
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read: No such file"):
        list(read_rows(tmp_path / "nowhere.csv", contract, Findings()))


def test_a_class_that_needs_ages_says_so(tmp_path):
    life = tiny_contract()["life"] | {"age": "required"}
    contract = Bundle.load(tiny_bundle(tmp_path, life=life)).contract
    with pytest.raises(DataError, match="column 'age' is missing"):
        read(tmp_path, contract, f"asset,time,flow,speed\na,{T},1,2\n")


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_data_errors(tmp_path_factory, contract, content):
    folder = tmp_path_factory.getbasetemp()
    header = b"asset,time,flow,speed\n"
    try:
        rows, findings = read(folder, contract, header + content)
    except DataError as error:
        outcome = str(error)
    else:
        outcome = f"{sum(len(r.time) for r in rows)} of {findings.rows}"
    assert "table.csv" in outcome or outcome.split(" of ")[0] == outcome.split(" of ")[1]


@pytest.mark.parametrize("unit", ["ns", "us", "s"])
@pytest.mark.parametrize("zone", ["UTC", None, "Europe/Berlin"])
def test_parquet_times_nulls_and_kinds(tmp_path, contract, unit, zone):
    table = pa.table(
        {
            "asset": pa.array(["a", None, "b"]).dictionary_encode(),
            "time": pa.array([1_767_434_400, None, 1_767_434_401], pa.int64())
            .cast(pa.timestamp("s"))
            .cast(pa.timestamp(unit)),
            "flow": pa.array([1, None, 3], pa.int16()),
            "speed": pa.array(["1.5", "fast", None]),
            "life": pa.array([0, 0, 1], pa.int32()),
        }
    )
    if zone:
        table = table.set_column(1, "time", table["time"].cast(pa.timestamp(unit, zone)))
    pq.write_table(table, tmp_path / "table.parquet")
    findings = Findings()
    (rows,) = read_rows(tmp_path / "table.parquet", contract, findings)
    assert rows.time.tolist() == [1_767_434_400 * 10**9, 0, 1_767_434_401 * 10**9]
    assert rows.usable.tolist() == [True, False, True]
    assert np.array_equal(rows.readings, [[1, 1.5], [np.nan, np.nan], [3, np.nan]], equal_nan=True)
    assert list(rows.asset) == ["a", "", "b"]
    assert rows.life.tolist() == [0, 0, 1]
    assert findings.not_numbers == {"speed": 1}


@pytest.mark.parametrize("unit", ["us", "s"])
def test_parquet_times_that_nanos_cannot_hold_are_not_usable(tmp_path, contract, unit):
    """A year 9999 that stands for "no date" must not become a day in 1816."""
    times = pa.array([dt.datetime(9999, 12, 31), dt.datetime(2026, 1, 3, 10), dt.datetime(1, 1, 1)], pa.timestamp(unit))
    pq.write_table(pa.table({"asset": ["a"] * 3, "time": times, "flow": [1] * 3, "speed": [1] * 3}), tmp_path / "t")
    (rows,) = read_rows(tmp_path / "t", contract, Findings())
    assert rows.usable.tolist() == [False, True, False]
    assert rows.time.tolist() == [0, 1_767_434_400 * 10**9, 0]
    assert [when[:10] for when in rows.when] == ["9999-12-31", "2026-01-03", "0001-01-01"]


def lives_of(tmp_path, contract, column):
    rows = {"asset": ["a"] * len(column), "time": pa.array(range(len(column)), pa.timestamp("s"))}
    channels = {"flow": [1.0] * len(column), "speed": [1.0] * len(column)}
    pq.write_table(pa.table(rows | channels | {"life": column}), tmp_path / "t")
    (rows,) = read_rows(tmp_path / "t", contract, Findings())
    return new_lives(np.zeros(len(column), np.int64), rows.time, rows.life, rows.usable).tolist()


@pytest.mark.parametrize(
    "life",
    [
        pa.array([20240101, 20240102, 20240102]),  # one number to float32
        pa.array(["A", "B", "B"]),
        pa.array([1, 2, 2], pa.timestamp("s")),
        pa.array([1, 2, None]),
    ],
)
def test_a_life_may_be_called_anything(tmp_path, contract, life):
    assert lives_of(tmp_path, contract, life) == [0, 1, 0]


def test_a_new_life_is_found_behind_rows_that_do_not_say_theirs(tmp_path, contract):
    assert lives_of(tmp_path, contract, pa.array([None, 1, None, 2, None, 2, 3])) == [0, 0, 0, 1, 0, 0, 1]
    (rows,), findings = read(
        tmp_path, contract, "asset,time,flow,speed,life\n" + "".join(f"a,{T},1,2,{x}\n" for x in ("x", "", "7", "7.0"))
    )
    assert np.array_equal(rows.life, [0, np.nan, 1, 1], equal_nan=True)
    assert not findings.not_numbers


def test_numbers_of_machines_stay_whole_where_one_is_missing(tmp_path, contract):
    table = {"asset": pa.array([7, None]), "time": pa.array([0, 1], pa.timestamp("s")), "flow": [1.0, 2.0]}
    pq.write_table(pa.table(table | {"speed": [1, 2]}), tmp_path / "t")
    (rows,) = read_rows(tmp_path / "t", contract, Findings())
    assert rows.asset == ["7", ""]


def test_columns_of_a_parquet_table_that_are_not_wanted_are_not_read(tmp_path, contract):
    extra = pa.array([1, 2], pa.time64("ns"))  # which Python has no type for
    table = {"asset": ["a", "b"], "time": pa.array([0, 1], pa.timestamp("s")), "flow": [1.0, 2.0], "shift": extra}
    pq.write_table(pa.table(table | {"speed": [1, 2]}), tmp_path / "t")
    findings = Findings()
    (rows,) = read_rows(tmp_path / "t", contract, findings)
    assert rows.readings.tolist() == [[1, 1], [2, 2]]
    assert findings.extra == ["shift"]
