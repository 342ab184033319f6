"""The operations beyond the standard do the same to NumPy arrays and in a graph."""

import ndonnx as ndx
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import array

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)

OPERATIONS = {
    "matmul": lambda x: array.matmul(x, ROWS),
    "split": lambda x: array.split(x, [1, 2])[1],
    "split of one": lambda x: array.split(x, [3])[0],
    "reshape": lambda x: array.reshape(x, (-1, 3, 1)),
    "row_max": array.row_max,
    "row_sum": array.row_sum,
    "squeeze": lambda x: array.squeeze(x[:, :1]),
    "clip": lambda x: array.clip(x, -0.5, 0.5),
    "combine": lambda x: array.combine([x[:, :1], x[:, 1:2]], ROWS),
    "take": lambda x: array.take(array.reshape(x, (-1, 3, 1)), 1),
    "sigmoid": array.sigmoid,
    "as_number": lambda x: array.as_number(x > array.constant(x, 0)),
    "two_sum": lambda x: array.two_sum(x, array.constant(x, 1e-6))[1],
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_numpy_and_graph_agree(name, batch):
    x = ndx.argument(shape=("B", 3), dtype=ndx.float32)
    model = ndx.build({"x": x}, {"y": OPERATIONS[name](x)})
    model.ir_version = 10
    (said,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X[:batch]})
    if name == "row_max" and not batch:  # NumPy has no largest of none
        assert said.shape == (0, 1)
        return
    np.testing.assert_allclose(said, OPERATIONS[name](X[:batch]), rtol=1e-6)


def test_scattered_rows():
    got = array.scatter_rows(np.zeros(4, np.float32), np.array([3, 1]), ROWS[:2], 2)
    np.testing.assert_array_equal(got[[3, 1]], ROWS[:2])
    assert np.isnan(got[[0, 2]]).all()


FLOATS = st.floats(-1e9, 1e9, width=32)


@given(FLOATS, FLOATS)
def test_two_sum_loses_nothing(a, b):
    total, rest = array.two_sum(np.float32(a), np.float32(b))
    assert total == np.float32(a) + np.float32(b)
    assert float(total) + float(rest) == float(np.float32(a)) + float(np.float32(b))
