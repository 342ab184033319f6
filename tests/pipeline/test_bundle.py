"""What the pipeline leaves behind: a bundle that proves itself, figures under their fixed names, scores of a table."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

from data.lives import read_lives
from edge_runtime.cli import main
from edge_runtime.contract.quality import Quality
from edge_runtime.fleet import Fleet
from tests.pipeline import plant
from tests.training.one_split import one_split
from training import calibrate, evaluate, evidence
from training.canaries import MEANING
from training.measures.alarming import tallied

FLEETS = list(plant.CLASSES)
HEAD = "asset,time,health,anomaly_score,failure_probability,rul,rul_lower,rul_upper,alarm"
FIXED_NAMES = [
    *(
        "rul." + name
        for name in (
            "rmse",
            "rmse_uncapped",
            "nasa_score",
            "nasa_score_uncapped",
            "null.mean",
            "null.age",
            "without_age.rmse",
            "without_age.nasa_score",
            "cv.rmse",
            "cv.se",
            "without_age.cv.rmse",
            "without_age.cv.se",
            "interval.coverage",
            "interval.width",
            "below_cap.mae",
            "without_age.interval.coverage",
            "without_age.interval.width",
            "cv.interval.coverage",
            "cv.interval.width",
        )
    ),
    *(f"rul.per_model.{model}.rmse" for model in ("lstm", "xgboost", "blend")),
    *("failure." + name for name in ("horizon", "pr_auc", "brier", "null_brier")),
    *("parity." + name for name in ("rows", "max_abs_error", "within_1e_3", "within_tolerance")),
    *("n." + name for name in ("machines", "lives", "rows", "failures")),
    *(f"canaries.{name}.{key}" for name in MEANING for key in ("score", "chance", "caught")),
]


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_bundle_loads_and_says_what_it_is(made, fleet):
    manifest = made(fleet).bundle.manifest  # loading replays the golden rows
    assert manifest.contract.fleet == fleet
    assert manifest.contract.life.age == {"fan": "optional", "drum": "none", "kiln": "required"}[fleet]
    assert manifest.contract.simulated == (fleet == "fan")
    assert manifest.contract.time.assemble == {"fan": False, "drum": False, "kiln": True}[fleet]
    assert set(manifest.models) >= {"lstm", "xgboost", "isolation_forest"}
    assert manifest.models["xgboost"]["heads"] == {"fan": ["aged", "free"], "drum": ["free"], "kiln": ["aged"]}[fleet]
    assert manifest.provenance.run_id
    assert len(manifest.provenance.data_hash) == 64


@pytest.mark.parametrize("fleet", FLEETS)
def test_figures_have_their_fixed_names_and_nulls_their_reasons(made, fleet):
    figures = made(fleet).json("metrics.json")
    for name in FIXED_NAMES:
        at = figures
        for part in name.split("."):
            at = at[part]
        if at is None:
            assert figures["reasons"][name]
        else:
            assert math.isfinite(at)
    assert not [name for name, canary in figures["canaries"].items() if canary["caught"] is False]
    assert all(figures["reasons"].values())
    without = {name for name in figures["reasons"] if name.startswith("rul.without_age.")}
    assert bool(without) == (fleet == "kiln")  # has no head without age
    assert ("rul.null.age" in figures["reasons"]) == (fleet == "drum")
    assert figures["n"]["looks"] == 1
    assert figures == made(fleet).bundle.manifest.quality


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_graph_reproduces_the_models_on_every_tick_of_every_test_machine(made, fleet):
    parity = made(fleet).json("metrics.json")["parity"]
    rows = pd.read_parquet(made(fleet).artifact("features") / "rows.parquet")
    assert parity["rows"] == (rows.fold < 0).sum() > 100
    assert parity["within_1e_3"] == 1
    assert parity["max_abs_error"] < 1e-3
    assert parity["max_score_error"] < 1e-5


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_twin_is_better_than_knowing_nothing(made, fleet):
    rul = made(fleet).json("metrics.json")["rul"]
    assert rul["rmse"] < rul["null"]["mean"] / 2
    cross = made(fleet).json("cross_validation.json")
    for head in cross.values():
        # weights are fitted on the same rows: a blend that is worse than a member was fitted wrong
        assert head["blend"]["rmse"] <= min(head["lstm"]["rmse"], head["xgboost"]["rmse"]) + 1e-9


@pytest.mark.parametrize("fleet", FLEETS)
def test_all_figures_are_numbers_or_null_with_a_reason(made, fleet):
    def leaves(values, prefix=""):
        for name, value in values.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    figures = made(fleet).json("metrics.json")
    reasons = figures.pop("reasons")
    for name, value in leaves(figures):
        if value is None:
            assert reasons[name]
        else:
            assert np.isfinite(value).all()
            if name.startswith("ci."):
                assert value[0] < value[1]


def test_alarms_judged_without_the_bundle_are_the_alarms_of_the_bundle(fan):
    """Otherwise the false-alarm rate known beforehand would be that of another twin."""
    figures = fan.json("metrics.json")["alarms"]["level_2"]["test"]
    with plant.inside(fan.folder):
        found = evidence.read("fan")
    (counted,) = tallied(found.asset_class, found.watched.lives)
    assert figures["due"] == counted.due > 0
    assert figures["announced"] * counted.due == pytest.approx(len(counted.warnings))
    assert figures["false_alarms"] == counted.false_alarms
    assert figures["watched"] == pytest.approx(counted.far)
    assert figures["in_alarm"] * counted.far == pytest.approx(counted.far_in_alarm)
    assert figures["median_lead"] == pytest.approx(np.median(counted.warnings))


def test_a_second_evaluation_is_the_same_look_and_changes_nothing(copied):
    fleet = copied("fan")
    files = ["evaluation.json", "looks.jsonl", "predictions.parquet", "thresholds.csv"]
    before = {name: fleet.artifact(name).read_bytes() for name in files}
    with plant.inside(fleet.folder):
        evaluate.run("fan")
    assert {name: fleet.artifact(name).read_bytes() for name in files} == before


def test_other_choices_are_another_look(copied):
    fleet = copied("fan")
    params = fleet.folder / "params.yaml"
    params.write_text(params.read_text().replace("bins: 3", "bins: 4"))
    with plant.inside(fleet.folder):
        calibrate.run("fan")
        evaluate.run("fan")
    first, second = (json.loads(line) for line in fleet.artifact("looks.jsonl").read_text().splitlines())
    differs = {name for name in first["parts"] if first["parts"][name] != second["parts"][name]}
    assert differs == {"parameters", "calibration"}
    assert fleet.json("evaluation.json")["n"]["looks"] == 2


def test_lives_are_as_the_log_says(fan):
    lives = read_lives(fan.artifact("lives.csv"))
    kinds = {(life.asset, life.life): life.kind for life in lives}
    assert kinds[plant.REPAIRED, 0] == "repair"
    assert kinds[plant.REPAIRED, 1] == "failure"
    assert {asset for (asset, _), kind in kinds.items() if kind == "censored"} == set(plant.CENSORED)
    assert len(lives) == plant.MACHINES + 1
    rows = pd.read_parquet(fan.artifact("features") / "rows.parquet")
    # the log has failures a moment after the last row; they were seen all the same
    assert rows.at_failure.sum() == plant.MACHINES - len(plant.CENSORED)


def test_what_was_wrong_with_the_data_is_counted(fan):
    report = fan.json("quality.json")
    assert report["counts"]["duplicates"] > 0
    assert report["counts"]["out_of_order"] > 0
    assert report["channels"]["temperature"]["unparsable"] > 0
    assert report["channels"]["temperature"]["out_of_range"] > 0
    assert report["channels"]["mains"]["constant"]
    notes = fan.bundle.manifest.models["features"]["notes"]
    assert any(note.startswith("not used, do not vary while healthy:") and "mains" in note for note in notes)


def test_all_kinds_of_sensor_are_in_use(fan):
    sensors = fan.bundle.manifest.models["features"]["sensors"]
    assert {"temperature", "vibration", "pressure", "drop", "shake.rms.radial"} <= set(sensors)
    assert "mains" not in sensors


def test_a_table_is_scored_row_by_row(fan, tmp_path, capsys):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    table = pd.read_csv(fan.folder / "data" / "raw" / "fan" / "wired.csv", dtype=str)
    table = table.rename(columns={"machine": "asset", "at": "time", "T bearing": "temperature"})
    table.to_csv(source, index=False)
    assert main(["score", str(fan.artifact("bundle")), str(source), "-o", str(target)]) == 0
    assert "duplicate" in capsys.readouterr().err
    with target.open(newline="") as file:
        assert file.readline().startswith(HEAD)
        file.seek(0)
        rows = list(csv.DictReader(file))
    assert [(row["asset"], row["time"]) for row in rows] == list(zip(table.asset, table.time, strict=True))
    scored = [row for row in rows if row["rul"]]
    assert len(table.drop_duplicates(["asset", "time"])) == len(scored) < len(rows)
    for row in scored:
        assert 0 <= float(row["rul_lower"]) <= float(row["rul"]) <= float(row["rul_upper"])
        assert 0 <= float(row["failure_probability"]) <= 1
        assert row["alarm"] in ("0", "2")


def test_scores_of_a_table_are_those_of_the_pipeline(fan, tmp_path):
    target = tmp_path / "out.parquet"
    arguments = ["score", fan.artifact("bundle"), fan.observations, "-o", target]
    arguments += ["--settings", fan.artifact("machines.csv")]
    assert main([str(argument) for argument in arguments]) == 0
    scored = pd.read_parquet(target)
    scored["row"] = scored.groupby("asset").cumcount()
    said = pd.read_parquet(fan.artifact("predictions.parquet"))
    said = said[~said.asset.isin(plant.WIRELESS)]  # a table of scores has no snapshots
    both = said.merge(scored, on=["asset", "row"], suffixes=("", "_scored"), validate="1:1")
    assert len(both) == len(said) > 100
    for name, tolerance in {"rul": 1e-3, "rul_lower": 1e-3, "failure_probability": 1e-5, "anomaly_score": 1e-5}.items():
        np.testing.assert_allclose(both[f"{name}_scored"], both[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("fleet", FLEETS)
def test_golden_rows_include_what_goes_wrong(made, fleet):
    with np.load(made(fleet).artifact("bundle") / "golden.npz", allow_pickle=False) as golden:
        inputs = {name[3:]: golden[name] for name in golden.files if name.startswith("in.")}
        outputs = {name[4:]: golden[name] for name in golden.files if name.startswith("out.")}
    contract = made(fleet).bundle.contract
    assert np.isnan(inputs["readings"]).any()
    assert (inputs["dt"] > contract.time.max_gap).any()
    assert {1, 2} <= set(inputs["event"].tolist())
    restarted = ~inputs["state"].any(axis=1)
    assert restarted.any()
    assert not restarted.all()
    flags = outputs["quality"].astype(int)
    assert (flags & Quality.MISSING).any()
    assert (flags & Quality.OUT_OF_RANGE).any()
    if fleet == "fan":
        assert 0 < len(inputs["shake"]) < len(inputs["dt"])


@pytest.mark.parametrize("fleet", FLEETS)
def test_slices_cover_the_state_and_have_fingerprints(made, fleet):
    state = made(fleet).bundle.contract.state
    ends = [s.start + s.size for s in state.slices]
    assert [s.start for s in state.slices] == [0, *ends[:-1]]
    assert ends[-1] == state.size
    assert len({s.name for s in state.slices}) == len(state.slices)
    assert all(len(s.fingerprint) >= 16 and int(s.fingerprint, 16) for s in state.slices)
    assert {s.scope for s in state.slices} <= {"life", "sensor", "asset"}


def test_models_of_weight_zero_still_speak(fan):
    bundle = fan.bundle
    fleet = Fleet(bundle.step, ["a"])
    outputs, _ = fleet.advance(slice(None), np.array([0]), np.array([[70, 50, 3, 6, 400]], np.float32))
    assert bundle.contract.rul_models == ("lstm", "xgboost")
    assert np.isfinite(outputs["rul_model"]).all()
    assert outputs["rul_model"].shape == (1, 2)


def test_trees_fitted_on_what_was_never_observed_keep_their_rows_clear():
    """A feature that is exactly 0, on a split at 0, is not a matter of rounding."""
    trees = one_split(0)
    assert trees.margin(np.array([[0], [1]], np.float32)).tolist() == [np.inf, 1]


def test_inspect_shows_it(fan, capsys):
    assert main(["inspect", str(fan.artifact("bundle")), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["self_test"] == "passed"
    assert told["quality"] == fan.json("metrics.json")
