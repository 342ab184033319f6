"""The whole pipeline run once a session for each class of `plant`, and copies of what it left to experiment with."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_runtime.bundle import Bundle
from tests.pipeline import plant


@dataclass(frozen=True)
class Made:
    """A fleet after `dvc repro`, in the workspace `folder`."""

    fleet: str
    folder: Path

    def artifact(self, name: str) -> Path:
        return self.folder / "artifacts" / self.fleet / name

    def json(self, name: str):
        return json.loads(self.artifact(name).read_text())

    @property
    def observations(self) -> Path:
        return self.folder / "data" / "observations" / f"{self.fleet}.parquet"

    @property
    def bundle(self) -> Bundle:
        return Bundle.load(self.artifact("bundle"))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plant")
    plant.prepare(folder, plant.record())
    return folder


@pytest.fixture(scope="session")
def made(workspace) -> Callable[[str], Made]:
    """`made("fan")`: a fleet that went through all stages, at the first call."""
    done: set[str] = set()

    def run(fleet: str) -> Made:
        if fleet not in done:
            with plant.inside(workspace):
                plant.run_all(fleet)
            done.add(fleet)
        return Made(fleet, workspace)

    return run


@pytest.fixture
def fan(made) -> Made:
    return made("fan")


@pytest.fixture
def copied(made, tmp_path) -> Callable[[str], Made]:
    """`copied("fan")`: what the stages left, in a workspace of its own, but for the bundle and the store."""

    def copy(fleet: str) -> Made:
        source, target = made(fleet), Made(fleet, tmp_path)
        shutil.copytree(source.artifact(""), target.artifact(""), ignore=shutil.ignore_patterns("bundle"))
        shutil.copytree(source.folder / "classes", tmp_path / "classes")
        shutil.copy(source.folder / "params.yaml", tmp_path)
        target.observations.parent.mkdir(parents=True)
        for file in source.observations.parent.glob(f"{fleet}*.parquet"):
            shutil.copy(file, target.observations.parent)
        plant.track(tmp_path, tmp_path / "store")
        return target

    return copy
