"""The LSTM learns, is the same for a seed, and one carried step of it is one step of the whole life, in ONNX too."""

from dataclasses import replace

import ndonnx as ndx
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import lstm
from training.lstm import Life, LstmParams, fit, predict
from training.lstm_weights import LstmWeights

FEATURES, UNITS = 5, 8
SMALL = LstmParams(units=UNITS, epochs=1, batch=4, crop=30, seed=3)


def random_weights(seed, features=FEATURES, units=UNITS):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(scale=0.5, size=shape).astype(np.float32)

    return LstmWeights(
        kernel=draw(features, 4 * units),
        recurrent=draw(units, 4 * units),
        bias=draw(4 * units),
        head=draw(units),
        head_bias=draw(),
        low=np.full(features, -3, np.float32),
        high=np.full(features, 3, np.float32),
    )


def wear(lives, seed=0):
    """Lives whose first feature is noisy wear and whose label falls from 1 to 0; the others are noise."""
    rng = np.random.default_rng(seed)
    out = []
    for length in rng.integers(30, 80, lives):
        left = np.linspace(1, 0, length, dtype=np.float32)
        X = rng.normal(size=(length, FEATURES)).astype(np.float32)
        X[:, 0] += 3 * (1 - left)
        out.append(Life(X, left, np.ones(length, np.float32)))
    return out


def stream(weights, X):
    """One life, one observation after the other, by the numpy step."""
    h = c = np.zeros((1, weights.units), np.float32)
    said = []
    for x in X:
        y, h, c = weights.step(x[None], h, c)
        said.append(y[0, 0])
    return np.array(said, np.float32)


def stream_onnx(weights, X):
    """The same by the nodes of the twin's graph, the state going out and in again."""
    x = ndx.argument(shape=("B", weights.features), dtype=ndx.float32)
    h, c = (ndx.argument(shape=("B", weights.units), dtype=ndx.float32) for _ in range(2))
    made = dict(zip(("y", "h_out", "c_out"), weights.step(x, h, c), strict=True))
    model = ndx.build({"x": x, "h": h, "c": c}, made)
    model.ir_version = 10
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    state = [np.zeros((1, weights.units), np.float32)] * 2
    said = []
    for row in X:
        y, *state = session.run(None, {"x": row[None], "h": state[0], "c": state[1]})
        said.append(y[0, 0])
    return np.array(said, np.float32)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 9), st.integers(1, 40))
def test_onnx_streams_what_numpy_streams(seed, features, units, steps):
    weights = random_weights(seed, features, units)
    X = (3 * np.random.default_rng(seed).normal(size=(steps, features))).astype(np.float32)
    np.testing.assert_allclose(stream_onnx(weights, X), stream(weights, X), atol=1e-5)


def test_keras_says_of_whole_lives_what_streaming_says(monkeypatch):
    monkeypatch.setattr(lstm, "CHUNK", 16)  # several chunks, the state carried between them
    monkeypatch.setattr(lstm, "TOGETHER", 3)  # several batches
    weights = random_weights(0)
    rng = np.random.default_rng(1)
    lives = [(3 * rng.normal(size=(n, FEATURES))).astype(np.float32) for n in (50, 1, 16, 17, 33, 0)]
    said = predict(weights, lives)
    assert [len(y) for y in said] == [len(X) for X in lives]
    for y, X in zip(said, lives, strict=True):
        np.testing.assert_allclose(y, stream(weights, X), atol=1e-5)
    np.testing.assert_allclose(said[0], stream_onnx(weights, lives[0]), atol=1e-5)


def test_learns_wear_and_tells_its_loss():
    lives, losses = wear(24), []
    weights = fit(lives, replace(SMALL, epochs=8, learning_rate=0.02), lambda epoch, loss: losses.append((epoch, loss)))
    assert [epoch for epoch, _ in losses] == list(range(8))
    assert losses[-1][1] < 0.5 * losses[0][1]
    unseen = wear(10, seed=1)
    said = np.concatenate(predict(weights, [life.features for life in unseen]))
    left = np.concatenate([life.label for life in unseen])
    assert np.sqrt(np.mean((said - left) ** 2)) < 0.6 * left.std()


