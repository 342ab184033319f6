"""What somebody asks for, once it has been checked: machines of one fleet, with the observations of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_runtime.arrays import F32
from edge_runtime.replay import Series
from serving.models.served import Served

Form = Literal["rows", "columns"]


@dataclass(frozen=True, eq=False)
class Ask:
    """`series[i]` are the observations of machine `assets[i]` (each at least one, in order of time).

    `places[i]`: the row in the request of each of them. `settings` f32[M,P], NaN = not given. `every`: a prognosis for
    each observation, not only for the last. `columns`: the answer in columns. `notes`: what the caller should know.
    """

    served: Served
    assets: tuple[str, ...]
    series: tuple[Series, ...]
    places: tuple[tuple[int, ...], ...]
    settings: F32
    every: bool = False
    detail: bool = False
    form: Form = "rows"
    notes: list[str] = field(default_factory=list)

    @property
    def observations(self) -> int:
        return sum(len(series.time) for series in self.series)

    def where(self, machine: int, step: int) -> str:
        """The place of an observation in the request, for messages."""
        return f"observations[{self.places[machine][step]}]"
