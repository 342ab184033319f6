"""Timing a call, and what the benchmarks share: one thread, a table, JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

LEAST_CALLS = 5


@dataclass(frozen=True)
class Timing:
    """Of one call, in µs."""

    p50: float
    p99: float
    calls: int
    extrapolated: bool = False  # from fewer machines

    def times(self, factor: float) -> Timing:
        """The same for `factor` times the work, each piece done after the other."""
        return Timing(self.p50 * factor, self.p99 * factor, self.calls, self.extrapolated or factor != 1)


def timed(call: Callable[[], Any], budget: float) -> Timing:
    """Call again and again for `budget` seconds, after a first call that does not count."""
    call()
    calls = []
    end = time.perf_counter() + budget
    while len(calls) < LEAST_CALLS or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        calls.append(time.perf_counter() - began)
    p50, p99 = np.percentile(np.array(calls) * 1e6, (50, 99))
    return Timing(float(p50), float(p99), len(calls))


def single_threaded() -> None:
    """One thread for all libraries that look at the environment; to be called before they are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def about(*libraries: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{name: import_module(name).__version__ for name in libraries},
    }


def duration(microseconds: float) -> str:
    """Three digits and a unit.

    >>> duration(46.04), duration(135_000), duration(2.5e6)
    ('46 µs', '135 ms', '2.5 s')
    """
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write(path: Path | None, result: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
