"""What somebody asks for, once it has been checked: machines of one fleet, with the observations of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.replay import Series
from serving.models.served import Served

Form = Literal["rows", "columns"]


@dataclass(frozen=True, eq=False)
class Ask:
    """`table` holds all observations, machine by machine, of each in order of time: `counts[i]` ≥ 1 of `assets[i]`.

    One table instead of one for each machine: a thousand machines in a request take a tenth of the time. `places[j]`:
    the row in the request of observation j. `settings` f32[M,P], NaN = not given. `every`: a prognosis for each
    observation, not only for the last. `columns`: the answer in columns. `notes`: what the caller should know.
    """

    served: Served
    assets: tuple[str, ...]
    table: Series
    counts: I64
    places: Sequence[int]
    settings: F32
    every: bool = False
    detail: bool = False
    form: Form = "rows"
    notes: list[str] = field(default_factory=list)

    @property
    def observations(self) -> int:
        return len(self.table.time)

    @cached_property
    def once(self) -> bool:
        """Whether there is one observation of each machine."""
        return len(self.counts) == len(self.table.time)

    @cached_property
    def first(self) -> I64:
        """Rows of `table` where machines begin, int64[M]."""
        return self.last - self.counts + 1

    @cached_property
    def last(self) -> I64:
        """Rows of `table` where machines end, int64[M]."""
        last: I64 = np.cumsum(self.counts) - 1
        return last

    def each(self) -> list[Series]:
        """The observations of each machine."""
        return [self.table.part(a, b + 1) for a, b in zip(self.first.tolist(), self.last.tolist(), strict=True)]

    def where(self, row: int) -> str:
        """The place of an observation of `table` in the request, for messages."""
        return f"{'columns' if self.form == 'columns' else 'observations'}[{self.places[row]}]"
