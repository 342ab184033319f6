"""What is fitted knows nothing of the machines it is judged on, and comes out the same a second time."""

import numpy as np
import pandas as pd
import pytest

from data.splits import read_splits
from tests.pipeline import plant
from training import expected_labels, feature_table, train_isolation_forest, train_xgboost

MEASURED = ["temperature", "vibration", "pressure"]


def anew(folder, fleet, store, altered=()):
    """The stages up to the trees in a new workspace, tracked in `store`; the machines `altered` were measured
    otherwise."""
    table = plant.record()
    rows = table.machine.isin(altered)
    table.loc[rows, MEASURED] = table.loc[rows, MEASURED] * 1.2 + 0.5
    plant.prepare(folder, table)
    plant.track(folder, store)
    with plant.inside(folder):
        plant.ingest(fleet)
        feature_table.run(fleet)
        expected_labels.run(fleet)
        train_xgboost.run(fleet)
        train_isolation_forest.run(fleet)
    return folder / "artifacts" / fleet


def constants(artifacts, part):
    with np.load(artifacts / "features" / part / "parameters.npz", allow_pickle=False) as file:
        return {name: file[name].tobytes() for name in file.files}


def said(artifacts):
    """Rows and what the families say of each; out of fold for training machines."""
    families = [pd.read_parquet(artifacts / name / "predictions.parquet") for name in ("xgboost", "isolation_forest")]
    return pd.concat([pd.read_parquet(artifacts / "features" / "rows.parquet"), *families], axis=1)


def models(artifacts):
    files = [*(artifacts / "xgboost").glob("*.ubj"), artifacts / "isolation_forest" / "trees.npz"]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def before(made):
    return made("fan").artifact("")


@pytest.fixture(scope="module")
def splits(before):
    return read_splits(before / "splits.json")


def test_test_machines_change_nothing_that_was_learned(before, splits, store, tmp_path):
    after = anew(tmp_path, "fan", store, splits.test)
    assert read_splits(after / "splits.json").machines == splits.machines
    for part in ("fold0", "fold1", "final"):
        assert constants(before, part) == constants(after, part)
    assert models(before).keys() == models(after).keys() > {"aged.ubj", "free.ubj"}
    assert models(before) == models(after)
    old, new = said(before), said(after)
    training = old.fold >= 0
    pd.testing.assert_frame_equal(old[training], new[training])
    assert not np.allclose(old.aged[~training], new.aged[~training])  # they were measured otherwise


def test_a_machine_changes_nothing_that_judges_its_fold(before, splits, store, tmp_path):
    altered, *others = splits.folds[0]
    after = anew(tmp_path, "fan", store, [altered])
    assert constants(before, "fold0") == constants(after, "fold0")
    old, new = said(before), said(after)
    same = old.asset.isin(others)
    pd.testing.assert_frame_equal(old[same], new[same])
    # the other fold and the final model learn from it
    assert constants(before, "fold1") != constants(after, "fold1")
    assert constants(before, "final") != constants(after, "final")
    assert models(before) != models(after)


def test_the_same_seed_gives_the_same(made, store, tmp_path):
    before = made("kiln").artifact("")
    after = anew(tmp_path, "kiln", store)
    for part in ("fold0", "fold1", "final"):
        assert constants(before, part) == constants(after, part)
        tables = [np.load(folder / "features" / part / "table.npy") for folder in (before, after)]
        np.testing.assert_array_equal(*tables)
    assert models(before) == models(after)
    pd.testing.assert_frame_equal(said(before), said(after))
