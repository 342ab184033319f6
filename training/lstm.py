"""A recurrent model of remaining life by Keras: one LSTM layer and a linear head, with a state that is carried.

State in, one observation, state out: streaming a life observation by observation gives what the whole life gives. It is
trained on pieces of lives, from state zero, and runs over whole lives. Labels are remaining life / cap. A caller puts
log(dt/tick) among the features, so that the cell knows how much time an observation stands for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.errors import DataError
from training.lstm_weights import LstmWeights

Float32 = NDArray[np.float32]
Sequence3 = tuple[Float32, Float32, Float32]  # features [T, F], labels [T], weights [T] of one life

CHUNK = 512  # steps that prediction takes at once, carrying the state: bounds memory on long lives
TOGETHER = 64  # lives predicted in one batch
# An epoch is so many updates and not a pass over the data: a fit costs the same however large the fleet.
STEPS_PER_EPOCH = 20


@dataclass(frozen=True)
class LstmParams:
    units: int = 64
    epochs: int = 40  # of STEPS_PER_EPOCH updates
    learning_rate: float = 0.003  # at first; falls to zero along a cosine
    batch: int = 16  # pieces of lives an update sees
    # Observations in a piece at most. It starts anywhere in a life: so the cell cannot tell the age by counting, and
    # may be connected in mid-life.
    crop: int = 100
    dropout: float = 0.1  # of the units, before the head
    clip: float = 10.0  # see LstmWeights
    seed: int = 0


def fit(lives: Sequence[Sequence3], params: LstmParams, log: Callable[[int, float], None] | None = None) -> LstmWeights:
    """Weights learned from `lives`, each drawn equally often; the same for a seed on one machine.

    Rows of weight 0 are seen but not judged. `log(epoch, loss)` is told the weighted mean square error.
    """
    lives = [life for life in lives if life[2].any()]
    if not lives:
        raise DataError("no life has a row with a label: the LSTM has nothing to learn from")
    _check([X for X, _, _ in lives])
    tf, keras = _keras()
    model = _model(keras, lives[0][0].shape[1], params.units, params.dropout, params.seed)
    label, weight = (np.concatenate([life[k] for life in lives]) for k in (1, 2))
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
    return LstmWeights(kernel, recurrent, bias, head[:, 0], head_bias.reshape(()), np.float32(params.clip).reshape(()))


def predict(weights: LstmWeights, lives: Sequence[Float32]) -> list[Float32]:
    """What Keras itself says: remaining life / cap [T] at each row of each life X[T, F], from state zero."""
    _check(lives, weights.features)
    tf, keras = _keras()
    model = _model(keras, weights.features, weights.units, 0.0, 0)
    model.set_weights(
        [weights.kernel, weights.recurrent, weights.bias, weights.head[:, None], weights.head_bias.reshape(1)]
    )
    run = tf.function(
        lambda x, h, c: model([x, h, c], training=False),
        input_signature=[tf.TensorSpec([None, None, weights.features]), *[tf.TensorSpec([None, weights.units])] * 2],
    )
    out: list[Float32] = [np.empty(0, np.float32)] * len(lives)
    order = np.argsort([len(X) for X in lives], kind="stable")
    for start in tqdm(range(0, len(lives), TOGETHER), desc="lstm predicts", leave=False, disable=None):
        chosen = order[start : start + TOGETHER]
        X = np.clip(_pad([lives[k] for k in chosen]), -weights.clip, weights.clip)
        h = c = np.zeros((len(chosen), weights.units), np.float32)
        parts = []
        for begin in range(0, X.shape[1], CHUNK):
            y, h, c = run(X[:, begin : begin + CHUNK], h, c)
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
    """One step of gradient descent on x[B, T, F], y[B, T], weight[B, T]; free in B and T, so it is traced once."""
    optimizer.build(model.trainable_variables)

    def train(x: Any, y: Any, weight: Any) -> Any:
        zero = tf.zeros([tf.shape(x)[0], units])
        with tf.GradientTape() as tape:
            error = model([x, zero, zero], training=True)[0][..., 0] - y
            loss = tf.math.divide_no_nan(tf.reduce_sum(weight * error * error), tf.reduce_sum(weight))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    table = tf.TensorSpec([None, None])
    return tf.function(train, input_signature=[tf.TensorSpec([None, None, model.inputs[0].shape[-1]]), table, table])


def _batches(lives: Sequence[Sequence3], params: LstmParams) -> Iterator[tuple[Float32, Float32, Float32]]:
    """Without end: x[B, T, F], y[B, T], weight[B, T] of random pieces of lives.

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
        X, y, weight = (_pad([piece[k] for piece in pieces]) for k in range(3))
        yield np.clip(X, -params.clip, params.clip), y, weight


def _piece(life: Sequence3, crop: int, rng: np.random.Generator) -> Sequence3:
    start = rng.integers(len(life[0]))
    X, y, weight = (array[start : start + crop] for array in life)
    return X, y, weight


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
