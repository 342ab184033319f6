"""α-λ accuracy and prognostic horizon: whether a prognosis is right early enough to act on.

After Saxena, Celaya, Saha, Saha & Goebel, "Metrics for offline evaluation of prognostic performance", International
Journal of Prognostics and Health Management 1 (2010). A prognosis begins with the first row after warm-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
import pandas as pd

ALPHA = 0.2
LAMBDAS = (0.5, 0.75, 0.9)  # shares of the way from the first prognosis to the failure


@dataclass(frozen=True)
class OneLife:
    """A life whose failure is known, after warm-up; rows in order of time, in the unit of life."""

    asset: str
    left: np.ndarray  # f64[T], true remaining life, falling
    label: np.ndarray  # f64[T], the same, capped
    said: np.ndarray  # f64[T]

    def at(self, share: float, tick: float) -> int | None:
        """The row that holds at `share` of the way to the failure; None where the record ends over a tick before."""
        until = (1 - share) * self.left[0]
        if self.left[-1] - until > tick * (1 + 1e-9):
            return None
        return int(np.flatnonzero(self.left >= until - 1e-9 * self.left[0])[-1])


def lives(rows: pd.DataFrame) -> list[OneLife]:
    """The lives in `rows` whose failure is known."""
    known = rows[rows.warm & rows.true_rul.notna()]
    return [
        OneLife(str(asset), *(own[name].to_numpy(np.float64) for name in ("true_rul", "lower", "rul")))
        for (asset, _), own in known.groupby(["asset", "life"], sort=False)
    ]


def alpha_lambda(life: OneLife, share: float, tick: float, capped: bool) -> bool | None:
    """Whether |predicted − true| ≤ α · true at λ = `share`; None where the record does not reach that far.

    `capped`: the truth is the label, so far from the failure the prognosis must be about the cap.

    >>> life = OneLife("A", *(np.array(x) for x in ([9.0, 6, 3], [5.0, 5, 3], [5.0, 5, 4])))
    >>> alpha_lambda(life, 1 / 3, 3, capped=True), alpha_lambda(life, 1 / 3, 3, capped=False)
    (True, True)
    >>> alpha_lambda(life, 2 / 3, 3, capped=True)  # 4 where 3 are left
    False
    """
    row = life.at(share, tick)
    if row is None:
        return None
    truth = life.label[row] if capped else life.left[row]
    return bool(abs(life.said[row] - truth) <= ALPHA * truth + 1e-9)


def prognostic_horizon(life: OneLife, tick: float, cap: float) -> float | None:
    """Remaining life (capped) from which on the prognosis stays within ± α · cap of the label, up to the failure.

    0 where its last word is outside; None where the record ends more than a tick before the failure. Two choices are
    stricter than theirs: Saxena et al. take the *first* entry into the band, which chance can give, and a band of ± α
    of the whole life, which is wide where lives are much longer than the cap, and unknown of many a machine.

    >>> life = OneLife("A", *(np.array(x) for x in ([9.0, 6, 3, 0], [5.0, 5, 3, 0], [2.0, 5, 3.5, 1])))
    >>> prognostic_horizon(life, tick=1, cap=5)
    5.0
    """
    if life.left[-1] > tick * (1 + 1e-9):
        return None
    outside = np.flatnonzero(np.abs(life.said - life.label) > ALPHA * cap + 1e-9)
    first = int(outside[-1]) + 1 if len(outside) else 0
    return float(life.label[first]) if first < len(life.label) else 0.0


def share_accurate(found: list[OneLife], share: float, tick: float, capped: bool) -> tuple[float | None, int]:
    """α-λ accuracy at λ = `share`: the share of the lives that reach it, and how many do."""
    known = [hit for life in found if (hit := alpha_lambda(life, share, tick, capped)) is not None]
    return (sum(known) / len(known) if known else None), len(known)


def median_horizon(found: list[OneLife], tick: float, cap: float) -> tuple[float | None, int]:
    """Median prognostic horizon of the lives watched up to their failure, and how many those are."""
    known = [reach for life in found if (reach := prognostic_horizon(life, tick, cap)) is not None]
    return (median(known) if known else None), len(known)
