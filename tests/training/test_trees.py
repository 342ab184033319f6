"""Trees say what xgboost and scikit-learn say, in numpy and in onnxruntime."""

import numpy as np
import onnxruntime
import pytest
import spox
import spox.opset.ai.onnx.ml.v3 as ml
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from training.trees import Trees, strictly_below

FEATURES = 6
COLUMNS = np.array([7, 2, 5, 0, 4, 1])  # of a wider table that holds the booster's features in another order
SEEDS = st.integers(0, 2**16)


def table(rng, rows, missing=0.0):
    X = rng.normal(size=(rows, 8)).astype(np.float32)
    X[:, 2] = X[:, 2].round(1)  # ties
    X[rng.random(X.shape) < missing] = np.nan
    return X


def onto_thresholds(rng, X, trees):
    """`X` with a third of its values put exactly on, or one float beside, a threshold of their column."""
    X = X.copy()
    inner = np.flatnonzero(trees.left != np.arange(len(trees.left)))
    for row in rng.choice(len(X), len(X) // 3 * 2, replace=False) if len(inner) else []:
        node = rng.choice(inner)
        t = trees.threshold[node]
        X[row, trees.feature[node]] = rng.choice([t, np.nextafter(t, np.float32(9)), np.nextafter(t, np.float32(-9))])
    return X


def boosted(rng, X, objective="reg:squarederror", rounds=8, **params):
    rows = X[:, COLUMNS]
    target = 50 + 20 * np.nan_to_num(rows[:, 0]) * np.nan_to_num(rows[:, 1]) + rng.normal(size=len(X))
    data = xgboost.DMatrix(rows)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", np.maximum(target, 1))
        data.set_float_info("label_upper_bound", np.where(target > 60, np.inf, np.maximum(target, 1)))
    else:
        data.set_label(target > 50 if objective == "binary:logistic" else target)
    params = {"max_depth": 4, "objective": objective, "nthread": 1, "seed": 1, "eta": 0.3} | params
    return xgboost.train(params, data, rounds)


def native(booster, X, margin=True):
    return booster.predict(xgboost.DMatrix(X[:, COLUMNS]), output_margin=margin)


def forest(X, seed, **params):
    return IsolationForest(n_estimators=20, random_state=seed, **params).fit(X[:, COLUMNS])


def in_onnx(trees, width=8):
    x = spox.argument(spox.Tensor(np.float32, ("B", width)))
    model = spox.build({"x": x}, {"y": ml.tree_ensemble_regressor(x, **trees.attributes())})
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda X: session.run(None, {"x": X})[0]


@settings(max_examples=25, deadline=None)
@given(
    SEEDS,
    st.sampled_from(["reg:squarederror", "binary:logistic", "survival:aft", "reg:absoluteerror"]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([{}, {"base_score": 0.8}, {"subsample": 0.5, "min_child_weight": 5}, {"gamma": 50.0}]),
)
def test_xgboost_margins(seed, objective, missing, params):
    rng = np.random.default_rng(seed)
    X = table(rng, 150, missing)
    booster = boosted(rng, X, objective, **params)
    trees = Trees.from_xgboost(booster, COLUMNS)
    X = onto_thresholds(rng, X, trees)
    said = native(booster, X)
    # a sum is rounded in proportion to its terms, however small it comes out
    np.testing.assert_allclose(trees.predict(X)[:, 0], said, rtol=2e-6, atol=2e-6 * max(1, np.abs(said).max()))


def test_xgboost_predictions_from_margins():
    rng = np.random.default_rng(3)
    X = table(rng, 200)
    for objective, link in [("survival:aft", np.exp), ("binary:logistic", lambda m: 1 / (1 + np.exp(-m)))]:
        booster = boosted(rng, X, objective)
        ours = link(Trees.from_xgboost(booster, COLUMNS).predict(X)[:, 0])
        np.testing.assert_allclose(ours, native(booster, X, margin=False), rtol=1e-5)


def test_several_quantiles_are_several_targets():
    rng = np.random.default_rng(4)
    X = table(rng, 200)
    booster = boosted(rng, X, "reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9])
    trees = Trees.from_xgboost(booster, COLUMNS)
    assert trees.n_targets == 3
    np.testing.assert_allclose(trees.predict(X), native(booster, X), rtol=1e-5)
    np.testing.assert_allclose(in_onnx(trees)(X), native(booster, X), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 300), st.sampled_from([{}, {"max_features": 0.5}, {"max_samples": 16}]))
def test_isolation_forest_scores(seed, rows, params):
    rng = np.random.default_rng(seed)
    X = table(rng, rows)
    if "max_samples" in params:
        params = {"max_samples": min(16, rows)}
    model = forest(X, seed, **params)
    trees = Trees.from_isolation_forest(model, COLUMNS)
    X = onto_thresholds(rng, np.concatenate([X, 5 * table(rng, 100)]), trees)
    np.testing.assert_allclose(-(2.0 ** -trees.predict(X)[:, 0]), model.score_samples(X[:, COLUMNS]), rtol=1e-6)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=500)
@given(FLOAT32, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([-2, -1, 0, 1, 2]), st.booleans())
def test_strictly_below_is_at_most(x, threshold, steps, near):
    """x <= t in float64 is x < u in float32, above all where x and t are neighbours."""
    x = np.float32(x)
    t = np.float64(x)
    if near:
        for _ in range(abs(steps)):
            t = np.nextafter(t, np.copysign(np.inf, steps))
    else:
        t = np.float64(threshold)
    u = strictly_below(np.array([t]))[0]
    assert (x <= t) == (x < u)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_onnx_says_the_same(rows, missing):
    rng = np.random.default_rng(rows)
    X = table(rng, 300, missing)
    rul, failure = boosted(rng, X), boosted(rng, X, "binary:logistic")
    odd = forest(np.nan_to_num(X), 0)
    parts = [Trees.from_xgboost(rul, COLUMNS), Trees.from_xgboost(failure, COLUMNS)]
    parts += [Trees.from_isolation_forest(odd, COLUMNS)]
    trees = Trees.join(parts)
    assert trees.n_targets == 3
    X = onto_thresholds(rng, table(rng, rows, missing), trees)
    joined = in_onnx(trees)(X)
    np.testing.assert_allclose(joined, trees.predict(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(joined[:, 0], native(rul, X), rtol=1e-5)
    np.testing.assert_allclose(joined[:, 1], native(failure, X), rtol=1e-5, atol=1e-5)
    for i, part in enumerate(parts):
        np.testing.assert_allclose(in_onnx(part)(X)[:, 0], joined[:, i], rtol=1e-5, atol=1e-5)
    if not missing:
        np.testing.assert_allclose(-(2.0 ** -joined[:, 2]), odd.score_samples(X[:, COLUMNS]), rtol=1e-6)


def test_joined_and_separate_are_the_same():
    rng = np.random.default_rng(11)
    X = table(rng, 200)
    quantiles = boosted(rng, X, "reg:quantileerror", quantile_alpha=[0.1, 0.9])  # trees of two targets in turn
    parts = [Trees.from_isolation_forest(forest(X, 0), COLUMNS), Trees.from_xgboost(quantiles, COLUMNS)]
    trees = Trees.join(parts)
    separate = trees.separate()
    assert [part.n_targets for part in separate] == [1, 1, 1]
    np.testing.assert_array_equal(np.concatenate([part.predict(X) for part in separate], axis=1), trees.predict(X))
    np.testing.assert_array_equal(np.concatenate([part.predict(X) for part in parts], axis=1), trees.predict(X))
    np.testing.assert_array_equal(np.min([part.margin(X) for part in separate], axis=0), trees.margin(X))
    assert separate[0].attributes() == parts[0].attributes()


def test_a_tree_of_one_leaf():
    rng = np.random.default_rng(5)
    X = table(rng, 50)
    booster = boosted(rng, X, rounds=2, gamma=1e9)
    trees = Trees.from_xgboost(booster, COLUMNS)
    assert len(trees.feature) == 2
    np.testing.assert_allclose(trees.predict(X)[:, 0], native(booster, X), rtol=1e-6)
    np.testing.assert_allclose(in_onnx(trees)(X)[:, 0], native(booster, X), rtol=1e-6)
    assert np.isinf(trees.margin(X)).all()


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_nothing_within_the_margin_changes_a_prediction(seed):
    rng = np.random.default_rng(seed)
    X = table(rng, 100)
    trees = Trees.from_xgboost(boosted(rng, X), COLUMNS)
    margin = trees.margin(X)
    assert (margin > 1e-3).any()
    for sign in (-1, 1):
        moved = X * (1 + sign * np.maximum(0.99 * margin - 1e-6, 0))[:, None]
        np.testing.assert_array_equal(trees.predict(moved.astype(np.float32)), trees.predict(X))


def test_margin_is_that_of_the_nearest_split_visited():
    rng = np.random.default_rng(6)
    X = table(rng, 40, missing=0.1)
    trees = Trees.from_xgboost(boosted(rng, X, rounds=3), COLUMNS)

    def walked(row, node):
        if trees.left[node] == node:
            return []
        x, t = float(row[trees.feature[node]]), float(trees.threshold[node])
        left = trees.missing_left[node] if np.isnan(x) else x < t
        below = walked(row, (trees.left if left else trees.right)[node])
        return below if np.isnan(x) else [abs(x - t) / max(abs(x), abs(t)), *below]

    expected = [min((gap for root in trees.root for gap in walked(row, root)), default=np.inf) for row in X]
    np.testing.assert_allclose(trees.margin(X), expected, rtol=1e-6)
    on_split = X[:1].copy()
    on_split[0, trees.feature[0]] = trees.threshold[0]
    assert trees.margin(on_split)[0] == 0


def test_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(7)
    X = table(rng, 100, 0.1)
    trees = Trees.from_xgboost(boosted(rng, X), COLUMNS)
    trees.save(tmp_path / "trees.npz")
    loaded = Trees.load(tmp_path / "trees.npz")
    assert loaded.attributes() == trees.attributes()
    np.testing.assert_array_equal(loaded.predict(X), trees.predict(X))


def test_what_cannot_be_exported_is_refused():
    rng = np.random.default_rng(8)
    X = table(rng, 100)
    with pytest.raises(ValueError, match="'dart'"):
        Trees.from_xgboost(boosted(rng, X, booster="dart"), COLUMNS)
    with pytest.raises(ValueError, match="reg:tweedie"):
        Trees.from_xgboost(boosted(rng, np.abs(X), "reg:tweedie"), COLUMNS)
    with pytest.raises(ValueError, match="6 features"):
        Trees.from_xgboost(boosted(rng, X), [0, 1])
    with pytest.raises(ValueError, match="6 features"):
        Trees.from_isolation_forest(forest(X, 0), [0, 1])
    with pytest.raises(TypeError, match="float32"):
        Trees.from_xgboost(boosted(rng, X), COLUMNS).predict(X.astype(np.float64))
