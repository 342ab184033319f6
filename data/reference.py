"""How readings and prognoses were distributed on the machines a model learned from: `reference.json` in its bundle.

Drift is judged against it. Kept are counts per machine and window of time, so that whoever judges knows how much
machines and times differ among themselves. This module is what both sides share: which variables there are, how values
are counted, the file. Training makes it (`training.reference`), the centre compares with it (`serving.drift`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

FILE = "reference.json"
FORMAT = 1
BINS = 10  # of a variable that is measured, with equal shares of the reference
RECEIVED = "received"  # of a channel: in range, missing, out of range
MEASURED = ("health", "rul", "failure_probability", "anomaly_score")
COUNTED = {"alarm": (0.5, 1.5, 2.5), "unfamiliar": (0.5,)}  # output → edges
OUTPUTS = (*MEASURED, *COUNTED)

Kind = Literal["reading", "received", "prognosis"]
Counts = Mapping[str, np.ndarray]  # variable → int64[bins]


@dataclass(frozen=True)
class Variable:
    """Bin i holds edges[i−1] ≤ value < edges[i]; the first and the last bin are open."""

    name: str  # a channel, "<channel> received", or an output of the graph
    kind: Kind
    edges: tuple[float, ...]

    @property
    def bins(self) -> int:
        return len(self.edges) + 1

    def count(self, values: np.ndarray) -> np.ndarray:
        """int64[bins]; values that are not finite are not counted."""
        values = values[np.isfinite(values)]
        return np.bincount(np.searchsorted(self.edges, values, side="right"), minlength=self.bins)


@dataclass(frozen=True)
class Reference:
    """`counts`: variable → int64[machines, windows, bins], zeros where there is no such window.

    `window` is in the time unit of the class.
    """

    window: float
    machines: tuple[str, ...]
    variables: tuple[Variable, ...]
    counts: Counts

    def dump(self) -> bytes:
        content = {
            "format": FORMAT,
            "window": self.window,
            "machines": self.machines,
            "variables": [{"name": v.name, "kind": v.kind, "edges": v.edges} for v in self.variables],
            "counts": {v.name: self.counts[v.name].tolist() for v in self.variables},
        }
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def load(text: bytes) -> Reference:
    """`ValueError` for what is no reference, or one of a later format."""
    content = json.loads(text)
    if content.get("format") != FORMAT:
        raise ValueError(f"its format is {content.get('format')!r}, this version of overhaul reads {FORMAT}")
    try:
        variables = tuple(Variable(v["name"], v["kind"], tuple(v["edges"])) for v in content["variables"])
        counts = {v.name: np.array(content["counts"][v.name], np.int64) for v in variables}
        reference = Reference(float(content["window"]), tuple(content["machines"]), variables, counts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not complete: {error}") from error
    for variable in variables:
        shape = counts[variable.name].shape
        if len(shape) != 3 or (shape[0], shape[2]) != (len(reference.machines), variable.bins):
            raise ValueError(f"the counts of '{variable.name}' have shape {shape}")
    return reference


def measured(name: str, kind: Kind, values: np.ndarray) -> Variable:
    """A variable with bins of equal shares of `values`. One that hardly varies gets bins below, at and above."""
    known = values[np.isfinite(values)].astype(np.float32)
    shares = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, shares, method="inverted_cdf")) if known.size else np.zeros(1, np.float32)
    if len(edges) < 3:
        edges = np.unique([edges, np.nextafter(edges, np.float32(np.inf))])
    return Variable(name, kind, tuple(edges.astype(np.float64).tolist()))


def received(channel: str) -> Variable:
    return Variable(f"{channel} {RECEIVED}", "received", (0.5, 1.5))


def counted(output: str) -> Variable:
    return Variable(output, "prognosis", COUNTED[output])


def split_readings(readings: np.ndarray, ranges: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """f32[T,C] → the values that are in range, others NaN; and 0 in range, 1 missing, 2 out of range."""
    limits = np.array(ranges, np.float64).reshape(-1, 2)
    missing = np.isnan(readings)
    with np.errstate(invalid="ignore"):
        outside = (readings < limits[:, 0]) | (readings > limits[:, 1])
    return np.where(outside, np.float32(np.nan), readings), np.where(missing, 1, np.where(outside, 2, 0))


def count_readings(
    variables: Mapping[str, Variable], channels: Sequence[str], values: np.ndarray, how: np.ndarray
) -> Counts:
    """Of the rows that `split_readings` has split."""
    counts: dict[str, Any] = {}
    for column, channel in enumerate(channels):
        counts[channel] = variables[channel].count(values[:, column])
        name = f"{channel} {RECEIVED}"
        counts[name] = variables[name].count(how[:, column].astype(np.float64))
    return counts


def count_prognoses(variables: Mapping[str, Variable], outputs: Mapping[str, np.ndarray]) -> Counts:
    """Of rows after the warm-up: before it a prognosis says little of the machine."""
    warm = outputs["warming_up"] <= 0
    return {name: variables[name].count(outputs[name][warm]) for name in OUTPUTS}
