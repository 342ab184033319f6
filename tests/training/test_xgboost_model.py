"""Boosted trees: the same for a seed, emphasis on age, small data, files."""

import json

import numpy as np
import pytest

from training.trees import Trees
from training.xgboost_model import XgboostParams, fit, load, predict

SMALL = XgboostParams(trees=30, learning_rate=0.3)


def lives(rows=2000, features=30):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, features)).astype(np.float32)
    y = (60 + 20 * X[:, 3] - 10 * np.abs(X[:, 5])).astype(np.float32)
    return X, y, np.ones(rows, np.float32)


def dump(booster):
    return bytes(booster.save_raw("json"))


def test_learns_and_is_the_same_for_a_seed():
    X, y, weight = lives()
    booster = fit(X, y, weight, SMALL)
    assert np.sqrt(np.mean((predict(booster, X) - y) ** 2)) < 0.5 * y.std()
    again = fit(X, y, 7 * weight, SMALL)
    assert dump(booster) == dump(again)
    other = fit(X, y, weight, XgboostParams(trees=30, learning_rate=0.3, seed=1))
    assert dump(booster) != dump(other)


def test_threads_do_not_change_the_trees():
    X, y, weight = lives(500)
    one, two = (fit(X, y, weight, XgboostParams(trees=3, threads=n)) for n in (1, 2))
    np.testing.assert_array_equal(predict(one, X), predict(two, X))


def test_every_tree_sees_the_emphasised_column():
    X, y, weight = lives()
    y = y + 100 * X[:, 7]  # so important that a tree that sees it splits on it first

    def share_of_trees(booster):
        trees = Trees.from_xgboost(booster, range(X.shape[1]))
        ends = [*trees.root[1:], len(trees.feature)]
        uses = [7 in trees.feature[a:b][trees.left[a:b] != range(a, b)] for a, b in zip(trees.root, ends, strict=True)]
        return np.mean(uses)

    assert share_of_trees(fit(X, y, weight, SMALL, emphasised=[7])) == 1
    assert share_of_trees(fit(X, y, weight, SMALL)) < 0.5


def test_small_data_still_splits():
    X, y, weight = lives(200)
    booster = fit(X, y, weight, SMALL)
    assert np.ptp(predict(booster, X)) > y.std()


def test_weight_zero_takes_no_part():
    X, y, weight = lives()
    spoilt = y.copy()
    spoilt[::2] = 1e4
    weight[::2] = 0
    assert predict(fit(X, spoilt, weight, SMALL), X).max() < 200


def test_failure_probability():
    X, y, weight = lives()
    probability = predict(
        fit(X, (y < 50).astype(np.float32), weight, XgboostParams(trees=30, objective="binary:logistic")), X
    )
    assert 0 < probability.min() < probability.max() < 1
    assert probability[y < 40].mean() > probability[y > 70].mean()


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_saved_and_loaded(tmp_path, suffix):
    X, y, weight = lives(300)
    booster = fit(X, y, weight, SMALL)
    booster.save_model(tmp_path / f"model.{suffix}")
    np.testing.assert_array_equal(predict(load(tmp_path / f"model.{suffix}"), X), predict(booster, X))


def test_bad_input_is_refused():
    X, y, weight = lives(50)
    with pytest.raises(TypeError, match="float64"):
        fit(X.astype(np.float64), y, weight, SMALL)
    with pytest.raises(ValueError, match="49 labels"):
        fit(X, y[1:], weight, SMALL)
    with pytest.raises(ValueError, match=r"sum to 0\.0"):
        fit(X, y, 0 * weight, SMALL)


def test_params_are_what_xgboost_got():
    X, y, weight = lives(2000)
    config = json.loads(fit(X, y, weight, XgboostParams(trees=1)).save_config())
    train = config["learner"]["gradient_booster"]["tree_train_param"]
    assert float(train["min_child_weight"]) == pytest.approx(10)
    assert float(train["lambda"]) == 5
    assert float(train["eta"]) == pytest.approx(0.05)
