"""The few operations that need more than the Array API standard, for NumPy arrays and traced (ndonnx) arrays alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = Any  # a NumPy or ndonnx array: the standard's types cannot be written down yet (data-apis/array-api#229)
Float32 = npt.NDArray[np.float32]


def namespace(x: Array) -> Any:
    """The Array API namespace of `x`."""
    return x.__array_namespace__()


def is_traced(x: Array) -> bool:
    return not isinstance(x, np.ndarray)


def constant(like: Array, values: npt.ArrayLike) -> Array:
    """`values` as a float32 array of the same kind as `like`."""
    return namespace(like).asarray(np.asarray(values, np.float32))


def matmul(a: Array, b: Float32) -> Array:
    """Matrix product with a constant.

    ndonnx guards MatMul against empty operands with an If that onnxruntime 1.20 cannot load; no operand here is empty
    but for a batch of none, which MatMul takes.
    """
    if not is_traced(a):
        return np.matmul(a, b)
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.matmul(a.unwrap_spox(), op.const(b)))


def combine(weights: Sequence[Array], rows: Float32) -> Array:
    """[B,S]: rows[0] + the sum over q of weights[q] [B,1] · rows[1 + q,S], the same to the last bit whatever the batch.

    A matrix product or a reduction is not: onnxruntime adds up in another order for one row than for many. Where the
    result is subtracted from a number close to it, that last bit decides on which side of a tree's split a row falls.
    """
    total = constant(weights[0], rows[:1])
    for weight, row in zip(weights, rows[1:], strict=True):
        total = total + weight * constant(weight, row[None])
    return total


def split(x: Array, sizes: Sequence[int]) -> list[Array]:
    """`x` cut along its last axis into pieces of the given sizes."""
    if len(sizes) == 1:
        return [x]
    if not is_traced(x):
        return list(np.split(x, np.cumsum(sizes)[:-1], axis=-1))
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    pieces = op.split(x.unwrap_spox(), op.const(np.array(sizes, np.int64)), axis=-1)
    return [ndx.asarray(piece) for piece in pieces]


def take(x: Array, row: int) -> Array:
    """[B,N]: one row of `x` [B,R,N]. (ndonnx's own is a Slice and a Squeeze.)"""
    if not is_traced(x):
        return x[:, row, :]
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.gather(x.unwrap_spox(), op.const(np.int64(row)), axis=1))


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` with a new shape; the batch axis is written −1."""
    if not is_traced(x):
        return np.reshape(x, shape)
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.reshape(x.unwrap_spox(), op.const(np.array(shape, np.int64))))


def scatter_rows(dt: Array, rows: Array, values: Array, columns: int) -> Array:
    """[B,columns] holding `values` [K,columns] at `rows` int64[K] and NaN elsewhere; `dt` [B] gives the batch size."""
    base = dt[:, None] * constant(dt, np.full((1, columns), np.nan))
    if not is_traced(dt):
        base[rows] = values
        return base
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    indices = rows[:, None]
    return ndx.asarray(op.scatter_nd(base.unwrap_spox(), indices.unwrap_spox(), values.unwrap_spox()))


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum of `a` and `b` and its rounding error (Knuth, TAOCP 2, 4.2.2)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def row_max(x: Array) -> Array:
    """The largest value along the last axis: […,1] of `x` […,N], N > 0. (ndonnx's own adds guards and an If.)"""
    if not is_traced(x):
        return np.max(x, axis=-1, keepdims=True)
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.reduce_max(x.unwrap_spox(), op.const(np.array([-1], np.int64)), keepdims=1))


def row_sum(x: Array) -> Array:
    """The sum of each row: [B,1] of `x` [B,N], NaN where any value is."""
    if not is_traced(x):
        return np.sum(x, axis=1, keepdims=True)
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.reduce_sum(x.unwrap_spox(), op.const(np.array([1], np.int64)), keepdims=1))


def squeeze(x: Array) -> Array:
    """[B] of `x` [B,1]."""
    if not is_traced(x):
        return x[:, 0]
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.squeeze(x.unwrap_spox(), op.const(np.array([1], np.int64))))


def clip(x: Array, low: float, high: float) -> Array:
    """`x` within low … high. (ndonnx's own are two operators.)"""
    if not is_traced(x):
        return np.clip(x, np.float32(low), np.float32(high))
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.clip(x.unwrap_spox(), op.const(np.float32(low)), op.const(np.float32(high))))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x)), which the standard does not have."""
    if not is_traced(x):
        return np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * x))  # does not overflow
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    return ndx.asarray(op.sigmoid(x.unwrap_spox()))


def as_number(condition: Array) -> Array:
    """1 where `condition` holds, 0 elsewhere: what multiplied by it is a choice between a value and zero.

    A `where` costs as much as three multiplications (onnxruntime makes it of three loops and two copies). So a finite
    value is chosen by multiplying; what may be NaN, and is to be forgotten, needs a `where`.
    """
    return condition.astype(namespace(condition).float32)
