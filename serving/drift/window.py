"""What a fleet measured and was told lately, counted in the bins of a model's reference, a machine at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from sqlalchemy import Connection, func, select

from data import reference
from data.reference import Reference
from edge_runtime.arrays import I64
from edge_runtime.manifest import Contract
from serving.database import queries
from serving.database.queries import Asset
from serving.database.tables import models, observations

FEWEST_ROWS = 10  # observations of a model in the window, for a machine to count
PIECES = 16  # in which a window is read: fast machines have many rows in it
SILENT = 30 * 86_400_000_000_000  # nanos; machines whose times are cycles: not heard for so long before the newest

Counted = dict[str, I64]  # variable → int64[bins]


def window_end(connection: Connection, machines: Sequence[Asset], cycles: bool) -> dict[int, int]:
    """Machine → where its window ends, just after the newest observation: of all machines; of cycles, its own.

    Machines without observations are left out.
    """
    mine = observations.c
    own = mine.asset.in_([asset.id for asset in machines])
    query = select(mine.asset, func.max(mine.t), func.max(mine.t_rx)).where(own).group_by(mine.asset)
    newest = {asset: (t, t_rx) for asset, t, t_rx in connection.execute(query)}
    if cycles:
        heard = max((t_rx for _, t_rx in newest.values()), default=0)
        return {asset: t + 1 for asset, (t, t_rx) in newest.items() if heard - t_rx <= SILENT}
    last = max((t for t, _ in newest.values()), default=0)
    return dict.fromkeys(newest, last + 1)


def count_machine(
    connection: Connection, asset: int, model_id: str, contract: Contract, of: Reference, end: int
) -> Counted | None:
    """Rows of `model_id` in the window that ends at `end`; None: too few of them."""
    variables = {variable.name: variable for variable in of.variables}
    counts = {variable.name: np.zeros(variable.bins, np.int64) for variable in of.variables}
    channels = [channel.name for channel in contract.channels]
    ranges = [channel.range for channel in contract.channels]
    rows = 0
    for start, stop in _pieces(end - int(of.window * 1e9), end):
        for seen in queries.read_observations(connection, asset, start, stop):
            if seen.model_id == model_id and seen.channels == tuple(channels):
                values, how = reference.split_readings(seen.readings, ranges)
                _add(counts, reference.count_readings(variables, channels, values, how))
                rows += len(seen.keys)
        for said in queries.read_prognoses(connection, asset, start, stop):
            if said.model_id == model_id:
                _add(counts, reference.count_prognoses(variables, said.outputs))
    return counts if rows >= FEWEST_ROWS else None


def models_of(connection: Connection, asset: int, start: int, end: int) -> set[str]:
    """The models that a machine's rows in [start, end) are of."""
    mine, known = observations.c, models.c
    query = select(known.model_id).join_from(observations, models, mine.model == known.id)
    within = mine.asset == asset, mine.t >= start, mine.t < end
    return set(connection.execute(query.where(*within).distinct()).scalars())


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(start + (end - start) * piece // PIECES for piece in range(PIECES + 1))


def _add(counts: Counted, more: reference.Counts) -> None:
    for name, count in more.items():
        counts[name] += count
