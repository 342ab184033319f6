"""The search: a real study, real DVC experiments of a pipeline that learns in no time."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from data.errors import DataError
from training import search
from training.params import Params, read_params
from training.search import SPACE, Range, Score

ROOT = Path(__file__).parents[2]
# A stage like the real one: it reads its parameters and says how good they are; 4 is the best depth.
CALIBRATE = """
import json, sys, yaml
depth = yaml.safe_load(open("params.yaml"))["xgboost"]["depth"]
if depth == 9:
    sys.exit("too deep")
score = {"rmse": 2.0 + abs(depth - 4), "se": 0.1}
json.dump({"free": {"blend": score}}, open("artifacts/pump/cross_validation.json", "w"))
"""
OWN = """
assert open("data/asset_classes/new.yaml").read() == "name: new"
assert open("data/sources/loose.csv").read() == open("data/sources/plant/2026/a.csv").read() == "1,2"
"""
PIPELINE = {
    "vars": ["params.yaml"],
    "stages": {
        "calibrate": {
            "matrix": {"fleet": "${fleets}"},
            "cmd": "python calibrate.py",
            "deps": ["calibrate.py"],
            "params": ["xgboost"],
            "outs": ["artifacts/${item.fleet}/cross_validation.json"],
        },
        "evaluate": {
            "matrix": {"fleet": "${fleets}"},
            "cmd": "touch opened",
            "deps": ["artifacts/${item.fleet}/cross_validation.json"],
            "outs": ["opened"],
        },
    },
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """With the pipeline above, the data that names the study, and nothing of Git from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unused")
    monkeypatch.setattr(search, "SPACE", {"xgboost": {"depth": Range(2, 6)}})
    Path("artifacts/pump").mkdir(parents=True)
    Path("artifacts/pump/splits.json").write_text("{}")
    Path("artifacts/pump/class.json").write_text('{"cap": 20}')
    Path("data/observations").mkdir(parents=True)
    Path("data/asset_classes").mkdir()
    Path("data/asset_classes/pump.yaml").write_text("name: pump")
    Path("data/sources").mkdir()
    Path("data/sources/README.md").write_text("Yours")
    Path("data/observations/pump.parquet").write_bytes(b"observations")
    Path("calibrate.py").write_text(CALIBRATE)
    Path("params.yaml").write_text("fleets: [pump]\nxgboost: {depth: 6}\n")
    Path("dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    Path("artifacts/.gitignore").write_text("*.parquet\n")
    Path(".gitignore").write_text("/mlflow/store/\n/data/observations/\n/data/sources/*\n!/data/sources/README.md\n")
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["git", "init", "-q"], [*dvc, "init", "-q"], ["git", "add", "."], ["git", "commit", "-qm", "all"]):
        subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def run(*options):
    return search.main(["pump", "--head", "free", "--sections", "xgboost", *options])


def test_a_search_tries_the_present_parameters_first_and_goes_on(repository, capfd):
    before = Path("params.yaml").read_text()
    assert run("--trials", "1") == 0
    told = capfd.readouterr().out
    assert "trial 0: 4 ± 0.1" in told
    assert "better by 0, no more than one standard error: keep the present ones" in told
    assert run("--trials", "1") == 0  # another process would find the study as well: it is in the file
    told = capfd.readouterr().out
    assert "trial 1: " in told
    assert "2 trials" in told
    assert Path("mlflow/store/search.db").exists()
    # The workspace is as it was, and nobody opened the test machines.
    assert Path("params.yaml").read_text() == before
    assert not Path("artifacts/pump/cross_validation.json").exists()
    names = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "list", "--name-only"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert sorted(name[-4:] for name in names) == ["0000", "0001"]
    assert all(name.startswith("search-pump-free-xgboost-") for name in names)
    assert subprocess.run(["git", "status", "--porcelain"], check=True, capture_output=True, text=True).stdout == ""
    assert not list(repository.rglob("opened"))


