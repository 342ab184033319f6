"""From a fleet that drifts to a data set that ingest takes, and to the command that trains on it."""

import os
import sys
from functools import partial

import pandas as pd
import pytest
import yaml

import data.fetch
import data.ingest
import data.resolve
from data import class_file
from serving.export import __main__ as export_command
from serving.export.fleet import Wanted
from serving.retrain import __main__ as command
from serving.retrain.steps import NOT_GOOD_ENOUGH, commands
from serving.retrain.steps import run as really_run
from tests.serving.drift import fleets
from tests.serving.drift.test_drift import fill, usual

TINY = {
    "name": "tiny",
    "title": "Tiny machine",
    "time": {"unit": "s", "interval": 300, "tick": 600, "max_gap": 86400},
    "life": {"unit": "h", "age": "none", "begins": "unknown", "ends": "failure", "healthy": {"min_remaining": 4}},
    "labels": {"cap": 6, "horizon": 1},
    "channels": {
        "flow": {"quantity": "flow", "unit": "L/min", "range": [0, 400], "aggregate": "mean"},
        "speed": {"role": "condition", "quantity": "speed", "unit": "rpm", "range": [0, 3000]},
    },
    "source": {"reader": "table", "files": ["nothing.csv"]},
}


@pytest.fixture
def place(tmp_path, database_settings, monkeypatch):
    """A repository with the class, a centre that serves its model, and what the code needs to find both."""
    classes = tmp_path / "classes"
    classes.mkdir()
    (classes / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "params.yaml").write_text("fleets: [pump, turbofan-FD001]\n")
    url = database_settings.url
    (tmp_path / "centre.toml").write_text(
        f'[database]\nurl = "{url}"\n[service.models]\nfolders = ["models/*/bundle"]\n'
    )
    load = partial(class_file.load_class, folder=classes)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_command, "load_class", load)
    monkeypatch.setattr(export_command, "Wanted", partial(Wanted, classes=classes))
    monkeypatch.setattr(data.resolve, "load", partial(class_file.load, folder=classes))
    return tmp_path


def log(path, machines, hours=7.1):
    at = pd.Timestamp(fleets.START, tz="UTC") + pd.Timedelta(hours=hours)
    path.write_text("asset,time,kind\n" + "".join(f"{name},{at.isoformat()},failure\n" for name in machines))


def run(*more, seen=None, promoted=0):
    asked = [] if seen is None else seen
    arguments = ["tiny", "--config", "centre.toml", "--fleet", "tiny-plant", "--failures", "log.csv", *more]

    def answer(words):
        asked.append(list(words))
        return promoted if "training.promote" in words else 0

    return command.main(arguments, run=answer)


def test_drift_leads_to_a_data_set_and_a_training(database, place, capsys):
    served = fleets.served(place / "models" / "tiny" / "bundle", fleets.made_reference())
    machines = usual(8, shift=40)
    fill(database, machines, served.model_id)
    log(place / "log.csv", ["m0", "m1", "m2", "m9"])
    assert run("--dry-run", seen=(ran := [])) == 0
    told = capsys.readouterr().out
    assert "tiny: a new model is due: drift of flow" in told
    assert "  python -m serving.export tiny --config centre.toml --fleet tiny-plant --failures log.csv" in told
    assert "  dvc exp run -S 'fleets=[pump,turbofan-FD001,tiny-plant]'" in told
    assert "  python -m training.promote tiny-plant" in told
    assert ran == []
    assert not (place / "data").exists()

    assert run(seen=ran) == 0
    dvc = [sys.executable, "-m", "dvc"]
    fleets_of = "fleets=[pump,turbofan-FD001,tiny-plant]"
    promote = [sys.executable, "-m", "training.promote", "tiny-plant"]
    assert ran == [[*dvc, "add", "data/sources/tiny-plant"], [*dvc, "exp", "run", "-S", fleets_of], promote]
    told = capsys.readouterr().out
    assert "tiny-plant: 8 machines, 672 observations" in told
    data.fetch.fetch(data.resolve.resolve("tiny-plant"))
    report = data.ingest.run_stage("tiny-plant")
    assert report.summary()["observations"] == 672
    lives = pd.read_csv("artifacts/tiny-plant/lives.csv")
    assert lives.kind.value_counts().to_dict() == {"censored": 5, "failure": 3}


def test_a_fleet_like_the_training_machines_is_left_alone_until_enough_have_failed(database, place, capsys):
    served = fleets.served(place / "models" / "tiny" / "bundle", fleets.made_reference())
    fill(database, usual(8), served.model_id)
    log(place / "log.csv", ["m0", "m1", "m2"])
    assert run(seen=(ran := [])) == 0
    told = capsys.readouterr().out
    assert "no reason to train a new model: no drift seen, 3 new failures in the log (enough: 5)" in told
    assert run("--enough", "3", seen=ran) == 0
    assert "3 failures since the last export (enough: 3)" in capsys.readouterr().out
    assert len(ran) == 3
    # They are in the export now.
    assert run("--enough", "1", seen=ran) == 0
    assert "no reason" in capsys.readouterr().out
    log(place / "log.csv", ["m0", "m1", "m2", "m3"])
    assert run("--enough", "1", "--dry-run", seen=ran) == 0
    assert "1 failures since" in capsys.readouterr().out
    assert len(ran) == 3


