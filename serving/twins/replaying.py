"""One twin brought forward, from a stored snapshot through what is stored since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.errors import StateError
from edge_runtime.fleet import Fleet
from edge_runtime.takeover import Takeover, take_over
from serving.database.queries import Asset, Observed, Reader, Snapshot, spans
from serving.database.tables import models, observations, states, twins
from serving.errors import RequestError
from serving.models.served import Served
from serving.twins.given import Given

MOST = 10_000  # observations that are replayed for one answer

FindServed = Callable[[str], Served | None]


class Key(NamedTuple):
    """The twin after this observation."""

    term: int
    number: int


class _At(NamedTuple):
    served: Served
    fleet: Fleet


class Replay:
    """One twin, brought forward. `start`: the snapshot it began from, None: from nothing; `count`: observations since.

    `outputs`: of the last of these.
    """

    def __init__(self, connection: Connection, asset: Asset, find: FindServed) -> None:
        self._connection, self._asset, self._find = connection, asset, find
        self._given = Given(connection, asset)
        self._at: _At | None = None
        self.start: Key | None = None
        self.outputs: dict[str, Array] = {}
        self.count = 0

    def go_to(self, key: Key) -> None:
        """From the nearest snapshot to `key`.

        When a bundle changes, the next one's snapshot has the number of the last observation, which the one before has
        seen: the twin of that observation is the former's, and the latter's only if that cannot be known any more.
        """
        table = observations.c
        query = select(models.c.model_id).join(observations, models.c.id == table.model)
        mine = (table.asset == self._asset.id, table.term == key.term, table.number == key.number)
        seen_by = self._connection.execute(query.where(*mine)).scalar()
        try:
            self._go(key, seen_by)
        except RequestError:
            after = self._snapshot(key, None)
            if after is None or after.number != key.number or after.model_id == seen_by:
                raise
            self._begin(after)
            self.outputs, self.count = {}, 0

    def _go(self, key: Key, seen_by: str | None) -> None:
        for segment in self._segments(key, seen_by):
            self.follow(*segment)

    @property
    def served(self) -> Served:
        assert self._at is not None
        return self._at.served

    @property
    def fleet(self) -> Fleet:
        """Of this one machine."""
        assert self._at is not None
        return self._at.fleet

    def notes(self) -> list[str]:
        """What the replay could not know."""
        return self._given.notes(self.served.contract)

    # Where to begin.

    def _segments(self, key: Key, seen_by: str | None) -> list[tuple[int, int, int]]:
        """(term, after which number, up to which) one after the other, once the fleet stands where the first begins."""
        found: list[tuple[int, int, int]] = []
        while True:
            snapshot = self._snapshot(key, seen_by)
            if snapshot is not None:
                self._begin(snapshot)
                return [(key.term, snapshot.number, key.number), *found]
            table = observations.c
            first = select(table.number).where(table.asset == self._asset.id, table.term == key.term)
            number = self._connection.execute(first.order_by(table.number).limit(1)).scalar()
            if number is None or number > key.number:
                raise self._lost(key.number, key.number)
            found.insert(0, (key.term, number - 1, key.number))
            if number == 1:
                return found  # from nothing
            key, seen_by = Key(self._older(key.term, number - 1), number - 1), None

    def _snapshot(self, key: Key, seen_by: str | None) -> Snapshot | None:
        """The newest of this term up to this observation, at it only of the bundle `seen_by`, None: of any.

        The centre's own twin is one, too.
        """
        newest: Snapshot | None = None
        for table, body in ((states, states.c.body), (twins, twins.c.state)):
            columns = (models.c.model_id, table.c.t, table.c.term, table.c.number, body.label("body"))
            query = select(*columns).join(models, models.c.id == table.c.model)
            query = query.where(table.c.asset == self._asset.id, table.c.term == key.term, table.c.number <= key.number)
            if seen_by is not None:
                query = query.where((table.c.number < key.number) | (models.c.model_id == seen_by))
            row = self._connection.execute(query.order_by(table.c.number.desc()).limit(1)).first()
            if row is not None and (newest is None or row.number > newest.number):
                newest = Snapshot(self._asset.asset_class, *row[:-1], np.frombuffer(row.body, "<f4"))
        return newest

    def _older(self, term: int, number: int) -> int:
        """The newest term before `term` that had observation `number`: `term` went on from there."""
        found: list[int] = []
        for table in (observations, states):
            query = select(table.c.term).where(
                table.c.asset == self._asset.id, table.c.term < term, table.c.number == number
            )
            found += self._connection.execute(query.order_by(table.c.term.desc()).limit(1)).scalars()
        if not found:
            raise self._lost(number, number)
        return max(found)

    def _begin(self, snapshot: Snapshot) -> None:
        served = self._serve(snapshot.model_id)
        fleet = self._fleet_of(served)
        if snapshot.state.shape != fleet.state.shape[1:]:
            raise RequestError(
                "not_replayable", f"the snapshot after observation {snapshot.number} is no state of its bundle"
            )
        fleet.state = np.array(snapshot.state[None, :], np.float32)
        fleet.time[0], fleet.number[0] = snapshot.t, snapshot.number
        self._at = _At(served, fleet)
        self.start = Key(snapshot.term, snapshot.number)

    # Forward.

    def follow(self, term: int, after: int, upto: int) -> None:
        """Through the observations of a term from `after` (not included) to `upto`."""
        if upto - after + self.count > MOST:
            raise RequestError(
                "not_replayable",
                f"the nearest snapshot lies {upto - after} observations before, more than {MOST}, which is the most: "
                "let the gateway send snapshots more often",
                "t",
            )
        expected = after + 1
        for span in self._observed(term, after, upto):
            self._run_on(self._serve(span.model_id))
            raw = self._given.waveforms(term, span, self.served)
            for at in range(len(span.keys)):
                if span.keys.number[at] != expected:
                    raise self._lost(expected, int(span.keys.number[at]) - 1)
                self._advance(span, at, raw.get(expected, {}))
                expected += 1
        if expected <= upto:
            raise self._lost(expected, upto)

    def _observed(self, term: int, after: int, upto: int) -> Iterator[Observed]:
        table = observations.c
        mine = (table.asset == self._asset.id, table.term == term, table.number > after, table.number <= upto)
        read = Reader(self._connection, "observation", "body")
        query = select(observations).where(*mine).order_by(table.number)
        return map(read.observed, spans(self._connection.execute(query)))

    def _advance(self, span: Observed, at: int, waveforms: dict[str, tuple[F32, I64]]) -> None:
        one = slice(at, at + 1)
        fleet, contract = self.fleet, self.served.contract
        fleet.settings = self._given.settings(int(span.keys.t_rx[at]), contract)
        readings = _columns(span.channels, [channel.name for channel in contract.channels], span.readings[one])
        self.outputs, accepted = fleet.advance(
            slice(None), span.keys.t[one], readings, span.event[one], span.age[one], waveforms
        )
        if not accepted[0]:
            raise RequestError(
                "not_replayable",
                f"observation {span.keys.number[at]} is not after the one before it: what is stored is of two twins",
            )
        fleet.number[0] = span.keys.number[at]
        self.count += 1

    def _run_on(self, served: Served) -> None:
        """Another bundle takes over, or the first begins."""
        before = self._at
        if before is not None and before.served is served:
            return
        new = self._fleet_of(served)
        if before is not None:
            try:
                taken = take_over(before.fleet, before.served.contract, new, served.contract)
            except StateError as error:
                raise RequestError("not_replayable", str(error)) from None
            if taken.anew:
                raise self._changed(before.served, served, taken)
        self._at = _At(served, new)

    def _fleet_of(self, served: Served) -> Fleet:
        return served.bundle.fleet([self._asset.name])

    def _serve(self, model_id: str) -> Served:
        served = self._find(model_id)
        if served is None:
            raise RequestError(
                "unknown_model",
                f"the twin ran on model {model_id} then, which is not served here any more: offer that bundle "
                "again (an alias of its version in the MLflow registry, or its folder under models.folders)",
                "t",
            )
        return served

    def _lost(self, first: int, last: int) -> RequestError:
        which = f"observation {first} is" if first == last else f"observations {first} to {last} are"
        return RequestError(
            "not_replayable",
            f"{which} not stored of asset '{self._asset.name}', and no snapshot lies after: on its way still, "
            "removed by retention, or belongs to an owner before; ask for another moment",
            "t",
        )

    def _changed(self, before: Served, served: Served, taken: Takeover) -> RequestError:
        return RequestError(
            "not_replayable",
            f"the bundle changed from {before.model_id} to {served.model_id} then, {', '.join(taken.anew)} began anew, "
            "and no snapshot was stored after that: ask for a moment after the next snapshot",
            "t",
        )


def _columns(have: Sequence[str], want: Sequence[str], readings: F32) -> F32:
    """`readings` f32[n, have] as f32[n, want]; what is not there was not received."""
    if tuple(have) == tuple(want):
        return readings
    places = {name: place for place, name in enumerate(have)}
    found: F32 = np.full((len(readings), len(want)), np.nan, np.float32)
    for column, name in enumerate(want):
        if name in places:
            found[:, column] = readings[:, places[name]]
    return found
