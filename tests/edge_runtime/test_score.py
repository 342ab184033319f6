import csv
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_runtime.score
from edge_runtime.bundle import Bundle
from edge_runtime.errors import DataError
from edge_runtime.score import PROGNOSIS, score
from tests.edge_runtime.tiny import tiny_bundle

COLUMNS = ["asset", "time", *PROGNOSIS]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle.load(tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def cycles(tmp_path_factory):
    """The same twin for a class whose time counts cycles."""
    time = {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 50}
    life = {"unit": "cycle", "time_units": 1, "age": "none"}
    return Bundle.load(tiny_bundle(tmp_path_factory.mktemp("cycles"), time=time, life=life))


def run(folder, bundle, lines, header="asset,time,flow,speed", **kwargs):
    source, target = folder / "in.csv", folder / "out.csv"
    source.write_text("\n".join([header, *lines]) + "\n")
    summary = score(bundle, source, target, **kwargs)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, summary


def alone(bundle, rows):
    """Prognoses of (asset, time, flow) rows by stepping one machine at a time, None for duplicates."""
    result = [None] * len(rows)
    for asset in {row[0] for row in rows}:
        fleet, seen = bundle.fleet([asset]), set()
        for i in sorted((i for i, row in enumerate(rows) if row[0] == asset), key=lambda i: rows[i][1]):
            _, time, flow = rows[i]
            if time not in seen:
                out, _ = fleet.advance(slice(None), np.array([time * 10**9]), np.array([[flow, 1]], np.float32))
                result[i] = [float(out[name][0]) for name in PROGNOSIS]
            seen.add(time)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.floats(0, 400, width=32)), min_size=1, max_size=25
    ),
    st.integers(1, 3),
)
def test_each_row_gets_its_prognosis_in_the_order_of_the_input(tmp_path_factory, cycles, rows, batch):
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_runtime.score, "BATCH", batch)
        patch.setattr(edge_runtime.score, "PIECE", 8)
        got, summary = run(folder, cycles, [f"{a},{t},{f!r},1" for a, t, f in rows])
    assert [(row["asset"], row["time"]) for row in got] == [(a, str(t)) for a, t, _ in rows]
    for row, expected in zip(got, alone(cycles, rows), strict=True):
        cells = [row[name] for name in PROGNOSIS]
        if expected is None:
            assert cells == [""] * len(PROGNOSIS)
        else:
            assert [np.float32(cell) for cell in cells] == [np.float32(value) for value in expected]
    assert summary.duplicates == len(rows) - len({row[:2] for row in rows})
    assert summary.scored == len(rows) - summary.duplicates
    later = [max([t for a, t, _ in rows[:i] if a == asset], default=-1) for i, (asset, _, _) in enumerate(rows)]
    assert summary.out_of_order == sum(time < most for (_, time, _), most in zip(rows, later, strict=True))


def test_the_columns_stand_first_and_in_this_order(tmp_path, bundle):
    rows, _ = run(tmp_path, bundle, ["a,2026-01-03T10:00:00Z,1,2"])
    assert list(rows[0]) == COLUMNS
    assert ",".join(COLUMNS).startswith(
        "asset,time,health,anomaly_score,failure_probability,rul,rul_lower,rul_upper,alarm"
    )
    assert rows[0]["rul_upper"] == "inf"
    assert rows[0]["alarm"] == "0"
    assert rows[0]["health"] == "1.5"


def test_rows_without_a_prognosis_stay_with_empty_cells(tmp_path, bundle):
    rows, summary = run(
        tmp_path,
        bundle,
        [
            "a,2026-01-03 10:00,1,2",
            "a,2026-01-03T10:00:00Z,5,5",
            "a,soon,1,2",
            "bad id,2026-01-03,1,2",
            ",2026-01-03,1,2",
        ],
    )
    assert [row["asset"] for row in rows] == ["a", "a", "a", "bad id", ""]
    assert [row["time"] for row in rows][:3] == ["2026-01-03 10:00", "2026-01-03T10:00:00Z", "soon"]
    assert [row["rul"] for row in rows] == ["99.0", "", "", "", ""]
    assert (summary.scored, summary.duplicates, summary.unusable_times, summary.unusable_assets) == (1, 1, 1, 2)


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("asset,time,flow,speed,event", ["a,1,0,0,0", "a,2,0,0,0", "a,3,0,0,1"]),
        ("asset,time,flow,speed,life", ["a,3,0,0,7", "a,1,0,0,4", "a,2,0,0,4"]),
    ],
)
def test_events_and_lives_renew_the_machine(tmp_path, cycles, header, lines):
    rows, _ = run(tmp_path, cycles, lines, header)
    assert {row["time"]: row["rul"] for row in rows} == {"1": "99.0", "2": "98.0", "3": "99.0"}


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("event", [0, 0, 1, 0, 0]),
        ("event", [0, 0, 1, 0, 2]),
        ("life", [1, 1, 2, 2, 2]),
    ],
)
def test_the_event_of_a_duplicate_goes_with_the_next_row(tmp_path, cycles, column, cells):
    times = [1, 2, 2, 2, 3]
    lines = [f"{asset},{t},0,0,{c}" for asset in "ab" for t, c in zip(times, cells, strict=True)]
    rows, summary = run(tmp_path, cycles, lines, f"asset,time,flow,speed,{column}")
    assert [row["rul"] for row in rows] == ["99.0", "98.0", "", "", "99.0"] * 2
    assert summary.duplicates == 4


