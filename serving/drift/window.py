"""What a fleet measured and was told lately, counted in the bins of a model's reference, a machine at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from sqlalchemy import Connection, select

from data import reference
from data.reference import Reference
from edge_runtime.arrays import I64
from edge_runtime.manifest import Contract
from serving.database import queries
from serving.database.queries import Asset
from serving.database.tables import models, observations

FEWEST_ROWS = 10  # observations of a model in the window, for a machine to count
PIECES = 16  # in which a window is read: fast machines have many rows in it
COVERED = 0.75  # of the window, from a machine's first row in it to its last, at least: references are of whole ones

Counted = dict[str, I64]  # variable → int64[bins]


def window_ends(connection: Connection, machines: Sequence[Asset], silent: int, now: int) -> dict[int, int]:
    """Machine → where its own window ends: just after its newest observation, whenever that was on its clock.

    Left out are machines without any, and those not heard for `silent` nanos before the one heard last. When that was
    is told by gateways: one whose clock was ahead of ours (`now`, UTC nanos) must not make all others silent.
    """
    mine = observations.c
    found: dict[int, tuple[int, int]] = {}
    for asset in machines:
        query = select(mine.t, mine.t_rx).where(mine.asset == asset.id)
        row = connection.execute(query.order_by(mine.t.desc(), mine.term.desc(), mine.number.desc()).limit(1)).first()
        if row is not None:
            found[asset.id] = int(row[0]), int(row[1])  # Row.t is something else
    heard = min(max((t_rx for _, t_rx in found.values()), default=0), now)
    return {asset: t + 1 for asset, (t, t_rx) in found.items() if heard - t_rx <= silent}


def count_machine(
    connection: Connection, asset: int, model_id: str, contract: Contract, of: Reference, end: int
) -> Counted | None:
    """Rows of `model_id` in the window that ends at `end`; None: too few of them, or over too short a time."""
    variables = {variable.name: variable for variable in of.variables}
    counts = {variable.name: np.zeros(variable.bins, np.int64) for variable in of.variables}
    channels = [channel.name for channel in contract.channels]
    ranges = [channel.range for channel in contract.channels]
    rows, first, last = 0, end, end
    for start, stop in _pieces(end - int(of.window * 1e9), end):
        for seen in queries.read_observations(connection, asset, start, stop):
            if seen.model_id == model_id and seen.channels == tuple(channels):
                values, how = reference.split_readings(seen.readings, ranges)
                _add(counts, reference.count_readings(variables, channels, values, how))
                rows += len(seen.keys)
                first, last = min(first, int(seen.keys.t[0])), int(seen.keys.t[-1])
        for said in queries.read_prognoses(connection, asset, start, stop):
            if said.model_id == model_id:
                _add(counts, reference.count_prognoses(variables, said.outputs))
    return counts if rows >= FEWEST_ROWS and last - first >= COVERED * of.window * 1e9 else None


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
