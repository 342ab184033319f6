"""History streamed through the feature graph, as the pipeline does: observations a second and the memory it takes.

python -m benchmarks.history                           an hour of 30 machines at 1 Hz, and what a month would take
python -m benchmarks.history --machines 30 --days 30   all of it: 78 million observations
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

DAY = 86_400  # observations at 1 Hz
MONTH = 30 * 30 * DAY  # of 30 machines
CHUNK = 65_536  # observations read at once, as the rows of a row group
PROBE = 200  # observations a machine that tell what the run will take


def asset_class(sensors: int) -> Any:
    """A class at 1 Hz that learns once a minute, of so many sensors."""
    from data.asset_class import AssetClass

    return AssetClass.model_validate(
        {
            "name": "synthetic",
            "title": "Synthetic machine",
            "simulated": True,
            "time": {"unit": "s", "interval": 1, "tick": 60, "max_gap": 600},
            "life": {"unit": "h", "age": "optional", "begins": "new", "ends": "failure"}
            | {"healthy": {"min_remaining": 100}},
            "labels": {"cap": 500, "horizon": 48},
            "channels": {
                f"sensor_{i}": {"quantity": "measured value", "unit": "1", "range": [-100, 100]} for i in range(sensors)
            },
            "source": {"reader": "table", "files": ["synthetic.csv"]},
        }
    )


@dataclass(frozen=True)
class Noise:
    """The readings of one machine, made anew at each reading."""

    seed: int
    observations: int
    sensors: int

    def __iter__(self) -> Iterator[Any]:
        from edge_runtime.replay import Series

        rng = np.random.default_rng(self.seed)
        for start in range(0, self.observations, CHUNK):
            n = min(CHUNK, self.observations - start)
            time = np.arange(start, start + n, dtype=np.int64) * 10**9
            readings = rng.normal(size=(n, self.sensors)).astype(np.float32)
            yield Series(time, readings, np.zeros(n, np.float32), np.full(n, np.nan, np.float32))


def stream(graph: bytes, machines: int, observations: int, sensors: int) -> tuple[float, int]:
    """Stream so many observations of each machine through `graph`: seconds, and rows of features made."""
    from features import history

    assets = [f"m{i}" for i in range(machines)]
    whole = history.History(
        assets=assets,
        rows=dict.fromkeys(assets, observations),
        series={asset: Noise(i, observations, sensors) for i, asset in enumerate(assets)},
        settings=np.zeros((machines, 0), np.float32),
    )
    began = time.perf_counter()
    table = history.run(graph, whole, ["features"])
    return time.perf_counter() - began, len(table.row)


def run(machines: int, days: float, sensors: int) -> dict[str, Any]:
    from features.parameters import unfitted
    from features.step import FeatureStep
    from features.trace import feature_graph

    cls = asset_class(sensors)
    step = FeatureStep(cls, unfitted(tuple(cls.sensors), 0))
    graph = feature_graph(step).SerializeToString()
    observations = max(int(days * DAY), 1)
    probed, _ = stream(graph, machines, min(PROBE, observations), sensors)
    rate = machines * min(PROBE, observations) / probed
    total = machines * observations
    print(
        f"{machines} machines at 1 Hz for {days:g} days: {total:,} observations of {sensors} sensors, "
        f"about {measure.duration(total / rate * 1e6)}"
    )
    seconds, rows = stream(graph, machines, observations, sensors)
    rate = total / seconds
    return {
        "machines": machines,
        "days": days,
        "sensors": sensors,
        "features": len(step.names),
        "observations": total,
        "rows": rows,
        "seconds": seconds,
        "observations_per_s": rate,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "extrapolated_month": {
            "observations": MONTH,
            "minutes": MONTH / rate / 60,
            "feature_table_mb": MONTH / total * rows * len(step.names) * 4 / 2**20,
        },
        **measure.about("onnxruntime", "numpy"),
    }


def report(result: dict[str, Any]) -> str:
    month = result["extrapolated_month"]
    rows = [
        ["observations a second", f"{result['observations_per_s']:,.0f}"],
        ["time", measure.duration(result["seconds"] * 1e6)],
        ["rows of features kept (ticks)", f"{result['rows']:,}"],
        ["peak memory of the process", f"{result['peak_rss_mb']:,.0f} MB"],
        ["EXTRAPOLATED, 30 machine-months at 1 Hz: time", f"{month['minutes']:,.0f} min"],
        ["EXTRAPOLATED, the same: feature table", f"{month['feature_table_mb']:,.0f} MB"],
    ]
    return measure.table([f"{result['features']} features of {result['sensors']} sensors, one thread", ""], rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", type=int, default=30)
    parser.add_argument("--days", type=float, default=1 / 24)
    parser.add_argument("--sensors", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    measure.single_threaded()
    result = run(options.machines, options.days, options.sensors)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
