"""Two fleets of presses with their features made: one that can be judged, and one that is too small."""

from functools import partial

import pytest
import yaml

import data.resolve
from data import paths
from data.class_file import load
from data.splits import read_splits
from tests.training.leaks import presses
from training.dataset import Dataset
from training.leaks.trial import Trial
from training.params import read_params


def workspace(folder, machines):
    presses.write_sources(folder / "data" / "sources", machines)
    presses.write_class(folder / "classes")
    (folder / "params.yaml").write_text(yaml.safe_dump(presses.PARAMS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(data.resolve, "load", partial(load, folder=folder / "classes"))
        presses.make_features()
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("presses"), machines=16)


@pytest.fixture(scope="session")
def made_few(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("few"), machines=5)


@pytest.fixture
def dataset(made, monkeypatch):
    """The features of 16 presses, in the current folder."""
    monkeypatch.chdir(made)
    return Dataset.of(presses.FLEET)


@pytest.fixture
def few(made_few, monkeypatch):
    """Those of 5 presses, of which 3 failed."""
    monkeypatch.chdir(made_few)
    return Dataset.of(presses.FLEET)


@pytest.fixture
def splits(dataset):
    return read_splits(paths.artifact(dataset.fleet, "splits.json"))


@pytest.fixture
def trial(dataset):
    return Trial.of(dataset, read_params().xgboost)
