"""The work of the lane of stored twins: read, run together, keep or preview, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import F32
from edge_runtime.clock import Clock
from edge_runtime.decode import decode
from edge_runtime.manifest import Contract
from edge_runtime.timestamps import format_times
from serving.api.callers import Caller, unknown_asset
from serving.database.engine import Database, away
from serving.database.tables import contracts, models
from serving.errors import RequestError
from serving.models.catalogue import Catalogue
from serving.models.served import Served
from serving.predict.answers import answer
from serving.predict.ask import Ask
from serving.predict.predictor import dump, each_alone_if_it_fails
from serving.predict.reading import read_settings
from serving.predict.run import Ran, Start, run
from serving.twins.record import Outcome, Recorder, check_same
from serving.twins.resume import as_they_are, goes_on, start
from serving.twins.stored import Machine, Remembered, read_machines, read_remembered


class Advanced(Protocol):
    def __call__(self, fleet: str, observations: int, *, stored: bool) -> None: ...


@dataclass(frozen=True, eq=False)
class Continuation:
    """An ask of stored twins; `store`, `term`, `after` as in the form. `key` and `request`: see `Outcome`."""

    ask: Ask
    caller: Caller
    store: bool | None = None
    term: int | None = None
    after: int | None = None
    key: str | None = None
    request: str = ""


@dataclass(frozen=True, eq=False)
class _Ready:
    job: Continuation
    ask: Ask
    machines: tuple[Machine, ...]
    start: Start
    keep: bool


class Continuing:
    """`work` belongs to one thread. `advanced` is told of what a fleet's twins have seen, and whether that is kept."""

    def __init__(
        self, database: Database, catalogue: Catalogue, clock: Clock, remember: float, advanced: Advanced
    ) -> None:
        self._database, self._catalogue, self._clock, self._advanced = database, catalogue, clock, advanced
        self._recorder = Recorder(database, remember)

    def work(self, jobs: Sequence[Continuation]) -> list[bytes | BaseException]:
        """The answer to each, once it is kept. Those that are after the same twin come one after the other."""
        told: list[bytes | BaseException | None] = [None] * len(jobs)
        waiting = list(range(len(jobs)))
        while waiting:
            now: list[int] = []
            later: list[int] = []
            taken: set[str] = set()
            for place in waiting:
                names = jobs[place].ask.assets
                (later if taken.intersection(names) else now).append(place)
                taken.update(names)
            for place, result in zip(now, each_alone_if_it_fails([jobs[i] for i in now], self._round), strict=True):
                told[place] = result
            waiting = later
        return [result if result is not None else AssertionError() for result in told]

    def _round(self, jobs: Sequence[Continuation]) -> list[bytes | BaseException]:
        told: dict[int, bytes | BaseException] = {}
        ready: dict[int, _Ready] = {}
        with away(), self._database.read() as connection:
            scoped = any(not job.caller.everywhere for job in jobs)
            names = [name for job in jobs for name in job.ask.assets]
            machines = read_machines(connection, names, with_plants=scoped)
            used = read_remembered(connection, [(job.caller.id, job.key) for job in jobs if job.key is not None])
            for place, job in enumerate(jobs):
                try:
                    known = self._answered(job, used)
                    if known is None:
                        ready[place] = self._prepare(connection, job, machines)
                    else:
                        told[place] = known
                except RequestError as error:
                    told[place] = error
        kept: dict[int, Outcome] = {}
        said: dict[int, bytes] = {}
        for place, each, ran in _run(ready):
            terms = [machine.term for machine in each.machines]
            told[place] = said[place] = dump(answer(each.ask, ran, stored=each.keep, terms=terms))
            if each.keep:
                job = each.job
                kept[place] = Outcome(each.ask, each.machines, ran, said[place], job.caller.id, job.key, job.request)
        if kept:
            with away():
                results = self._recorder.commit(list(kept.values()), self._clock.utc())
            told |= dict(zip(kept, results, strict=True))
        for place, own in said.items():
            if told[place] is own:  # not refused, nor answered as before
                ask = jobs[place].ask
                self._advanced(ask.served.name, ask.observations, stored=place in kept)
        return [told[place] for place in range(len(jobs))]

    def _answered(self, job: Continuation, used: dict[tuple[str, str], Remembered]) -> bytes | None:
        known = None if job.key is None else used.get((job.caller.id, job.key))
        return None if known is None else check_same(known, job.request)

    def _prepare(self, connection: Connection, job: Continuation, machines: dict[str, Machine]) -> _Ready:
        """`RequestError` if one of its twins cannot be continued as it asks."""
        own = []
        for name in job.ask.assets:
            machine = machines.get(name)
            if machine is None:
                raise unknown_asset(name, job.caller)
            job.caller.check_plant(name, machine.plants)
            _check(job, machine)
            own.append(machine)
        keep, notes = _keep(job, own), list(job.ask.notes)
        served, contract = job.ask.served, job.ask.served.contract
        settings = read_settings({}, contract)[None, :].repeat(len(own), axis=0)
        for place, machine in enumerate(own):
            if machine.settings:
                settings[place] = read_settings(dict(machine.settings), contract)
        begun = self._begin(connection, own, served, settings, notes)
        _check_after(job, begun)
        _check_newer(job, begun)
        if not keep:
            why = "it was asked for" if job.store is False else _owned(own)
            notes.append(f"a preview: nothing was stored, for {why}")
        return _Ready(job, replace(job.ask, settings=settings, notes=notes), tuple(own), begun, keep)

    def _begin(
        self, connection: Connection, own: Sequence[Machine], served: Served, settings: F32, notes: list[str]
    ) -> Start:
        if all(goes_on(machine, served) for machine in own):
            return as_they_are(own)
        starts = [
            start(connection, machine, served, settings[place], self._contract, notes)
            for place, machine in enumerate(own)
        ]
        state = np.concatenate([each.state for each in starts])
        time, number = ([getattr(each, name) for each in starts] for name in ("time", "number"))
        return Start(state, np.concatenate(time), np.concatenate(number))

    def _contract(self, connection: Connection, model_id: str) -> Contract | None:
        """Of a bundle on the shelf, or of one whose states were stored."""
        served = self._catalogue.shelf.by_model(model_id)
        if served is not None:
            return served.contract
        query = select(contracts.c.body).join(models, models.c.id == contracts.c.model)
        body = connection.execute(query.where(models.c.model_id == model_id)).scalar()
        return None if body is None else decode(Contract, body, "contract")