@pytest.mark.usefixtures("repository")
def test_a_trial_has_parameters_that_are_not_written_down_and_files_that_git_does_not_know():
    """The key is at its default, nobody has committed the class yet, and nobody ever commits its records."""
    Path("params.yaml").write_text("fleets: [pump]\nxgboost: {seed: 7}\n")
    Path("calibrate.py").write_text(CALIBRATE + OWN)
    Path("data/asset_classes/new.yaml").write_text("name: new")
    for name in ("loose.csv", "plant/2026/a.csv"):
        Path("data/sources", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data/sources", name).write_text("1,2")
    assert run("--trials", "1") == 0
    assert Path("params.yaml").read_text() == "fleets: [pump]\nxgboost: {seed: 7}\n"
    assert Path("data/asset_classes/new.yaml").read_text() == "name: new"


@pytest.fixture
def answered(repository, monkeypatch):
    """The study without DVC: what an experiment would have said."""
    del repository

    def experiment(fleet, head, name, values):
        asked.append((fleet, head, name, values))
        if values["xgboost.depth"] == 5:
            raise DataError("ended with 1")
        return Score(2.0 + abs(values["xgboost.depth"] - 4), 0.1)

    asked = []
    monkeypatch.setattr(search, "experiment", experiment)
    return asked


def made():
    return search.Search("pump", "free", ["xgboost"], read_params())


def test_what_is_better_by_more_than_a_standard_error_is_to_be_taken_over(answered):
    one = made()
    one.study.enqueue_trial({"xgboost.depth": 4})
    assert [(number, score.rmse) for number, score, _ in one.run(2)] == [(0, 4.0), (1, 2.0)]
    told = search.summary(one)
    assert "better by 2, more than one standard error; some of it is luck, as of any best of 2" in told
    assert f"dvc exp apply {answered[1][2]} &&" in told
    assert "xgboost.depth 4" in told


@pytest.mark.usefixtures("answered")
def test_what_fails_is_told_and_the_study_goes_on_without_it():
    one = made()
    one.study.enqueue_trial({"xgboost.depth": 5})
    with pytest.raises(DataError, match="ended with 1"):
        list(one.run(2))
    assert [trial.state.name for trial in one.study.trials] == ["COMPLETE", "FAIL"]
    again = made()
    again.study.enqueue_trial({"xgboost.depth": 3})
    assert [number for number, _, _ in again.run(1)] == [2]
    assert again.scores() == (Score(3.0, 0.1), Score(4.0, 0.1))


def test_the_present_parameters_are_tried_until_it_is_known_how_good_they_are(answered):
    Path("params.yaml").write_text("fleets: [pump]\nxgboost: {depth: 5}\n")
    for _ in range(2):  # whether the mistake was theirs or of the disk
        with pytest.raises(DataError, match="ended with 1"):
            list(made().run(1))
        made()  # waits already
    assert [each[3] for each in answered] == [{"xgboost.depth": 5}] * 2
    states = [trial.state.name for trial in made().study.trials]
    assert states == ["FAIL", "FAIL", "WAITING"]


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize("changed", ["splits.json", "class.json"])
def test_other_data_another_class_or_another_split_is_another_study(changed):
    """Under another cap, say, errors are others: the best of one class is no best of the other."""
    list(made().run(1))
    assert len(made().study.trials) == 1
    Path("artifacts/pump", changed).write_text('{"other": 1}')
    assert [trial.state.name for trial in made().study.trials] == ["WAITING"]


@pytest.mark.usefixtures("answered")
def test_changed_parameters_are_the_new_ones_to_beat():
    list(made().run(1))
    Path("params.yaml").write_text("fleets: [pump]\nxgboost: {depth: 3}\n")
    one = made()
    assert one.scores()[1] is None
    assert "the present parameters are tried first" in search.summary(one)
    list(one.run(1))
    assert one.scores() == (Score(3.0, 0.1), Score(3.0, 0.1))


@pytest.mark.usefixtures("repository")
def test_mistakes_are_named(capfd):
    assert search.main(["fan", "--head", "free"]) == 1
    assert "'fan' is not among the fleets of params.yaml" in capfd.readouterr().err
    Path("artifacts/pump/splits.json").unlink()
    assert run() == 1
    assert "splits.json is not there: `uv run dvc repro split@pump`" in capfd.readouterr().err


@pytest.mark.usefixtures("repository")
def test_a_training_that_fails_ends_the_search(monkeypatch, capfd):
    monkeypatch.setattr(search, "SPACE", {"xgboost": {"depth": Range(9, 9)}})
    Path("params.yaml").write_text("fleets: [pump]\nxgboost: {depth: 9}\n")
    assert run("--trials", "1") == 1
    assert "ended with" in capfd.readouterr().err


def test_the_space_is_of_parameters_that_there_are_and_holds_the_present_ones():
    params = asdict(read_params(ROOT / "params.yaml"))
    for section, ranges in SPACE.items():
        for name, of in ranges.items():
            present = params[section][name]
            assert of.low <= present <= of.high
            assert isinstance(of.low, int) == isinstance(getattr(getattr(Params(), section), name), int)


def test_runs_of_trials_go_where_the_user_says(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://elsewhere.example")
    own = search.environment("pump")
    assert own["MLFLOW_TRACKING_URI"] == "https://elsewhere.example"
    assert own["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
