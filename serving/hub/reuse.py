"""Numbers given twice: a gateway that lost its journal counts the observations of its machines from 1 again.

What it sends has keys that are here already, with other times. It is new, and would be taken for a repetition: it is
put away instead, with what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, Table, select

from edge_runtime.contract.rows import Observations, Prognoses
from serving.database.tables import observations, prognoses
from serving.hub.names import Owned
from serving.hub.reading import Dead, Read

REASON = "number_reused"
_TABLES: Mapping[type[Observations | Prognoses], Table] = {Observations: observations, Prognoses: prognoses}


def reused(
    connection: Connection, reads: Sequence[Read], assets: Mapping[str, Owned]
) -> Iterator[tuple[Read, Dead, int]]:
    """Those of `reads`, just stored, that have rows whose key another time had before; why, and how many rows."""
    for read in reads:
        body = None if read.message is None else read.message.body
        if not isinstance(body, Observations | Prognoses):
            continue
        rows, machines = 0, []
        for place, name in enumerate(body.keys.assets):
            own = np.flatnonzero(body.keys.asset == place)
            if len(own) and name in assets:
                different = _different(connection, _TABLES[type(body)], assets[name].id, body, own)
                rows += different
                machines += [name] if different else []
        if rows:
            yield read, Dead(REASON, _detail(machines, rows)), rows


def _different(
    connection: Connection, table: Table, asset: int, body: Observations | Prognoses, rows: np.ndarray
) -> int:
    keys = body.keys
    sent = list(zip(*(column[rows].tolist() for column in (keys.term, keys.number, keys.t)), strict=True))
    terms, numbers = {term for term, *_ in sent}, {number for _, number, _ in sent}
    query = select(table.c.term, table.c.number, table.c.t).where(
        table.c.asset == asset,
        table.c.term.in_(terms),
        table.c.number >= min(numbers),
        table.c.number <= max(numbers),
    )
    stored = {(term, number): t for term, number, t in connection.execute(query)}
    return sum(stored.get((term, number), t) != t for term, number, t in sent)


def _detail(machines: Sequence[str], rows: int) -> str:
    return (
        f"{rows} rows of {', '.join(machines[:5])} have numbers that observations of other times have: the gateway has "
        "lost its journal and counts anew; assign these machines to it once more, or raise their term in its "
        "machines.csv"
    )
