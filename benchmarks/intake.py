"""From decoded messages to batches of observations: the gateway's intake against pandas, which resamples each window.

python -m benchmarks.intake
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import measure

if TYPE_CHECKING:
    from edge_runtime.manifest import Contract
    from edge_runtime.sources.source import Arrival

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND
AGGREGATES = ("last", "mean", "min", "max")
INTAKE, PANDAS = "intake", "pandas"
# (channels, messages of a machine in a window; None: each message is an observation)
CASES = ((24, None), (8, 1), (8, 10), (8, 60))

Messages = list["Arrival"]


class TurnedClock:
    def __init__(self) -> None:
        self.now = START

    def utc(self) -> int:
        return self.now

    def monotonic(self) -> int:
        return self.now


def run(machines: int, messages: int) -> dict[str, Any]:
    """CPU time in µs a message, by case: `messages` from `machines`, each speaks once a second."""
    cases = []
    for channels, per_window in CASES:
        contract = _contract(channels, per_window)
        seconds = max(messages // machines, 2 * (per_window or 1) + 1)
        cost = {}
        for name, way in ((INTAKE, _intake), (PANDAS, _pandas)):
            cpu, observations = _timed(way(contract, machines), _stream(channels, machines, seconds))
            cost[name] = {"us_per_message": cpu / (seconds * machines), "observations": observations}
        ratio = cost[PANDAS]["us_per_message"] / cost[INTAKE]["us_per_message"]
        cases.append({"channels": channels, "per_window": per_window, "ratio": ratio, **cost})
    return {"machines": machines, "messages": messages, "cases": cases, **measure.about("pandas", "numpy")}


def _timed(take: Callable[[int, Messages], int], stream: Iterable[tuple[int, Messages]]) -> tuple[float, int]:
    """µs of CPU of taking in a whole stream, and how many observations it gave."""
    cpu, observations = 0, 0
    for now, messages in stream:
        began = time.process_time_ns()
        observations += take(now, messages)
        cpu += time.process_time_ns() - began
    return cpu / 1000, observations


def _intake(contract: Contract, machines: int) -> Callable[[int, Messages], int]:
    from edge_runtime.intake import Intake

    clock = TurnedClock()
    intake = Intake(contract, _assets(machines), clock, 60 * SECOND)

    def take(now: int, messages: Messages) -> int:
        clock.now = now
        for message in messages:
            intake.add(message)
        intake.take_samples()
        return sum(len(batch.rows) for batch in intake.ready())

    return take


def _pandas(contract: Contract, machines: int) -> Callable[[int, Messages], int]:  # noqa: ARG001
    """Messages gather in a list; when a window is over, pandas resamples it, all machines together."""
    import pandas as pd

    names = [channel.name for channel in contract.channels]
    aggregates = {channel.name: channel.aggregate for channel in contract.channels}
    interval = round(contract.time.interval * SECOND)
    waiting: list[dict[str, Any]] = []

    def take(now: int, messages: Messages) -> int:
        waiting.extend({"asset": one.asset, "time": one.time, **one.values} for one in messages)
        if contract.time.assemble and now % interval:
            return 0
        frame = pd.DataFrame.from_records(waiting)
        waiting.clear()
        if contract.time.assemble:
            frame["time"] = pd.to_datetime(frame["time"])
            windows = pd.Grouper(key="time", freq=f"{interval}ns", closed="right", label="right")
            frame = frame.groupby(["asset", windows]).agg(aggregates)
        return len(frame[names].to_numpy(np.float32))

    return take


def _stream(channels: int, machines: int, seconds: int) -> Iterable[tuple[int, Messages]]:
    """(time, one message of each machine), second by second; every message a dictionary of its own."""
    from edge_runtime.sources.source import Arrival

    values = np.random.default_rng(0).normal(size=(64, channels)).round(3).tolist()
    names = [f"channel_{i}" for i in range(channels)]
    for second in range(1, seconds + 1):
        now = START + second * SECOND
        yield (
            now,
            [
                Arrival(asset, now, dict(zip(names, values[(i + second) % 64], strict=True)), None)  # type: ignore[arg-type]
                for i, asset in enumerate(_assets(machines))
            ],
        )


def _assets(machines: int) -> list[str]:
    return [f"machine-{i:05d}" for i in range(machines)]


def _contract(channels: int, per_window: int | None) -> Contract:
    from edge_runtime import manifest

    kinds = AGGREGATES if per_window else ("last",)
    return manifest.Contract(
        protocol=manifest.PROTOCOL,
        fleet="bench",
        asset_class="bench",
        title="A class to be measured",
        simulated=True,
        time=manifest.Time("s", per_window or 1, 60, 86400, assemble=per_window is not None),
        life=manifest.Life("h", 3600, "optional"),
        labels=manifest.Labels(100, 10),
        channels=tuple(
            manifest.Channel(f"channel_{i}", "", "1", (-10, 10), aggregate=kinds[i % len(kinds)])
            for i in range(channels)
        ),
        derived=(),
        waveforms=(),
        settings=(),
        state=manifest.State(0, ()),
        outputs=(),
        rul_models=(),
        alarms=(),
        health="",
        tolerance={},
    )


def report(result: dict[str, Any]) -> str:
    rows = []
    for case in result["cases"]:
        window = f"{case['per_window']} in a window" if case["per_window"] else "each an observation"
        ours, theirs = (case[name]["us_per_message"] for name in (INTAKE, PANDAS))
        name = f"{case['channels']} channels, {window}"
        rows.append([name, measure.duration(ours), measure.duration(theirs), f"{case['ratio']:.1f}×"])
    head = ["a message has", INTAKE, PANDAS, "ratio"]
    return "\n".join(
        [
            f"{result['machines']} machines, one message a second each; CPU time a message, pandas {result['pandas']}",
            "",
            measure.table(head, rows),
            "",
            "pandas checks no value, no time and no machine, closes windows by the clock alone and keeps no receipts.",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--messages", type=int, default=60_000, help="in all, for each figure (60,000)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    measure.single_threaded()
    result = run(options.machines, options.messages)
    print(report(result))
    measure.write(options.json, result)


if __name__ == "__main__":
    main()
