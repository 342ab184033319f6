"""A recurrent model of remaining life by Keras: one LSTM layer and a linear head, with a state that is carried.

State in, one observation, state out: streaming a life observation by observation gives what the whole life gives. It is
trained on pieces of lives, from state zero, and runs over whole lives. Labels are remaining life / cap. A caller puts
log(dt/tick) among the features, so that the cell knows how much time an observation stands for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.errors import DataError
from training.lstm_weights import LstmWeights

Float32 = NDArray[np.float32]

CHUNK = 512  # steps that prediction takes at once, carrying the state: bounds memory on long lives
TOGETHER = 64  # lives predicted in one batch
# An epoch is so many updates and not a pass over the data: a fit costs the same however large the fleet.
STEPS_PER_EPOCH = 20
LEAST_VARIATION = 1e-5  # of a feature's size; what varies less, such as the length of regular steps, is a constant


class Life(NamedTuple):
    """What one life teaches, row by row."""

    features: Float32  # [T, F]
    label: Float32  # [T], remaining life / cap
    weight: Float32  # [T], 0: seen but not judged, whatever its label


@dataclass(frozen=True)
class LstmParams:
    units: int = 64
    epochs: int = 40  # of STEPS_PER_EPOCH updates
    learning_rate: float = 0.003  # at first; falls to zero along a cosine
    batch: int = 16  # pieces of lives an update sees
    # Observations in a piece at most. It starts anywhere in a life: so the cell cannot tell the age by counting, and
    # may be connected in mid-life.
    crop: int = 100
    dropout: float = 0.4  # of the units, before the head
    clip: float = 10.0  # standard deviations from the mean beyond which a feature is cut off
    seed: int = 0


def fit(lives: Sequence[Life], params: LstmParams, log: Callable[[int, float], None] | None = None) -> LstmWeights:
    """Weights learned from `lives`, each drawn equally often; the same for a seed on one machine.

    `log(epoch, loss)` is told the weighted mean square error. It learns from standardised features; the weights that it
    returns take them as they are.
    """
    lives = [
        life._replace(label=np.where(life.weight > 0, life.label, np.float32(0))) for life in lives if life.weight.any()
    ]
    if not lives:
        raise DataError("no life has a row with a label: the LSTM has nothing to learn from")
    _check([life.features for life in lives])
    mean, spread = _extent(lives)
    lives = [life._replace(features=(life.features - mean) / spread) for life in lives]
    tf, keras = _keras()
    model = _model(keras, lives[0].features.shape[1], params.units, params.dropout, params.seed)
    label, weight = (np.concatenate(x) for x in zip(*[(life.label, life.weight) for life in lives], strict=True))
    model.layers[-1].bias.assign([np.average(label, weights=weight)])
    decay = keras.optimizers.schedules.CosineDecay(params.learning_rate, params.epochs * STEPS_PER_EPOCH)
    train = _trainer(tf, model, keras.optimizers.Adam(decay, clipnorm=1.0), params.units)
    batches = _batches(lives, params)
    with tqdm(range(params.epochs), desc="lstm", unit="epoch", leave=False, disable=None) as bar:
        for epoch in bar:
            loss = float(np.mean([float(train(*next(batches))) for _ in range(STEPS_PER_EPOCH)]))
            bar.set_postfix(rmse=f"{loss**0.5:.4f}")
            if log:
                log(epoch, loss)
    kernel, recurrent, bias, head, head_bias = (np.asarray(w, np.float32) for w in model.get_weights())
    kernel = kernel / spread[:, None]
    reach = np.float32(params.clip) * spread
    return LstmWeights(
        kernel, recurrent, bias - mean @ kernel, head[:, 0], head_bias.reshape(()), mean - reach, mean + reach
    )


def predict(weights: LstmWeights, lives: Sequence[Float32]) -> list[Float32]:
    """What Keras itself says: remaining life / cap [T] at each row of each life X[T, F], from state zero."""
    _check(lives, weights.features)
    tf, keras = _keras()
    model = _model(keras, weights.features, weights.units, 0.0, 0)
    model.set_weights(
        [weights.kernel, weights.recurrent, weights.bias, weights.head[:, None], weights.head_bias.reshape(1)]
    )
    state = tf.TensorSpec([None, weights.units])
    traced = tf.function(lambda x, h, c: model([x, h, c], training=False))
    run = traced.get_concrete_function(tf.TensorSpec([None, None, weights.features]), state, state)
    out: list[Float32] = [np.empty(0, np.float32)] * len(lives)
    order = np.argsort([len(X) for X in lives], kind="stable")
    for start in tqdm(range(0, len(lives), TOGETHER), desc="lstm predicts", leave=False, disable=None):
        chosen = order[start : start + TOGETHER]
        X = np.clip(_pad([lives[k] for k in chosen]), weights.low, weights.high)
        h = c = tf.zeros([len(chosen), weights.units])
        parts = []
        for begin in range(0, X.shape[1], CHUNK):
            y, h, c = run(tf.constant(X[:, begin : begin + CHUNK]), h, c)
            parts.append(y.numpy()[..., 0])
        y = np.concatenate(parts, axis=1) if parts else np.empty((len(chosen), 0), np.float32)
        for row, k in enumerate(chosen):
            out[k] = y[row, : len(lives[k])]
    return out


def _keras() -> tuple[Any, Any]:
    """TensorFlow and Keras, imported when first needed: it takes seconds, and export has no need of them."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor, and no banner
    import keras
    import tensorflow

    return tensorflow, keras