def _run(ready: dict[int, _Ready]) -> list[tuple[int, _Ready, Ran]]:
    """Those of one bundle together."""
    together: dict[int, list[int]] = {}
    for place, each in ready.items():
        together.setdefault(id(each.ask.served), []).append(place)
    done = []
    for places in together.values():
        own = [ready[place] for place in places]
        ran = run(own[0].ask.served, [each.ask for each in own], [each.start for each in own])
        done += list(zip(places, own, ran, strict=True))
    return done


def _check(job: Continuation, machine: Machine) -> None:
    contract = job.ask.served.contract
    if machine.asset_class not in ("", contract.asset_class, job.ask.served.name):
        raise RequestError(
            "class",
            f"asset '{machine.name}' is of class '{machine.asset_class}', not '{job.ask.served.name}': name its fleet",
            "fleet",
        )
    if job.term is not None and job.term != machine.term:
        older = "older" if job.term < machine.term else "not its term"
        raise RequestError(
            "term",
            f"term {job.term} is {older}: asset '{machine.name}' has term {machine.term} and is owned by "
            f"{_owner(machine)}: look at it again",
            "term",
        )
    if machine.tier == "basic":
        raise RequestError(
            "tier", f"asset '{machine.name}' has basic monitoring, and no twin: make its tier full", "asset"
        )


def _keep(job: Continuation, own: Sequence[Machine]) -> bool:
    theirs = [machine for machine in own if machine.gateway is not None]
    if theirs and job.store:
        raise RequestError(
            "owner",
            f"the twin of '{theirs[0].name}' is owned by {_owner(theirs[0])}, which alone may continue it: leave store "
            "out for a preview, or assign the twin to the centre",
            "store",
        )
    if theirs and len(theirs) < len(own) and job.store is None:
        raise RequestError(
            "owner",
            f"'{theirs[0].name}' is owned by {_owner(theirs[0])}, others by the centre: ask for them apart, or for a "
            'preview of all with "store": false',
            "columns.asset",
        )
    return not theirs and job.store is not False


def _owned(own: Sequence[Machine]) -> str:
    return f"{_owner(next(machine for machine in own if machine.gateway is not None))} owns the twin"


def _owner(machine: Machine) -> str:
    return "the centre" if machine.gateway is None else f"gateway '{machine.gateway}'"


def _check_after(job: Continuation, begun: Start) -> None:
    if job.after is not None and job.after != int(begun.number[0]):
        raise RequestError(
            "conflict",
            f"the twin of '{job.ask.assets[0]}' is at observation {int(begun.number[0])}, not {job.after}: look at it "
            "again, and send what comes after",
            "after",
        )


def _check_newer(job: Continuation, begun: Start) -> None:
    ask = job.ask
    first = ask.table.time[ask.first]
    back = (first <= begun.time) & (begun.number > 0)
    if back.any():
        machine = int(np.argmax(back))
        unit = ask.served.contract.time.unit
        came, last = format_times(np.array([first[machine], begun.time[machine]]), unit)
        raise RequestError(
            "not_newer",
            f"{came} is not after {last}, the last observation (number {int(begun.number[machine])}) of the twin of "
            f"'{ask.assets[machine]}': a twin never goes back; send what is newer",
            ask.where(int(ask.first[machine])),
        )
