"""A twin as it was at a past moment: the nearest earlier snapshot, and what was observed since, through the bundle of
that time.

    … snapshot(term, number) ── observation ── observation ──▶ state at the moment ──▶ next snapshot
                                                                                       (does it come out the same?)

The twin of the moment is that of its newest owner. A term that begins with observation 1 began from nothing; one that
begins with a later number went on from the state that an older term had after the number before.

What was is reproduced or refused, never guessed: a gap in what is stored, a bundle that is not served any more, or a
snapshot of a waveform that went through the graph and was not kept each end in a `RequestError` that says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import F32, Array
from edge_runtime.step import STATE_OUT
from serving.database.queries import Asset
from serving.database.tables import models, observations, ownerships, states
from serving.errors import RequestError
from serving.models.served import Served
from serving.twins.replaying import FindServed, Key, Replay

FARTHEST = 2000  # observations to the next snapshot, if it is to be checked by that


@dataclass(frozen=True)
class Check:
    """Replayed on to the next snapshot that is stored: how far the two are apart. 0: equal bit by bit.

    Beyond 1 the difference is relative, as in a bundle's self-test; `tolerance` is the bundle's.
    """

    term: int
    number: int
    difference: float
    tolerance: float


@dataclass(frozen=True, eq=False)
class Past:
    """`state` f32[S] of the twin after observation `key` at `t`, under `served`.

    `start`: the snapshot it was replayed from, None: from nothing. `outputs`: of the last observation that was
    replayed, empty if none was.
    """

    served: Served
    key: Key
    t: int
    state: F32
    start: Key | None
    replayed: int
    outputs: dict[str, Array]
    check: Check | None
    notes: tuple[str, ...]


def state_at(connection: Connection, asset: Asset, t: int, find: FindServed) -> Past:
    """The twin of `asset` at source time `t`, nanos."""
    key = _key_at(connection, asset, t)
    replay = Replay(connection, asset, find)
    replay.go_to(key)
    fleet = replay.fleet
    past = Past(
        replay.served,
        key,
        int(fleet.time[0]),
        fleet.state[0].copy(),
        replay.start,
        replay.count,
        dict(replay.outputs),
        None,
        tuple(replay.notes()),
    )
    return _checked(connection, asset, past, replay) if past.replayed else past


def _key_at(connection: Connection, asset: Asset, t: int) -> Key:
    """The last observation, or snapshot, at or before `t`, of the newest owner that had begun by then."""
    terms = connection.execute(
        select(ownerships.c.term).where(ownerships.c.asset == asset.id).order_by(ownerships.c.term.desc())
    ).scalars()
    for term in terms.all():
        numbers = []
        for table in (observations, states):
            own = (table.c.asset == asset.id, table.c.term == term)
            first = connection.execute(select(table.c.t).where(*own).order_by(table.c.number).limit(1)).scalar()
            if first is not None and first <= t:
                last = select(table.c.number).where(*own, table.c.t <= t).order_by(table.c.t.desc()).limit(1)
                numbers.append(connection.execute(last).scalar_one())
        if numbers:
            return Key(term, max(numbers))
    raise RequestError(
        "unknown_moment", f"nothing is stored of asset '{asset.name}' at or before this time: ask for a later one", "t"
    )


def _checked(connection: Connection, asset: Asset, past: Past, replay: Replay) -> Past:
    """Replayed on to the next snapshot, where there is one that can be reached."""
    key, table = past.key, states.c
    following = (table.asset == asset.id, table.term == key.term, table.number >= key.number)
    query = select(table.number, table.body).join(models, models.c.id == table.model)
    row = connection.execute(
        query.where(*following, models.c.model_id == past.served.model_id).order_by(table.number).limit(1)
    ).first()
    if row is None or row.number - key.number > FARTHEST:
        return past
    try:
        replay.follow(key.term, key.number, row.number)
    except RequestError:  # there is nothing to check it by
        return past
    if replay.served is not past.served:
        return past
    difference = _difference(replay.fleet.state[0], np.frombuffer(row.body, "<f4"))
    tolerance = past.served.contract.tolerance.get(past.served.bundle.step.provider, {}).get(STATE_OUT, 0.0)
    notes = past.notes
    if difference > tolerance:
        notes = (
            *notes,
            f"replayed on to the snapshot after observation {row.number}, it differs by {difference:.3g}: the "
            "gateway ran with other settings, or has seen what is not stored: do not rely on this state",
        )
    return replace(past, check=Check(key.term, row.number, difference, tolerance), notes=notes)


def _difference(got: F32, stored: F32) -> float:
    if got.shape != stored.shape:
        return float("inf")
    if got.tobytes() == np.ascontiguousarray(stored).tobytes():
        return 0.0
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - stored) / np.maximum(1.0, np.abs(stored))
    error[(got == stored) | (np.isnan(got) & np.isnan(stored))] = 0.0
    return float("inf") if np.isnan(error).any() else float(error.max(initial=0.0))
