"""The recurrent model as plain arrays: what Keras learned, what ONNX needs, and one step of it in numpy.

    x = clip(features, ±clip)
    i, f, c̃, o = split(x kernel + h recurrent + bias)        (Keras' order of gates)
    c′ = σ(f) c + σ(i) tanh(c̃);   h′ = σ(o) tanh(c′);   remaining life / cap = h′ head + head_bias

State zero is where a life, or a connection in mid-life, begins.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LstmWeights:
    """F features, H units."""

    kernel: Float32  # [F, 4H]
    recurrent: Float32  # [H, 4H]
    bias: Float32  # [4H]
    head: Float32  # [H]
    head_bias: Float32  # []
    clip: Float32  # [] inputs are taken within ±clip, so that one wild reading cannot saturate the cell

    @property
    def features(self) -> int:
        return self.kernel.shape[0]

    @property
    def units(self) -> int:
        return self.recurrent.shape[0]

    def step(self, x: Float32, h: Float32, c: Float32) -> tuple[Float32, Float32, Float32]:
        """One observation: x[B, F], h[B, H], c[B, H] → remaining life / cap [B], h′, c′."""
        gates = np.clip(x, -self.clip, self.clip) @ self.kernel + h @ self.recurrent + self.bias
        i, f, candidate, o = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(candidate)
        h = _sigmoid(o) * np.tanh(c)
        return h @ self.head + self.head_bias, h, c

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> LstmWeights:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def onnx_lstm_constants(weights: LstmWeights) -> tuple[Float32, Float32, Float32]:
    """W[1, 4H, F], R[1, 4H, H], B[1, 8H] of the operator LSTM: one direction, gates in the order i, o, f, c, and the
    bias of the recurrent side zero."""

    def ordered(gates: Float32) -> Float32:
        i, f, c, o = np.split(gates, 4, axis=-1)
        return np.ascontiguousarray(np.concatenate([i, o, f, c], axis=-1).T)

    bias = ordered(weights.bias)
    return ordered(weights.kernel)[None], ordered(weights.recurrent)[None], np.concatenate([bias, 0 * bias])[None]


def _sigmoid(x: Float32) -> Float32:
    return 0.5 * (1 + np.tanh(0.5 * x))  # does not overflow
