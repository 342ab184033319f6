"""The whole twin, one `twin.onnx`, against the same models through their own libraries with features made by pandas.

python -m benchmarks.twin [BUNDLE]      default: the first bundle among the artifacts
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.measure import Timing, timed

if TYPE_CHECKING:
    from benchmarks.usual import Usual

MACHINES = (1, 10, 100, 1000, 10_000)
PARTS = ("pandas features", "Keras model(x)", "xgboost inplace_predict", "scikit-learn score_samples")
PREDICT = "Keras model.predict(x)"
USUAL, TWIN = "all four together", "twin.onnx"


def run(bundle: Path, machines: list[int], budget: float, observations: int) -> dict[str, Any]:
    """Timings in µs, by number of machines and what was measured. `budget` in seconds for each of them."""
    from benchmarks.usual import Usual
    from edge_runtime.bundle import Bundle

    twin = Bundle.load(bundle)
    usual = Usual.of(twin.contract.fleet, observations)
    if len(usual.make_features()) != usual.X.shape[1]:
        raise RuntimeError("pandas makes other features than the graph: this benchmark has to follow features/")
    pandas = timed(usual.make_features, budget)
    by_count = {count: {TWIN: _twin(twin, count, budget), **_usual(usual, pandas, count, budget)} for count in machines}
    return {
        "fleet": twin.contract.fleet,
        "model_id": twin.model_id,
        "features": usual.X.shape[1],
        "history": len(usual.history),
        **measure.about("onnxruntime", "keras", "xgboost", "sklearn", "pandas", "numpy"),
        "timings": {
            str(count): {
                name: {"p50_us": t.p50, "p99_us": t.p99, "calls": t.calls, "extrapolated": t.extrapolated}
                | {"us_per_machine": t.p50 / count, "ratio": t.p50 / timings[TWIN].p50}
                for name, t in timings.items()
            }
            for count, timings in by_count.items()
        },
    }


def _twin(twin: Any, count: int, budget: float) -> Timing:
    from edge_runtime.bench import bench

    once = bench(twin, count, steps=5)["p50_us"]
    measured = bench(twin, count, steps=max(20, int(budget * 1e6 / once)))
    return Timing(measured["p50_us"], measured["p99_us"], measured["steps"])


def _usual(usual: Usual, pandas: Timing, count: int, budget: float) -> dict[str, Timing]:
    call, predict = usual.keras_calls(count)
    timings = dict(
        zip(
            PARTS,
            [
                pandas.times(count),
                timed(call, budget),
                timed(usual.xgboost_call(count), budget),
                timed(usual.sklearn_call(count), budget),
            ],
            strict=True,
        )
    )
    parts = list(timings.values())
    total = Timing(sum(t.p50 for t in parts), sum(t.p99 for t in parts), 0, count > 1)
    return timings | {PREDICT: timed(predict, budget), USUAL: total}


def report(result: dict[str, Any]) -> str:
    order = [*PARTS, PREDICT, USUAL, TWIN]
    lines = [
        f"{result['fleet']}: {result['features']} features, one thread, onnxruntime {result['onnxruntime']}; "
        f"pandas keeps {result['history']} observations a machine",
    ]
    for count, timings in result["timings"].items():
        rows = [
            [
                name,
                ("~" if t["extrapolated"] else "") + measure.duration(t["p50_us"]),
                measure.duration(t["p99_us"]),
                measure.duration(t["us_per_machine"]),
                f"{t['ratio']:,.1f}×",
            ]
            for name in order
            for t in [timings[name]]
        ]
        head = [f"{int(count):,} machine" + "s" * (count != "1"), "a call, p50", "p99", "a machine", "of the twin"]
        lines += ["", measure.table(head, rows)]
    lines += [
        "",
        "~ pandas works machine by machine: its time for one, times their number. Together: features, model(x), trees",
        "and forest after each other; cleaning, blend, intervals, alarms and state are the twin's alone.",
    ]
    return "\n".join(lines)


def first_bundle() -> Path:
    found = sorted(Path("artifacts").glob("*/bundle"))
    if not found:
        raise SystemExit("no bundle among the artifacts: run `dvc repro` first, or name one")
    return found[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle that was made here: artifacts/<fleet>/bundle")
    parser.add_argument("--machines", type=int, nargs="+", default=MACHINES)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each figure (1)")
    parser.add_argument("--observations", type=int, default=150, help="that pandas keeps of each machine (150)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    measure.single_threaded()
    result = run(options.bundle or first_bundle(), list(options.machines), options.budget, options.observations)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
