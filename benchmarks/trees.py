"""Boosted trees and isolation forest as `TreeEnsembleRegressor` against the libraries that trained them.

python -m benchmarks.trees

Models are trained on random data, in the size of a twin's; what a tree costs depends on its size, not on its sense.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import measure
from benchmarks.measure import timed

if TYPE_CHECKING:
    from training.trees import Trees

BATCHES = (1, 10, 100, 1000, 10_000)
TRAINING_ROWS = 20_000
ONE, SEPARATE = "onnxruntime, one operator for all", "onnxruntime, one operator each"


def run(batches: list[int], trees: int, features: int, budget: float) -> dict[str, Any]:
    """Timings in µs by batch. Two boosted ensembles (with age and without) and a forest, as in a twin."""
    import xgboost

    from training import isolation_forest, xgboost_model
    from training.trees import Trees

    rng = np.random.default_rng(0)
    X = rng.normal(size=(max(TRAINING_ROWS, *batches), features)).astype(np.float32)
    y = (X[:, 0] + np.abs(X[:, 1]) + rng.normal(size=len(X))).astype(np.float32)
    params = xgboost_model.XgboostParams(trees=trees, min_child_weight=20)
    boosters = [xgboost_model.fit(X, y * sign, np.ones_like(y), params) for sign in (1, -1)]
    forest = isolation_forest.fit(X[:2000], isolation_forest.IsolationForestParams())
    parts = [Trees.from_xgboost(booster, range(features)) for booster in boosters]
    parts.append(Trees.from_isolation_forest(forest, range(features)))
    whole = Trees.join(parts)
    booster = boosters[0]
    booster.set_param({"nthread": 1})
    timings = {}
    for batch in batches:
        x = np.ascontiguousarray(X[:batch])
        calls: dict[str, Callable[[], Any]] = {
            "xgboost: onnxruntime": session([parts[0]], x),
            "xgboost: inplace_predict": lambda x=x: booster.inplace_predict(x),
            "xgboost: predict(DMatrix)": lambda x=x: booster.predict(xgboost.DMatrix(x, nthread=1)),
            "isolation forest: onnxruntime": session([parts[2]], x),
            "isolation forest: score_samples": lambda x=x: forest.score_samples(x),
            ONE: session([whole], x),
            SEPARATE: session(whole.separate(), x),
        }
        timings[str(batch)] = {name: timed(call, budget).p50 for name, call in calls.items()}
    return {
        "trees": trees,
        "features": features,
        **measure.about("onnxruntime", "xgboost", "sklearn"),
        "p50_us": timings,
    }


def session(ensembles: list[Trees], x: np.ndarray) -> Callable[[], Any]:
    """Run the operators, one for each of `ensembles`, on x[B, F]."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("TreeEnsembleRegressor", ["x"], [f"y{i}"], domain="ai.onnx.ml", **each.attributes())
        for i, each in enumerate(ensembles)
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", x.shape[1]])]
    outputs = [
        helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["B", each.n_targets])
        for i, each in enumerate(ensembles)
    ]
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 21)]
    model = helper.make_model(helper.make_graph(nodes, "trees", inputs, outputs), opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    opened = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: opened.run(None, {"x": x})


def report(result: dict[str, Any]) -> str:
    batches = list(result["p50_us"])
    names = list(result["p50_us"][batches[0]])
    rows = [[name, *(measure.duration(result["p50_us"][b][name]) for b in batches)] for name in names]
    return (
        f"{result['trees']} boosted trees and 100 isolation trees on {result['features']} features, one thread, "
        f"time of a call (p50)\n\n" + measure.table(["rows in a call", *(f"{int(b):,}" for b in batches)], rows)
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=BATCHES, help="in a call")
    parser.add_argument("--trees", type=int, default=400)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds for each figure (0.5)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    measure.single_threaded()
    result = run(list(options.rows), options.trees, options.features, options.budget)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
