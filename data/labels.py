"""What is known, at each observation, of the time to come: the labels the models learn and are measured on.

A life that ended in failure tells its remaining life exactly. A censored life (still running, or repaired before it
failed) tells that the machine lasted at least as long as it was seen: with r units to the end of its record, the
remaining life lies in [r, cap], or is the cap exactly where r reaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.asset_class import AssetClass
from data.lives import Life


@dataclass(frozen=True)
class Labels:
    """Labels of R rows, in the unit of life."""

    rul: np.ndarray  # f64, remaining useful life, uncapped; NaN = unknown
    lower: np.ndarray  # f64, the capped remaining life lies in [lower, upper]
    upper: np.ndarray  # f64
    exact: np.ndarray  # bool, lower == upper
    failed_within: np.ndarray  # f64, 1 = fails within the horizon, 0 = does not, NaN = unknown
    healthy: np.ndarray  # bool, known to be healthy in the sense of the class


def label(
    cls: AssetClass,
    lives: Sequence[Life],
    asset: str | np.ndarray,
    life: np.ndarray,
    time: np.ndarray,
    age: np.ndarray | None = None,
) -> Labels:
    """Labels of rows given by `asset` (one, or R of them), `life` int[R], `time` int64[R] nanos.

    `age` f64[R] is used where the class limits the age of healthy machines; rows of unknown age are not healthy then.
    """
    index = pd.MultiIndex.from_tuples([(each.asset, each.life) for each in lives])
    which = index.get_indexer(pd.MultiIndex.from_arrays([np.broadcast_to(asset, np.shape(life)), life]))
    if (which < 0).any():
        row = int(np.flatnonzero(which < 0)[0])
        raise ValueError(f"row {row}: no life {life[row]} of asset {np.broadcast_to(asset, np.shape(life))[row]}")
    end = np.array([each.end for each in lives], dtype=np.int64)[which]
    failed = np.array([each.kind == "failure" for each in lives])[which]
    seen = (end - time) / 1e9 / cls.time_units_per_life_unit  # to the failure, or as long as it lasted at least
    cap, horizon = cls.labels.cap, cls.labels.horizon

    lower = np.minimum(seen, cap)
    upper = np.where(failed, lower, cap)
    healthy = seen >= cls.life.healthy.min_remaining
    if cls.life.healthy.max_age is not None:
        healthy &= np.full(seen.shape, False) if age is None else age <= cls.life.healthy.max_age
    return Labels(
        rul=np.where(failed, seen, np.nan),
        lower=lower,
        upper=upper,
        exact=lower == upper,
        failed_within=np.where(failed, seen <= horizon, np.where(seen >= horizon, 0.0, np.nan)),
        healthy=healthy,
    )