def test_failures_that_no_export_can_use_are_a_reason_once(database, place, capsys):
    served = fleets.served(place / "models" / "tiny" / "bundle", fleets.made_reference())
    fill(database, usual(8), served.model_id)
    log(place / "log.csv", ["m0", "m1", "m2", "scrapped1", "scrapped2", "scrapped3"])
    assert run("--enough", "3", seen=(ran := [])) == 0
    assert len(ran) == 3
    assert run("--enough", "3", seen=ran) == 0
    assert "no reason to train a new model: no drift seen, 0 new failures" in capsys.readouterr().out
    assert len(ran) == 3


def test_failures_after_until_are_no_reason_yet(database, place, capsys):
    served = fleets.served(place / "models" / "tiny" / "bundle", fleets.made_reference())
    fill(database, usual(8), served.model_id)
    log(place / "log.csv", ["m0", "m1", "m2"])
    assert run("--enough", "3", "--until", "2026-01-01T05:00:00Z", seen=(ran := [])) == 0
    assert "no drift seen, 0 new failures" in capsys.readouterr().out
    assert run("--enough", "3", seen=ran) == 0
    assert len(ran) == 3


@pytest.mark.parametrize("where", ["exp", "training.promote"])
def test_a_training_that_failed_is_tried_again(database, place, capsys, where):
    served = fleets.served(place / "models" / "tiny" / "bundle", fleets.made_reference())
    fill(database, usual(8), served.model_id)
    log(place / "log.csv", ["m0", "m1", "m2"])
    arguments = ["tiny", "--config", "centre.toml", "--fleet", "tiny-plant", "--failures", "log.csv", "--enough", "3"]
    assert command.main(arguments, run=lambda words: 1 if where in words else 0) == 1
    capsys.readouterr()
    assert run("--enough", "3", seen=(ran := [])) == 0
    assert "a new model is due: the last retraining did not come to its end" in capsys.readouterr().out
    assert len(ran) == 3
    assert run("--enough", "3", seen=ran) == 0
    assert len(ran) == 3


def test_the_rules_decide_whether_the_new_model_is_promoted(database, place, capsys):
    fill(database, usual(4), "unknown-model")
    log(place / "log.csv", ["m0", "m1", "m2"])
    assert run("--force", promoted=3) == 3
    told = capsys.readouterr().out
    assert "as challenger and not promoted, see above; the champion stays" in told
    assert "uv run python -m training.promote tiny-plant" in told
    assert run("--force", promoted=1) == 1  # it could not judge
    assert "python -m training.promote tiny-plant ended with 1: see above; nothing was promoted" in (
        capsys.readouterr().err
    )
    assert run("--force", "--judge-only", seen=(ran := [])) == 0
    assert ran[-1][2:] == ["training.promote", "tiny-plant", "--dry-run"]
    assert "passes the rules and is the challenger still" in capsys.readouterr().out


def test_both_sides_mean_the_same_by_refused():
    from training.promote import REFUSED

    assert REFUSED == NOT_GOOD_ENOUGH


def test_what_cannot_be_trained_is_said_before(database, place, capsys):
    fill(database, usual(4), "unknown-model")
    log(place / "log.csv", ["m0"])
    assert run("--force", seen=(ran := [])) == 1
    assert "1 machines of tiny-plant have failed, 3 at least are needed" in capsys.readouterr().err
    assert ran == []
    log(place / "log.csv", ["m0", "m1", "m2"])
    arguments = ["tiny", "--config", "centre.toml", "--fleet", "tiny-plant", "--failures", "log.csv", "--force"]
    assert command.main(arguments, run=lambda _: 7) == 1
    assert "data/sources/tiny-plant ended with 7: see above" in capsys.readouterr().err
    (place / "params.yaml").unlink()
    assert run("--force") == 1
    assert "run this in the root of the repository" in capsys.readouterr().err


def test_stages_run_by_the_python_that_runs_this(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    same = f"import os, sys; sys.exit(os.path.realpath(sys.executable) != {os.path.realpath(sys.executable)!r})"
    assert really_run(["env", "python", "-c", same]) == 0
    assert really_run(["env", "python", "-c", "raise SystemExit(7)"]) == 7


def test_a_fleet_that_is_listed_is_not_listed_twice(tmp_path):
    (tmp_path / "params.yaml").write_text("fleets: [pump, pump-plant]\n")
    *_, last = commands("pump-plant", tmp_path, tmp_path / "params.yaml")
    assert last[-1] == "fleets=[pump,pump-plant]"
