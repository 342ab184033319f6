import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

from edge_runtime.cli import main
from tests.edge_runtime.tiny import tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_bundle(tmp_path_factory.mktemp("bundle")))


def test_inspect_shows_what_matters(folder, capsys):
    assert main(["inspect", folder]) == 0
    text = capsys.readouterr().out
    for fact in (
        "Tiny machine (simulated)",
        "SIMULATED",
        "weight 0.25; units 64",
        "weight 0.75 age, 0.5 no_age; trees 400",
        "trees 100; gives anomaly_score",
        "flow, 0 … 400 L/min, sensor",
        "level 2: health below 0.5",
        "state (3 numbers, 12 bytes a machine)",
        "rul.rmse",
        "abc-dirty",
    ):
        assert fact in text


def test_inspect_gives_all_of_it_as_json(folder, capsys):
    assert main(["inspect", folder, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["contract"]["channels"][0]["name"] == "flow"
    assert told["models"]["lstm"] == {"weight": 0.25, "units": 64}
    assert told["self_test"] == "passed"


def test_bench_measures(folder, capsys):
    assert main(["bench", folder, "--machines", "3", "--steps", "20"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["machines"], told["steps"], told["threads"]) == (3, 20, 1)
    assert 0 < told["p50_us"] <= told["p99_us"]
    assert told["us_per_machine"] == pytest.approx(told["p50_us"] / 3, abs=0.1)


def test_score_reports_what_was_odd(folder, tmp_path, capsys):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(
        "asset,time,flow,speed,note\n"
        "a,2026-01-03,900,2,x\n"
        "a,2026-01-02,500,2,x\n"
        "a,2026-01-02,1,ff,x\n"
        "b c,2026-01-02,1,1,x\n"
    )
    assert main(["score", folder, str(source), "-o", str(target)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert len(target.read_text().splitlines()) == 5
    for fact in (
        "scored 2 of 4 rows of 1 machines",
        "columns not used: note",
        "waveforms, which score does not read: shake",
        "duplicates, same asset and time as an earlier row (left empty): 1",
        "out of the order of time (sorted before scoring): 2",
        "asset id is not 1 to 64 letters, digits, '_' or '-' (left empty): 1",
        "cells of 'speed' that are no usable number, e.g. 'ff': 1",
        "values of 'flow' outside its declared range: 2 (50.00%)",
    ):
        assert fact in told.err


def test_errors_are_one_message_and_exit_code_1(folder, tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 1
    assert main(["score", folder, str(tmp_path / "no.csv"), "-o", str(tmp_path / "out.csv")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(":")[0] for line in told.err.splitlines()] == ["overhaul-edge"] * 2
    assert not (tmp_path / "out.csv").exists()


def test_nothing_is_left_in_the_home_of_the_user(folder, tmp_path):
    """onnxruntime begins its telemetry there when it is imported, unless it is told not to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    command = [sys.executable, "-m", "edge_runtime.cli", "inspect", folder]
    subprocess.run(command, check=True, capture_output=True, env=environment | {"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_has_seen_enough_is_no_error(folder):
    command = f"{sys.executable} -m edge_runtime.cli inspect {folder} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"overhaul-edge {importlib.metadata.version('overhaul')}, Python 3.")


@pytest.mark.parametrize(
    "arguments",
    [[], ["score", "b", "f"], ["bench", "b", "--machines", "0"], ["fly"], ["run"], ["check"], ["simulate", "ftp"]],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: overhaul-edge" in capsys.readouterr().err
