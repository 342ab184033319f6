"""How far a figure would move with other machines: the bootstrap over machines (Efron 1979; Davison & Hinkley 1997).

Rows of one machine know each other, so machines are drawn, with replacement, and all their rows with them. The ends are
percentiles of the resampled figure. `ci.<name>` is the interval of the figure `<name>`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.measures.figures import Figures

RESAMPLES, LEVEL, SEED = 1000, 0.95, 7
ONE = "one machine: nothing to draw from"
ALIKE = "all draws of machines give the same: how far others would move it is not known"


@dataclass(frozen=True)
class Resampling:
    """RESAMPLES draws of as many machines as there are: how often each is in a draw."""

    machine: np.ndarray  # int[R], the machine of each row
    draws: np.ndarray  # f64[RESAMPLES, machines]

    @classmethod
    def of(cls, asset: Sequence[str] | np.ndarray) -> Resampling:
        names, machine = np.unique(np.asarray(asset, dtype=str), return_inverse=True)
        if not len(names):
            return cls(machine, np.zeros((RESAMPLES, 0)))
        draws = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        return cls(machine, draws.astype(np.float64))

    @property
    def machines(self) -> int:
        return self.draws.shape[1]

    def total(self, x: np.ndarray) -> np.ndarray:
        """f64[RESAMPLES]: the sum of x[R]."""
        return self.draws @ np.bincount(self.machine, x, minlength=self.machines)

    def mean(self, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """f64[RESAMPLES]: the weighted mean of x[R]; NaN where a draw has no weight."""
        weight = np.ones(len(x)) if weight is None else weight
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total(x * weight) / self.total(weight)

    def each(self, statistic: Callable[[np.ndarray], float | None]) -> np.ndarray:
        """f64[RESAMPLES]: `statistic`, of how often each row is drawn f64[R]; NaN where it is None."""
        values = [statistic(times[self.machine]) for times in self.draws]
        return np.array([np.nan if value is None else value for value in values])


def bounds(values: np.ndarray) -> list[float] | None:
    """The middle LEVEL of resampled `values`; None when most of them are unknown (NaN).

    >>> [round(end, 6) for end in bounds(np.arange(101.0))]
    [2.5, 97.5]
    """
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def put(figures: Figures, name: str, machines: int, values: np.ndarray, reason: str) -> None:
    """Set `ci.<name>` from the resampled `values`; null for one machine, where most draws know nothing (`reason`), and
    where all draws are the same: that no machine differs does not mean that none could.
    """
    found = bounds(values) if machines > 1 else None
    if found is not None and found[0] == found[1]:
        found, reason = None, ALIKE
    figures.set(f"ci.{name}", found, ONE if machines == 1 else reason)


def put_share(figures: Figures, name: str, machines: int, values: np.ndarray, reason: str) -> None:
    """The same for a share of machines or of their rows. Where it is 0 or 1 in all draws, the exact binomial interval
    of so many machines takes over (Clopper & Pearson 1934): 5 of 5 is no certainty.
    """
    found = bounds(values) if machines > 1 else None
    if found is None or found[0] != found[1] or found[0] not in (0.0, 1.0):
        put(figures, name, machines, values, reason)
        return
    far = ((1 - LEVEL) / 2) ** (1 / machines)
    figures.set(f"ci.{name}", [far, 1.0] if found[0] else [0.0, 1 - far])


def put_rate(figures: Figures, name: str, machines: int, values: np.ndarray, exposure: float, reason: str) -> None:
    """The same for a rate of events in `exposure`. Where there was none, its upper end is the exact one of a Poisson
    process (the "rule of three", at this level of four): no event seen is not no event ever.
    """
    found = bounds(values) if machines > 1 else None
    if found == [0.0, 0.0] and exposure > 0:
        figures.set(f"ci.{name}", [0.0, float(-np.log((1 - LEVEL) / 2) / exposure)])
    else:
        put(figures, name, machines, values, reason)
