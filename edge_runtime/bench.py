"""How fast a bundle is here: the time of one call that advances a whole fleet."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_runtime.bundle import Bundle

BUDGET = 2.0  # seconds of measuring when the number of steps is not given


def bench(bundle: Bundle, machines: int, steps: int | None = None) -> dict[str, Any]:
    """Advance `machines` for some steps (default: about two seconds); times in µs.

    Readings are drawn from the middle of the channels' ranges: what trees cost depends on the way through them.
    """
    fleet = bundle.fleet([f"m{i}" for i in range(machines)])
    random = np.random.default_rng(0)
    low, high = np.array([channel.range for channel in bundle.contract.channels]).reshape(-1, 2).T
    readings = [
        (low + (high - low) * random.uniform(0.25, 0.75, (machines, len(low)))).astype(np.float32) for _ in range(16)
    ]
    tick = int(bundle.contract.time.tick * 1e9)

    def step(number: int) -> float:
        now = np.full(machines, number * tick, np.int64)
        began = time.perf_counter()
        fleet.advance(slice(None), now, readings[number % len(readings)])
        return time.perf_counter() - began

    warm = [step(number) for number in range(10)]
    if steps is None:
        steps = min(20_000, max(20, int(BUDGET / np.median(warm))))
    calls = np.array([step(number) for number in range(len(warm), len(warm) + steps)]) * 1e6
    p50, p99 = np.percentile(calls, (50, 99))
    return {
        "machines": machines,
        "us_per_machine": round(float(p50) / machines, 3),
        "p50_us": round(float(p50), 1),
        "p99_us": round(float(p99), 1),
        "steps": steps,
        "threads": bundle.step.threads,
        "provider": bundle.step.provider,
        "onnxruntime": ort.__version__,
        "fleet": bundle.contract.fleet,
        "model_id": bundle.model_id,
    }
