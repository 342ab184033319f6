"""Bundles in MLflow's registry: registered once, downloaded by alias, run without MLflow."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from edge_runtime.bundle import Bundle
from tests.pipeline import plant
from training import tracking
from training.register import register
from training.registry import Registry

ROOT = Path(__file__).parents[2]
# Whoever imports one of these fails: a gateway does not have them.
WITHOUT = """
import sys
for name in ("mlflow", "tensorflow", "keras", "xgboost", "sklearn", "pandas", "onnx", "ndonnx", "pyarrow"):
    sys.modules[name] = None
from edge_runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def download(fleet, alias, target):
    """The bundle of `fleet` called `alias` in the registry, as a user would fetch it."""
    mlflow = tracking.library()
    version = mlflow.MlflowClient().get_model_version_by_alias(fleet, alias)
    return Path(mlflow.artifacts.download_artifacts(f"models:/{fleet}@{alias}", dst_path=str(target))), version


def test_a_bundle_is_registered_once(fan):
    with plant.inside(fan.folder):
        client = tracking.library().MlflowClient()
        before = client.search_model_versions("name = 'fan'")
        assert [version.tags["model_id"] for version in before] == [fan.bundle.model_id]
        assert register("fan", fan.artifact("bundle")) == str(before[0].version)
        assert len(client.search_model_versions("name = 'fan'")) == 1
        assert before[0].run_id == fan.bundle.manifest.provenance.run_id


def test_download_by_alias_verify_and_run_without_mlflow(fan, tmp_path):
    with plant.inside(fan.folder):
        folder, version = download("fan", "challenger", tmp_path)
    bundle = Bundle.load(folder)
    assert bundle.model_id == fan.bundle.model_id == version.tags["model_id"]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    table = pd.read_parquet(fan.observations)[:60]
    table.drop(columns=["life"]).to_csv(source, index=False)
    arguments = [sys.executable, "-c", WITHOUT, "score", folder, source, "-o", target]
    subprocess.run([str(argument) for argument in arguments], check=True, cwd=ROOT, capture_output=True)
    assert pd.read_csv(target).rul.notna().sum() == 60


def test_a_download_that_was_altered_is_refused(fan, tmp_path):
    with plant.inside(fan.folder):
        folder, _ = download("fan", "challenger", tmp_path)
    graph = (folder / "twin.onnx").read_bytes()
    (folder / "twin.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    with pytest.raises(Exception, match="altered"):
        Bundle.load(folder)


def test_a_bundle_from_the_cache_goes_into_a_new_store(fan, tmp_path):
    """Somebody else trained it: here are the bundle and an empty store, neither observations nor a run."""
    bundle = tmp_path / "bundle"
    shutil.copytree(fan.artifact("bundle"), bundle)
    plant.track(tmp_path, tmp_path / "store")
    with plant.inside(tmp_path):
        version = register("fan", bundle)
        assert register("fan", bundle) == version
        folder, registered = download("fan", "challenger", tmp_path / "downloaded")
        assert str(registered.version) == version
        run = tracking.library().MlflowClient().get_run(registered.run_id)
    assert Bundle.load(folder).model_id == fan.bundle.model_id
    provenance = fan.bundle.manifest.provenance
    assert registered.tags["data_hash"] == run.data.tags["data_hash"] == provenance.data_hash


def test_the_newest_version_is_the_challenger_and_none_the_champion_unjudged(fan, made, tmp_path):
    plant.track(tmp_path, tmp_path / "store")
    with plant.inside(tmp_path):
        first = register("fan", fan.artifact("bundle"))
        second = register("fan", made("kiln").artifact("bundle"))
        assert first != second
        assert Registry("fan").aliases() == {"challenger": second}


def test_runs_hold_what_made_them(fan):
    with plant.inside(fan.folder):
        client = tracking.library().MlflowClient()
        runs = client.search_runs([tracking.experiment("fan")])
    by_stage = {run.data.tags["stage"]: run for run in runs}
    assert set(by_stage) == {"xgboost", "isolation forest", "lstm", "evaluation", "bundle"}
    assert by_stage["xgboost"].data.params["trees"] == str(plant.PARAMS["xgboost"]["trees"])
    assert by_stage["xgboost"].data.metrics["cv_rmse_aged"] > 0
    assert by_stage["bundle"].data.metrics["rul.rmse"] == pytest.approx(fan.json("metrics.json")["rul"]["rmse"])
    assert by_stage["evaluation"].data.tags["look"] == "1"
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["data_hash"] == fan.bundle.manifest.provenance.data_hash
        assert run.data.tags["commit"]