def test_the_same_for_a_seed():
    lives = wear(6)
    one, same, other = (fit(lives, replace(SMALL, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.kernel, same.kernel)
    np.testing.assert_array_equal(one.head, same.head)
    assert (one.kernel != other.kernel).any()


def test_rows_of_weight_zero_are_not_judged():
    lives = wear(6)
    spoilt = []
    for life in lives:
        weight = life.weight.copy()
        weight[1::2] = 0
        spoilt.append(life._replace(label=np.where(weight > 0, life.label, np.nan).astype(np.float32), weight=weight))
    blank = [life._replace(label=np.where(life.weight > 0, life.label, 0).astype(np.float32)) for life in spoilt]
    np.testing.assert_array_equal(fit(spoilt, SMALL).kernel, fit(blank, SMALL).kernel)
    with pytest.raises(ValueError, match="no life has a row with a label"):
        fit([life._replace(weight=0 * life.weight) for life in lives], SMALL)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 6), st.integers(1, 40))
def test_batches_are_pieces_of_lives(lengths, size, crop):
    """Every row that counts is a row of a life with its label, consecutive, within the crop; lives come in turn."""
    lives = []
    for k, length in enumerate(lengths):
        at = np.stack([np.full(length, k), np.arange(length)], axis=1).astype(np.float32)
        lives.append(Life(at, at[:, 1] / 100, np.ones(length, np.float32)))
    params = LstmParams(batch=size, crop=crop, clip=1e6)
    batches = lstm._batches(lives, params)
    drawn = []
    for _ in range(len(lengths)):
        X, y, weight = next(batches)
        assert X.shape[0] == size
        assert X.shape[1] <= crop
        for x, label, counts in zip(X, y, weight > 0, strict=True):
            steps = x[counts]
            assert counts[: len(steps)].all()
            assert (steps[:, 0] == steps[0, 0]).all()
            np.testing.assert_array_equal(np.diff(steps[:, 1]), 1)
            np.testing.assert_array_equal(label[counts], (steps[:, 1] / 100).astype(np.float32))
            assert len(steps) == crop or steps[-1, 1] == lengths[int(steps[0, 0])] - 1
            drawn.append(int(steps[0, 0]))
    assert set(np.bincount(drawn, minlength=len(lengths))) == {size}


def test_a_wild_reading_is_clipped_alike_everywhere():
    weights = random_weights(4)
    X = np.zeros((3, FEATURES), np.float32)
    X[1] = 1e30
    at_clip = np.where(X > 0, weights.high, X).astype(np.float32)
    for say in (stream, stream_onnx, lambda w, x: predict(w, [x])[0]):
        np.testing.assert_array_equal(say(weights, X), say(weights, at_clip))


def test_the_units_of_the_features_do_not_matter():
    """Weights take features as they come; one that does not vary has no say."""
    lives = wear(4)
    scale, shift = np.float32([1e-3, 1, 50, 1, 1]), np.float32([0, 3, -500, 0, 0])
    other = [life._replace(features=life.features * scale + shift) for life in lives]
    for life, moved in zip(lives, other, strict=True):
        life.features[:, 4] = moved.features[:, 4] = 0.1
    params = replace(SMALL, epochs=3)
    said = [predict(fit(of, params), [of[0].features])[0] for of in (lives, other)]
    np.testing.assert_allclose(*said, atol=2e-3)


def test_saved_and_loaded(tmp_path):
    weights = random_weights(5)
    weights.save(tmp_path / "weights.npz")
    loaded = LstmWeights.load(tmp_path / "weights.npz")
    X = np.random.default_rng(0).normal(size=(4, FEATURES)).astype(np.float32)
    np.testing.assert_array_equal(stream(loaded, X), stream(weights, X))
    assert (loaded.features, loaded.units, loaded.high.tolist()) == (FEATURES, UNITS, [3] * FEATURES)


def test_bad_input_is_refused():
    life, other = wear(2)
    X = life.features
    with pytest.raises(TypeError, match=r"life 1: expected float32 \[T, 4\], got float32 \[\d+, 5\]"):
        fit([life._replace(features=X[:, :4]), other], SMALL)
    with pytest.raises(TypeError, match="float64"):
        fit([life._replace(features=X.astype(np.float64))], SMALL)
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match="life 0: feature 1 of row 2 is inf"):
        predict(random_weights(0), [X])
