"""Bundles from a real MLflow registry, by alias, registered as the pipeline registers them."""

import contextlib
import shutil

import pytest

from edge_runtime.bundle import Bundle
from serving.errors import RequestError
from serving.models.catalogue import Catalogue
from serving.models.registry import Registry
from serving.models.settings import ModelsSettings, RegistrySettings
from tests.edge_runtime.tiny import tiny_bundle


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    import os

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    library = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'store.db'}"
    client = library.MlflowClient(uri, uri)
    experiment = client.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
    return client, experiment, uri


def register(mlflow, folder):
    """As `training.register` does; returns (version, run)."""
    client, experiment, _ = mlflow
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(folder), "bundle")
    tags = {"model_id": Bundle.load(folder).model_id, "data_hash": "d1"}
    source = f"{run.info.artifact_uri}/bundle"
    return client.create_model_version("tiny", source, run.info.run_id, tags=tags).version, run.info.run_id


def test_an_alias_moves_and_the_shelf_follows(mlflow, tmp_path):
    client, _, uri = mlflow
    client.create_registered_model("tiny")
    first, run = register(mlflow, tiny_bundle(tmp_path / "one"))
    second, _ = register(mlflow, tiny_bundle(tmp_path / "two", title="another"))
    client.set_registered_model_alias("tiny", "champion", first)
    client.set_registered_model_alias("tiny", "challenger", second)
    settings = RegistrySettings(uri, ("champion", "challenger"), cache=tmp_path / "cache")
    kept = Catalogue.of(ModelsSettings(folders=(), registry=settings))
    kept.refresh()
    assert kept.problems == {}
    champion = kept.shelf.find("tiny")
    assert (champion.version, champion.run_id, champion.aliases) == (str(first), run, ("champion",))
    assert champion.facts["mlflow_run"] == run
    challenger = kept.shelf.find("tiny", "challenger")
    assert (challenger.version, challenger.contract.title) == (str(second), "another")
    with pytest.raises(RequestError, match=r"has no version .9. here"):
        kept.shelf.find("tiny", "9")
    client.set_registered_model_alias("tiny", "champion", second)
    assert kept.refresh() == [f"fleet 'tiny': {second}, before {first}"]
    assert kept.shelf.find("tiny").model_id == challenger.model_id
    assert kept.shelf.find("tiny", "champion").aliases == ("champion", "challenger")
    shutil.rmtree(tmp_path / "cache")  # what is loaded needs it no more
    assert kept.refresh() == []


def test_a_registry_made_anew_counts_versions_anew(mlflow, tmp_path):
    client, _, uri = mlflow
    settings = ModelsSettings(folders=(), registry=RegistrySettings(uri, ("newest",), cache=tmp_path / "cache"))
    numbers = []
    for title in ("before", "after"):
        with contextlib.suppress(Exception):  # there is none yet
            client.delete_registered_model("tiny")
        client.create_registered_model("tiny")
        number, _ = register(mlflow, tiny_bundle(tmp_path / title, title=title))
        numbers.append(number)
        client.set_registered_model_alias("tiny", "newest", number)
        kept = Catalogue.of(settings)
        kept.refresh()
        assert kept.shelf.find("tiny").contract.title == title
    assert numbers[0] == numbers[1]


def test_models_beyond_the_first_page_are_found(mlflow, tmp_path):
    client, _, uri = mlflow
    for number in range(101):
        client.create_registered_model(f"more-{number:03}")
    version = client.create_model_version("more-100", str(tmp_path)).version
    client.set_registered_model_alias("more-100", "champion", version)
    offers = Registry(RegistrySettings(uri, cache=tmp_path, fleets=("more-100",))).look()
    assert [offer.name for offer in offers] == ["more-100"]


def test_a_password_in_the_uri_is_not_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "none")  # no number: refused before anything is asked
    registry = RegistrySettings("postgresql://mlflow:s3cret@db.example:5432/mlflow", cache=tmp_path)
    kept = Catalogue.of(ModelsSettings(folders=(), registry=registry))
    kept.refresh()
    assert kept.problems["source 1"].startswith("the MLflow registry postgresql://…@db.example:5432/mlflow cannot be")
    assert "s3cret" not in str(kept.problems)
