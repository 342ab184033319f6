"""Which of two bundles is faster here: measured in turns, so that whatever else the computer does meets both."""

from __future__ import annotations

import os
from collections.abc import Sequence

from edge_runtime.bench import bench
from edge_runtime.bundle import Bundle


def race(bundles: Sequence[Bundle], machines: int, rounds: int) -> list[float]:
    """µs a machine in one call of `machines`: the median of the best round of each bundle.

    The best, since what disturbs only ever slows; each round begins with another bundle, as `overhaul-edge bench` runs.
    """
    best = [float("inf")] * len(bundles)
    for number in range(rounds):
        for place in range(len(bundles)):
            i = (place + number) % len(bundles)
            best[i] = min(best[i], bench(bundles[i], machines)["us_per_machine"])
    return best


def busy() -> str:
    """In words, if more wants to run here than there are processors: then times say little, even the best ones."""
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f"this computer is busy (load {load:.1f} on {processors} processors)" if load > processors else ""
