"""Isolation forest: odd rows score high, and plain arrays keep all of it."""

import numpy as np
import pytest

from training.isolation_forest import IsolationForestParams, fit, score
from training.trees import Trees


def healthy(rows=400):
    return np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)


def test_odd_rows_score_high():
    X = healthy()
    forest = fit(X, IsolationForestParams())
    odd = X + 6
    assert score(forest, odd).min() > np.quantile(score(forest, X), 0.95)
    assert score(forest, X).dtype == np.float32


def test_the_same_for_a_seed():
    X = healthy()
    one, same, other = (fit(X, IsolationForestParams(trees=10, seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(score(one, X), score(same, X))
    assert (score(one, X) != score(other, X)).any()


@pytest.mark.parametrize("rows", [2, 3, 100, 1000])
def test_its_trees_are_all_there_is_to_keep(tmp_path, rows):
    X = healthy(rows)
    forest = fit(X, IsolationForestParams(trees=20))
    Trees.from_isolation_forest(forest, range(5)).save(tmp_path / "trees.npz")
    path = Trees.load(tmp_path / "trees.npz").predict(X)[:, 0]
    np.testing.assert_allclose(2.0**-path, score(forest, X), atol=1e-6)


def test_bad_input_is_refused():
    X = healthy(10)
    with pytest.raises(ValueError, match="at least 2"):
        fit(X[:1], IsolationForestParams())
    with pytest.raises(TypeError, match="float64"):
        fit(X.astype(np.float64), IsolationForestParams())
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="feature 2 of healthy row 3 is nan"):
        fit(X, IsolationForestParams())
