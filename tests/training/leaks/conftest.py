"""Two fleets of presses with their features made: one that can be judged, and one that is too small."""

from functools import partial

import numpy as np
import pytest
import yaml

import data.resolve
from data import paths
from data.class_file import load
from data.splits import read_splits
from tests.training.leaks import presses
from training.dataset import Dataset
from training.leaks import causality
from training.leaks.isolation import World
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


@pytest.fixture(scope="session")
def replayed(made):
    """Cuts of some records of fold 0, and what was made of them: tracing the graph takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        dataset = Dataset.of(presses.FLEET)
        part = dataset.part(0)
        cuts = causality.choose_cuts(dataset.rows[: len(part.table)], np.random.default_rng(0))
        return cuts, causality.replay(dataset, part, cuts)


@pytest.fixture(scope="session")
def world(made):
    """The training machines, as if no test machine had been recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        dataset = Dataset.of(presses.FLEET)
        return World.without_test(dataset, read_splits(paths.artifact(dataset.fleet, "splits.json")))


@pytest.fixture
def trial(dataset):
    return Trial.of(dataset, read_params().xgboost)