def _model(keras: Any, features: int, units: int, dropout: float, seed: int) -> Any:
    x = keras.Input((None, features))
    h, c = keras.Input((units,)), keras.Input((units,))
    lstm = keras.layers.LSTM(
        units,
        return_sequences=True,
        return_state=True,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        recurrent_initializer=keras.initializers.Orthogonal(seed=seed),
    )
    hidden, last_h, last_c = lstm(x, initial_state=[h, c])
    hidden = keras.layers.Dropout(dropout, seed=seed)(hidden)
    head = keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed))
    return keras.Model([x, h, c], [head(hidden), last_h, last_c])


def _trainer(tf: Any, model: Any, optimizer: Any, units: int) -> Any:
    """One step of gradient descent on a batch of `_batches`; free in B and T, so it is traced once."""
    optimizer.build(model.trainable_variables)

    def train(x: Any, y: Any, weight: Any) -> Any:
        zero = tf.zeros([tf.shape(x)[0], units])
        with tf.GradientTape() as tape:
            said = model([x, zero, zero], training=True)[0][..., 0]
            loss = tf.math.divide_no_nan(tf.reduce_sum(weight * (said - y) ** 2), tf.reduce_sum(weight))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    table = tf.TensorSpec([None, None])
    features = tf.TensorSpec([None, None, model.inputs[0].shape[-1]])
    return tf.function(train, input_signature=[features, table, table])


def _extent(lives: Sequence[Life]) -> tuple[Float32, Float32]:
    """Mean and standard deviation [F] of the features of the rows that count; 1 where they do not vary."""
    rows = np.concatenate([life.features[life.weight > 0] for life in lives]).astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    varies = spread > LEAST_VARIATION * np.maximum(np.abs(mean), 1)
    return mean.astype(np.float32), np.where(varies, spread, 1).astype(np.float32)


def _batches(lives: Sequence[Life], params: LstmParams) -> Iterator[Life]:
    """Without end: features [B, T, F], and label, weight [B, T], of random pieces of lives.

    Pieces are not sorted by length to save padding: short ones end in failures, and batches that differ in their labels
    cost 1.5 cycles of error on C-MAPSS.
    """
    rng = np.random.default_rng(params.seed)
    queue: list[int] = []
    while True:
        while len(queue) < params.batch:
            queue.extend(rng.permutation(len(lives)))
        chosen, queue = queue[: params.batch], queue[params.batch :]
        pieces = [_piece(lives[k], params.crop, rng) for k in chosen]
        X, *rest = (_pad(arrays) for arrays in zip(*pieces, strict=True))
        yield Life(np.clip(X, -params.clip, params.clip), *rest)


def _piece(life: Life, crop: int, rng: np.random.Generator) -> Life:
    start = rng.integers(len(life.features))
    return Life(*(array[start : start + crop] for array in life))


def _pad(arrays: Sequence[Float32]) -> Float32:
    """[B, T, …], zero behind the end of each: the cell looks only back, so nothing that counts sees the padding."""
    out = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), np.float32)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


def _check(lives: Sequence[Float32], features: int | None = None) -> None:
    for k, X in enumerate(lives):
        features = X.shape[1] if features is None else features
        if X.dtype != np.float32 or X.shape[1] != features:
            raise TypeError(f"life {k}: expected float32 [T, {features}], got {X.dtype} {list(X.shape)}")
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise ValueError(f"life {k}: feature {column} of row {row} is {X[row, column]}: features must be finite")
