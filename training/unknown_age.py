"""Held-out machines as if they had been connected without anybody knowing their age.

The records of a class with `age: optional` mostly begin with new machines: streamed as they are, they would leave the
head that does without age unproven. What the models say of such a machine stands in predictions.parquet, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from edge_runtime.contract.event import Event
from edge_runtime.replay import Series
from features.history import History

PREFIX = "unknown_age."  # of the columns of predictions.parquet


def stripped(whole: History) -> History:
    """The first life of each machine, its age and its beginning withheld."""
    return replace(whole, series={asset: _Stripped(whole, asset) for asset in whole.assets})


def of_first_lives(predictions: pd.DataFrame) -> pd.DataFrame:
    """What the models say of the rows of `stripped` machines: `predictions`, with the columns PREFIX in their place."""
    own = predictions[predictions.life == 0]
    said = own.filter(regex=f"^{PREFIX}")
    return own.assign(**{name.removeprefix(PREFIX): said[name] for name in said})


@dataclass(frozen=True)
class _Stripped:
    """One machine, read anew each time."""

    whole: History
    asset: str

    def __iter__(self) -> Iterator[Series]:
        row = 0
        for part in self.whole.series[self.asset]:
            begins = np.flatnonzero((part.event == Event.NEW_LIFE) & (row + np.arange(len(part.time)) > 0))
            own = part.part(0, int(begins[0])) if len(begins) else part
            event = np.where(own.event == Event.NEW_LIFE, np.float32(Event.NONE), own.event)
            yield replace(own, event=event, age=np.full(len(own.time), np.nan, np.float32))
            if len(begins):
                return
            row += len(part.time)
