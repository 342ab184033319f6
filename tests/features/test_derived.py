"""Formulas of derived channels are arithmetic and nothing else."""

import ndonnx as ndx
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.derived import evaluate, names_in

VALUES = {"flow": np.float32([300, 30, 0]), "head": np.float32([4, -2, 0]), "rated": np.float32([2, 2, 2])}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("flow * head / 600", [2, -0.1, 0]),
        ("flow - head - 1", [295, 31, -1]),
        ("flow / head / 2", [37.5, -7.5, np.nan]),
        ("-head ** 2 + 3", [-13, -1, 3]),
        ("(-head) ** 2", [16, 4, 0]),
        ("2 ** head", [16, 0.25, 1]),
        ("sqrt(head)", [2, np.nan, 0]),
        ("log(exp(head))", [4, -2, 0]),
        ("abs(head) / rated", [2, 1, 0]),
        ("sqrt(2 * 8) * rated", [8, 8, 8]),
    ],
)
def test_formulas(formula, value):
    with np.errstate(all="ignore"):
        got = evaluate(formula, VALUES)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.float32(value), rtol=1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        "flow.real",
        "flow[0]",
        "__import__('os')",
        "max(flow, head)",
        "sqrt(flow, head)",
        "sqrt(x=flow)",
        "flow.sqrt(2)",
        "flow if head else rated",
        "flow > head",
        "flow and head",
        "lambda: flow",
        "[flow]",
        "'flow' * 2",
        "flow // 2",
        "flow % 2",
        "flow @ head",
        "~flow",
        "(flow := 3)",
        "2j * flow",
    ],
)
def test_what_is_not_arithmetic_is_refused_by_name(formula):
    with pytest.raises(ValueError, match="is not arithmetic"):
        evaluate(formula, VALUES)


def test_names():
    assert names_in("sqrt(flow) * (head - 1) ** rated / flow") == {"flow", "head", "rated"}


ATOMS = st.sampled_from(["flow", "head", "rated", "2", "0.5"])
FORMULAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("{}({})".format, st.sampled_from(["sqrt", "abs", "log"]), inner),
    ),
    max_leaves=6,
)


@given(FORMULAS)
@settings(max_examples=25, deadline=None)
def test_the_graph_computes_what_numpy_computes(formula):
    formula = f"flow * 0 + {formula}"
    traced = {name: ndx.argument(shape=("B",), dtype=ndx.float32) for name in VALUES}
    model = ndx.build(traced, {"y": evaluate(formula, traced)})
    model.ir_version = 10
    (said,) = onnxruntime.InferenceSession(model.SerializeToString()).run(
        None, {i.name: VALUES[i.name] for i in model.graph.input}
    )
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(said, evaluate(formula, VALUES), rtol=1e-5)