def test_settings_and_ages_reach_the_twin(tmp_path, bundle):
    header = "asset,time,flow,speed,age"
    rows, _ = run(tmp_path, bundle, ["a,2026-01-03,1,2,5", "b,2026-01-03,1,2,"], header)
    assert [row["warming_up"] for row in rows] == ["0.0", "1.0"]
    (tmp_path / "settings.csv").write_text("asset,offset\nb,99\n")
    with pytest.raises(DataError, match="'offset' is '99'"):
        run(tmp_path, bundle, ["b,2026-01-03,1,2"], settings=tmp_path / "settings.csv")


def test_parquet_in_and_out(tmp_path, bundle):
    stamps = pa.array([60, 0, 0, None], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"asset": ["a", "a", "a", "b"], "time": stamps, "flow": [1.0, 2, 3, 4], "speed": [0.0, 0, 0, 0]})
    pq.write_table(table, tmp_path / "in.parquet")
    summary = score(bundle, tmp_path / "in.parquet", tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column_names == COLUMNS
    assert out["time"].type == pa.timestamp("ns", "UTC")
    assert out["time"].cast(pa.int64()).to_pylist() == [60, 0, 0, None]
    assert out["health"].to_pylist() == [0.5, 1.0, None, None]
    assert out["alarm"].to_pylist() == [1, 0, None, None]
    assert (summary.scored, summary.duplicates, summary.unusable_times) == (2, 1, 1)
    score(bundle, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("a,1970-01-01T00:00:00.000000060Z,0.5,")


def test_nothing_usable_is_an_error(tmp_path, bundle):
    with pytest.raises(DataError, match=r"no row has a usable asset and time: .* like 2026-01-03T10:00:00Z"):
        run(tmp_path, bundle, ["a,1,1,2", "a,2,1,2"])


def test_waveforms_are_not_read_and_that_is_told(tmp_path, bundle):
    _, summary = run(tmp_path, bundle, ["p-1,2026-01-03T10:00:00Z,10,20"])
    assert summary.waveforms == ("shake",)
    alone = SimpleNamespace(contract=SimpleNamespace(channels=[], waveforms=bundle.contract.waveforms))
    with pytest.raises(DataError, match=r"are waveforms \(shake\), and score does not read them: let a gateway"):
        score(alone, tmp_path / "in.csv", tmp_path / "out.csv")


def test_a_missing_target_folder_is_found_before_any_work(tmp_path, bundle):
    with pytest.raises(DataError, match="make the folder"):
        score(bundle, tmp_path / "nowhere.csv", tmp_path / "no" / "out.csv")


def test_a_table_of_decimal_commas_is_no_table_of_numbers(tmp_path, bundle):
    lines = [f"p-1;2026-01-03T10:{minute:02}:00Z;10,5;20,5" for minute in range(5)]
    with pytest.raises(DataError, match=r"no numbers, e\.g\. '10,5' of 'flow': write decimals with a point"):
        run(tmp_path, bundle, lines, "asset;time;flow;speed")
    lines = [line.replace("10,5", "off").replace(",", ".") for line in lines]  # one channel is out of order
    _, summary = run(tmp_path, bundle, lines, "asset;time;flow;speed")
    assert (summary.scored, summary.findings.not_numbers["flow"]) == (5, 5)


def test_rows_that_the_twin_does_not_know_are_counted(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr("edge_runtime.score.UNFAMILIAR", PROGNOSIS.index("rul"))
    lines = [f"p-1,2026-01-03T10:{minute:02}:00Z,10,20" for minute in range(5)]
    rows, summary = run(tmp_path, bundle, [*lines, lines[-1]])
    said = [float(row["rul"]) for row in rows if row["rul"]]
    assert 0 < summary.unfamiliar == sum(rul > 0.5 for rul in said)
