"""The recurrent model as plain arrays: what Keras learned, and one step of it, run by NumPy or traced into the graph.

    x = features within low … high
    i, f, c̃, o = split(x kernel + h recurrent + bias)        (Keras' order of gates)
    c′ = σ(f) c + σ(i) tanh(c̃);   h′ = σ(o) tanh(c′);   remaining life / cap = h′ head + head_bias

State zero is where a life, or a connection in mid-life, begins.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from features.array import Array, Float32, constant, matmul, namespace, sigmoid, split


@dataclass(frozen=True, eq=False)
class LstmWeights:
    """F features, H units."""

    kernel: Float32  # [F, 4H]
    recurrent: Float32  # [H, 4H]
    bias: Float32  # [4H]
    head: Float32  # [H]
    head_bias: Float32  # []
    low: Float32  # [F] features are taken within low … high, so that one wild reading cannot saturate the cell
    high: Float32  # [F]

    @property
    def features(self) -> int:
        return self.kernel.shape[0]

    @property
    def units(self) -> int:
        return self.recurrent.shape[0]

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
        """One observation: x[B, F], h[B, H], c[B, H] → remaining life / cap [B, 1], h′, c′.

        Of plain operators, of which one product gives all gates and one sigmoid three of them: what NumPy runs is what
        is traced, and it takes no longer than ONNX's operator LSTM, which wants an axis of time put in and taken out.
        """
        xp, units = namespace(x), self.units
        kernel, bias = self._gates
        inside = xp.minimum(xp.maximum(x, constant(x, self.low[None])), constant(x, self.high[None]))
        seen = xp.concat([inside, h], axis=1)
        gates, candidate = split(matmul(seen, kernel) + constant(x, bias), [3 * units, units])
        let_in, keep, let_out = split(sigmoid(gates), [units] * 3)
        c = keep * c + let_in * xp.tanh(candidate)
        h = let_out * xp.tanh(c)
        return matmul(h, self.head[:, None]) + constant(x, self.head_bias), h, c

    @property
    def _gates(self) -> tuple[Float32, Float32]:
        """[F+H, 4H] and [1, 4H]: what x and h side by side are multiplied by, the gates in the order i, f, o, c̃."""

        def ordered(gates: Float32) -> Float32:
            i, f, candidate, o = np.split(gates, 4, axis=-1)
            return np.concatenate([i, f, o, candidate], axis=-1)

        return ordered(np.concatenate([self.kernel, self.recurrent])), ordered(self.bias)[None]

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> LstmWeights:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})
