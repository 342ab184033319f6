"""Drift: the distribution over a fleet's last window against the reference, beyond what chance and machines explain.

Two distances over the bins of the reference: the population stability index (PSI), and the largest difference of the
cumulated shares (KS, the statistic of Kolmogorov and Smirnov). Rows of one machine know each other, so no textbook
p-value holds for either. What is usual is learned from the training machines themselves: again and again some of them,
one window each, are held against all others. A variable's limit is the 99th percentile of that, raised by one factor
for all variables such that in 99 % of the draws *no* variable passes its limit: many variables do not add up to false
alarms (the maximum statistic of Westfall and Young, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.reference import Kind, Reference, Variable
from edge_runtime.arrays import F64, I64

LEVEL = 0.99  # of draws without drift in which nothing is found
DRAWS = 2000
BLOCK = 250  # of them at once
FEWEST = 6  # machines of a reference: fewer tell little of how machines differ
FEWEST_MACHINES = 3  # of a fleet
ENOUGH = 0.5  # of the values that a window of the reference has, for a machine to count: limits are of whole windows
LEAST_PSI = 0.01  # limits are never below: less is of no account, however alike the training machines are
LEAST_KS = 0.02  # as a share of the rows
SMOOTH = 1e-3  # share that an empty bin counts for in PSI
NAMED = 5  # machines, at most


@dataclass(frozen=True)
class Finding:
    """One variable. `now` and `reference`: shares of its bins; `machines`: those without which it would not drift, or,
    where that is many of the fleet (`everywhere`), those that differ most."""

    name: str
    kind: Kind
    psi: float
    psi_limit: float
    ks: float
    ks_limit: float
    drifted: bool
    now: tuple[float, ...]
    reference: tuple[float, ...]
    edges: tuple[float, ...]
    machines: tuple[str, ...] = ()
    everywhere: bool = False


def judge(reference: Reference, fleet: Mapping[str, Mapping[str, I64]]) -> list[Finding]:
    """`fleet`: machine → variable → int64[bins] of its window. Variables that too few of them have are left out."""
    known = {
        variable.name: _known(reference.counts[variable.name], variable, fleet) for variable in reference.variables
    }
    known = {name: counts for name, counts in known.items() if len(counts) >= FEWEST_MACHINES}
    usual = _Usual(reference, {name: len(counts) for name, counts in known.items()})
    return [
        _finding(variable, usual.whole[variable.name], usual.limits[variable.name], known[variable.name])
        for variable in reference.variables
        if variable.name in usual.limits
    ]


def _known(reference: I64, variable: Variable, fleet: Mapping[str, Mapping[str, I64]]) -> dict[str, I64]:
    """Machine → int64[bins], of those that have enough values: a machine that warms up has few prognoses or none."""
    sizes = reference.sum(axis=2)
    least = max(1.0, ENOUGH * float(np.median(sizes[sizes > 0]))) if sizes.any() else 1.0
    own = {machine: np.asarray(counts[variable.name], np.int64) for machine, counts in fleet.items()}
    return {machine: counts for machine, counts in own.items() if counts.sum() >= least}


class _Usual:
    """What the reference says is usual for so many `machines`, by variable: `limits` (PSI, KS) and `whole`, the shares
    of bins."""

    def __init__(self, reference: Reference, machines: Mapping[str, int]) -> None:
        self.whole: dict[str, F64] = {}
        distances: dict[str, tuple[F64, F64]] = {}
        for name in machines:
            counts = reference.counts[name]
            counts = counts[counts.any(axis=(1, 2))]
            if len(counts) >= FEWEST:
                distances[name] = _null(counts, machines[name])
                self.whole[name] = _per_machine(counts).mean(axis=0)
        usual = {name: (max(_high(psi), LEAST_PSI), max(_high(ks), LEAST_KS)) for name, (psi, ks) in distances.items()}
        worst = np.zeros(DRAWS)
        for name, (psi, ks) in distances.items():
            worst = np.maximum(worst, np.maximum(psi / usual[name][0], ks / usual[name][1]))
        factor = max(1.0, _high(worst))
        self.limits = {name: (psi * factor, ks * factor) for name, (psi, ks) in usual.items()}


def _null(counts: I64, machines: int) -> tuple[F64, F64]:
    """PSI and KS f64[DRAWS] of as many machines as there are, one window each, against all others.

    Half of those of the reference at most: more machines than that differ less, and drift is found a little later. The
    draws are always the same, so that a report can be repeated and variables go together as they do.
    """
    random = np.random.default_rng(0)
    n = len(counts)
    usable = counts.sum(axis=2) > 0
    drawn = np.argsort(random.random((DRAWS, n)), axis=1)[:, : min(machines, n // 2)]
    place = (random.random(drawn.shape) * usable.sum(axis=1)[drawn]).astype(np.int64)
    window = np.argsort(~usable, axis=1, kind="stable")[drawn, place]
    shares, whole = _shares(counts), _per_machine(counts)
    psi, ks = np.zeros(DRAWS), np.zeros(DRAWS)
    for at in range(0, DRAWS, BLOCK):
        m, w = drawn[at : at + BLOCK], window[at : at + BLOCK]
        now = shares[m, w].mean(axis=1)
        others = (whole.sum(axis=0) - whole[m].sum(axis=1)) / (n - m.shape[1])
        psi[at : at + BLOCK], ks[at : at + BLOCK] = psi_of(now, others), ks_of(now, others)
    return psi, ks


def _per_machine(counts: I64) -> F64:
    """Shares f64[M,bins] of each machine, its windows counting equally."""
    windows = (counts.sum(axis=2) > 0).sum(axis=1)
    shares: F64 = _shares(counts).sum(axis=1) / windows[:, None]
    return shares


def _shares(counts: I64) -> F64:
    """Of the last axis; zeros where nothing was counted."""
    shares: F64 = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return shares


def _high(values: F64) -> float:
    return float(np.quantile(values, LEVEL))


def psi_of(now: F64, then: F64) -> F64:
    """Population stability index over the last axis."""
    bins = now.shape[-1]
    now, then = ((shares + SMOOTH) / (1 + SMOOTH * bins) for shares in (now, then))
    index: F64 = ((now - then) * np.log(now / then)).sum(axis=-1)
    return index


def ks_of(now: F64, then: F64) -> F64:
    """The largest difference of the cumulated shares over the last axis, at the edges of the bins."""
    largest: F64 = np.abs(np.cumsum(now - then, axis=-1)).max(axis=-1)
    return largest


def _finding(variable: Variable, then: F64, limits: tuple[float, float], known: Mapping[str, I64]) -> Finding:
    """Machines count equally, however many rows they have."""
    own, names = _shares(np.stack(list(known.values()))), list(known)
    now = own.mean(axis=0)
    psi, ks = float(psi_of(now, then)), float(ks_of(now, then))
    drifted = psi > limits[0] or ks > limits[1]
    machines, everywhere = _causes(own, then, limits, names) if drifted else ((), False)
    return Finding(
        name=variable.name,
        kind=variable.kind,
        psi=psi,
        psi_limit=limits[0],
        ks=ks,
        ks_limit=limits[1],
        drifted=drifted,
        now=tuple(np.round(now, 6).tolist()),
        reference=tuple(np.round(then, 6).tolist()),
        edges=variable.edges,
        machines=machines,
        everywhere=everywhere,
    )


def _causes(own: F64, then: F64, limits: tuple[float, float], names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Machines left out one after the other, always the one that matters most, until the rest would not drift."""
    left = list(range(len(names)))
    out: list[str] = []
    while len(left) > 1 and len(out) < max(NAMED, len(names) // 2):
        total = own[left].sum(axis=0)
        without = (total - own[left]) / (len(left) - 1)
        beyond = np.maximum(psi_of(without, then) / limits[0], ks_of(without, then) / limits[1])
        best = int(np.argmin(beyond))
        out.append(names[left.pop(best)])
        if beyond[best] <= 1:
            few = len(out) <= max(1, len(names) // 2) and len(out) <= NAMED
            return tuple(out[:NAMED]), not few
    return tuple(out[:NAMED]), True
