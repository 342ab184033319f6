"""The feature tables as training reads them: parts, columns of each model, weights, out-of-fold predictions."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.tables import asset_class, machines
from training import columns, predictions
from training.dataset import FINAL, TEST, Dataset, Part, machine_weights

NAMES = [
    "oil.last", "oil.ewma_3", "oil.ewma_9", "oil.trend_9", "health_index.ridge.last", "health_index.ridge.ewma_9",
    "health_index.ridge.trend_9", "clock.log_step", "oil.first", "health_index.ridge.first", "clock.age",
]  # fmt: skip
FREE = 8


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A fleet of eight machines in two folds, two of them held out."""
    monkeypatch.chdir(tmp_path)
    artifacts = tmp_path / "artifacts" / "machine"
    rows = machines(8, folds=4).drop(columns=["lstm", "aged", "free", "score", "path"])
    rows["fold"] = rows.fold.map({0: 0, 1: 1, 2: 1, 3: TEST})
    rows = pd.concat([rows[rows.fold != TEST], rows[rows.fold == TEST]], ignore_index=True)
    table = np.arange(len(rows) * len(NAMES), dtype=np.float32).reshape(len(rows), -1)
    for part in ("fold0", "fold1", FINAL):
        folder = artifacts / "features" / part
        folder.mkdir(parents=True)
        known = len(rows) if part == FINAL else int((rows.fold != TEST).sum())
        np.save(folder / "table.npy", table[:known])
        (folder / "names.json").write_text(json.dumps({"names": NAMES, "free_of_age": FREE}))
    rows.to_parquet(artifacts / "features" / "rows.parquet", index=False)
    (artifacts / "class.json").write_text(asset_class().model_dump_json())
    return Dataset.of("machine")


def test_rows_are_divided_by_machine(dataset):
    assert dataset.folds == [0, 1]
    assert set(dataset.training.asset) | set(dataset.test.asset) == {f"M-{i}" for i in range(8)}
    assert set(dataset.training.asset) & set(dataset.test.asset) == set()
    # a fold's table holds the training machines alone, in the order of the rows
    assert len(dataset.part(0).table) == len(dataset.training) == dataset.training.index[-1] + 1
    assert len(dataset.part(FINAL).table) == len(dataset.rows)


@pytest.mark.parametrize(("age", "heads"), [("required", ["aged"]), ("optional", ["aged", "free"]), ("none", ["free"])])
def test_heads_follow_from_the_class(dataset, age, heads):
    (dataset.folder.parent / "class.json").write_text(asset_class(age).model_dump_json())
    assert dataset.heads == heads


def named(part, chosen):
    return [part.names[i] for i in chosen]


def test_trees_without_age_see_nothing_of_it(dataset):
    part = dataset.part(0)
    assert named(part, part.columns("free")) == NAMES[: FREE - 1]
    assert named(part, part.columns("aged")) == [name for name in NAMES if name != "clock.log_step"]


def test_columns_of_each_model(dataset):
    part = dataset.part(0)
    remembered = ["oil.ewma_3", "oil.ewma_9", "oil.trend_9", "health_index.ridge.ewma_9", "health_index.ridge.trend_9"]
    assert named(part, columns.lstm(part)) == [*remembered, "clock.log_step"]
    assert named(part, columns.isolation_forest(part)) == ["oil.last", "oil.ewma_3"]
    emphasised = {head: columns.emphasised(part, head) for head in ("aged", "free")}
    assert named(part, [part.columns("aged")[place] for place in emphasised["aged"]]) == ["clock.age"]
    assert emphasised["free"] == []


def test_no_time_constant_is_taken_for_another(tmp_path):
    """`.ewma_3` is no ending of `.ewma_33`, nor the other way round."""
    folder = tmp_path / "part"
    folder.mkdir()
    names = ["oil.ewma_33", "oil.ewma_3", "oil.ewma_13", "clock.log_step"]
    (folder / "names.json").write_text(json.dumps({"names": names, "free_of_age": 4}))
    part = Part(folder)
    assert named(part, columns.isolation_forest(part)) == ["oil.ewma_3"]
    assert columns.emphasised(part, "aged") == []


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_machines_weigh_the_same(assets):
    weight = machine_weights(pd.DataFrame({"asset": assets}))
    sums = pd.Series(weight).groupby(assets).sum()
    assert sums.max() == pytest.approx(sums.min())
    assert weight.mean() == pytest.approx(1)


def test_no_rows_have_no_weights():
    assert machine_weights(pd.DataFrame({"asset": []})).shape == (0,)


def test_predictions_are_out_of_fold_and_by_the_final_model_for_test_machines(dataset):
    asked_of = {}

    def fit_predict(part, fitted, asked):
        asked_of[part.folder.name] = (fitted, asked)
        assert len(part.table) > max(fitted)
        return {"who": np.full(len(asked), len(asked_of), np.float32)}

    said = predictions.predict_all(dataset, fit_predict)
    fold, assets = dataset.rows.fold, dataset.rows.asset
    assert list(asked_of) == ["fold0", "fold1", FINAL]
    for name, (fitted, asked) in asked_of.items():
        assert not set(assets[fitted]) & set(assets[asked])
        assert not (fold[fitted] == TEST).any()
        assert set(fold[asked]) == {TEST if name == FINAL else int(name[-1])}
    assert len(asked_of[FINAL][0]) == len(dataset.training)  # the shipped model is the refit on all of them
    assert said.who.tolist() == fold.map({0: 1.0, 1: 2.0, TEST: 3.0}).tolist()


@pytest.mark.usefixtures("dataset")
def test_predictions_are_read_back():
    path = predictions.path("machine", "xgboost")
    path.parent.mkdir()
    pd.DataFrame({"aged": [1.0]}).to_parquet(path)
    assert predictions.read("machine", "xgboost").aged.tolist() == [1.0]
