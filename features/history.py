"""The traced step function run over recorded history: the pipeline's feature table.

All machines advance together, streamed from the observations file in bounded memory; only the rows at which a twin
learns (its ticks) are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from data.errors import DataError
from edge_runtime.fleet import Fleet
from edge_runtime.replay import Series, replay
from edge_runtime.step import StepFunction
from features.array import Float32

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """Recorded observations of a fleet: what `features.history` reads. `data.observations` makes it from Parquet."""

    assets: Sequence[str]
    rows: Mapping[str, int]
    series: Mapping[str, Iterable[Series]]  # of each asset, in order of time; can be read more than once
    settings: Float32  # [assets, P], NaN = class default

    @property
    def total(self) -> int:
        return sum(self.rows[asset] for asset in self.assets)


@dataclass(frozen=True)
class Table:
    """Outputs at the kept rows, asset by asset in order of time; `asset` indexes `assets`, `row` an asset's history."""

    assets: Sequence[str]
    asset: Int64  # [R]
    row: Int64  # [R]
    columns: dict[str, Float32]  # name → [R, …]


def run(
    graph: bytes, history: History, wanted: Sequence[str], where: str | None = "tick", label: str = "features"
) -> Table:
    """Outputs `wanted` of `graph` over `history`, at the rows where the output `where` is set (all rows: None).

    Memory grows with the rows kept, not with the observations.
    """
    step = StepFunction(graph, threads=1)
    fleet = Fleet(step, list(history.assets), history.settings)
    parts: dict[str, list[tuple[Int64, dict[str, Float32]]]] = {asset: [] for asset in history.assets}
    with tqdm(total=history.total, desc=label, unit="obs", disable=None, mininterval=1) as progress:
        sources = {asset: _counted(history.series[asset], progress) for asset in history.assets}
        for asset, rows, outputs in replay(fleet, sources, wanted, where):
            parts[asset].append((rows, outputs))
    index = {asset: i for i, asset in enumerate(history.assets)}
    kept = [(index[asset], rows, outputs) for asset in history.assets for rows, outputs in parts[asset]]
    if not kept:
        raise DataError(f"{label}: no observation was kept: the history is empty")
    return Table(
        assets=history.assets,
        asset=np.concatenate([np.full(len(rows), i, np.int64) for i, rows, _ in kept]),
        row=np.concatenate([rows for _, rows, _ in kept]),
        columns={name: np.concatenate([outputs[name] for _, _, outputs in kept]) for name in wanted},
    )


def _counted(series: Iterable[Series], progress: tqdm) -> Iterator[Series]:  # type: ignore[type-arg]
    for part in series:
        yield part
        progress.update(len(part.time))
