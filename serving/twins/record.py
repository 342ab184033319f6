"""What a continued twin leaves behind, in one transaction: compare, then set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.contract.rows import Keys, Observations, Prognoses
from serving.database import bulk, rows
from serving.database.engine import Database
from serving.database.prepared import Prepared, among
from serving.database.tables import (
    assets,
    contracts,
    idempotency,
    latest,
    models,
    observations,
    prognoses,
    twins,
    waveform_features,
)
from serving.errors import ConflictError, RequestError
from serving.hub.names import Layout, Names
from serving.models.served import Served
from serving.predict.answers import numbers_of
from serving.predict.ask import Ask
from serving.predict.run import Ran, joined
from serving.registry.settings import RegistrySettings
from serving.twins.stored import Machine, Remembered, forget, read_remembered

_OWNERS = Prepared(
    select(assets.c.id, assets.c.gateway, assets.c.term)
    .where(among(assets.c.id, "ids"))
    .order_by(assets.c.id)
    .with_for_update(key_share=True)
)
_TWINS = Prepared(
    select(twins.c.asset, twins.c.term, twins.c.number, models.c.model_id)
    .join(models, twins.c.model == models.c.id)
    .where(among(twins.c.asset, "ids"))
)
_HOUR = 3_600_000_000_000
_NEWER = "(excluded.term, excluded.number) > (latest.term, latest.number)"


@dataclass(frozen=True, eq=False)
class Outcome:
    """One ask that ran: what is to be kept of it. `key` and `request`: its Idempotency-Key, if any, and sha256."""

    ask: Ask
    machines: tuple[Machine, ...]
    ran: Ran
    answer: bytes
    caller: str
    key: str | None
    request: str


@dataclass(frozen=True, eq=False)
class _Batch:
    """What is kept of the outcomes of one bundle, in columns: of observations and of prognoses, each with its layout.

    `common`: columns of both; `last`: rows that are the newest of their machines.
    """

    served: Served
    outcomes: Sequence[Outcome]
    common: dict[str, list[int]]
    layouts: tuple[Layout, Layout]
    keys: tuple[str, str]
    columns: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]]
    last: list[int]


class Recorder:
    """Belongs to one thread: that of the lane."""

    def __init__(self, database: Database, remember: float) -> None:
        self._database = database
        self._names = Names(RegistrySettings())
        self._contracts: set[int] = set()
        self._remember = int(remember * 1e9)
        self._swept = 0

    def commit(self, outcomes: Sequence[Outcome], at: int) -> list[bytes | BaseException]:
        """The answer to each once it is on disk; or that somebody else was faster, and nothing of it was kept."""
        batches = self._prepare(outcomes, at)
        told: list[bytes | BaseException] = [outcome.answer for outcome in outcomes]
        with self._database.write() as connection:
            now = _lock(connection, sorted({machine.id for each in outcomes for machine in each.machines}))
            used = read_remembered(connection, [(each.caller, each.key) for each in outcomes if each.key is not None])
            kept = []
            for place, outcome in enumerate(outcomes):
                try:
                    again = _check_key(outcome, used)
                    if again is not None:
                        told[place] = again
                        continue
                    self._compare(outcome, now)
                    kept.append(outcome)
                except RequestError as error:
                    told[place] = error
            if len(kept) < len(outcomes):
                batches = self._prepare_again(kept, at)
            self._write(connection, batches, kept, at)
            self._sweep(connection, at)
        return told

    def _prepare(self, outcomes: Sequence[Outcome], at: int) -> list[_Batch]:
        """The rows of each bundle; small ids that are new are learnt in a transaction of their own."""
        together: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            together.setdefault(id(outcome.ask.served), []).append(outcome)
        batches = [_batch(own, at) for own in together.values()]
        served = [batch.served for batch in batches]
        layouts = [layout for batch in batches for layout in batch.layouts]
        if any(each.model_id not in self._names.models for each in served) or any(
            key not in self._names.layouts for batch in batches for key in batch.keys
        ):
            self._names.learn(self._database, at, {}, [each.model_id for each in served], layouts, [])
        new = [each for each in served if self._names.models[each.model_id] not in self._contracts]
        if new:
            ids = [self._names.models[each.model_id] for each in new]
            bodies = [bulk.json_text(each.contract_body) for each in new]
            with self._database.write() as connection:
                bulk.insert(connection, contracts, {"model": ids, "body": bodies})
            self._contracts.update(ids)
        return batches

    def _compare(self, outcome: Outcome, now: dict[int, tuple[int | None, int, tuple[int, int, str] | None]]) -> None:
        for machine in outcome.machines:
            gateway, term, twin = now[machine.id]
            if gateway is not None or term != machine.term:
                raise RequestError(
                    "owner", f"'{machine.name}' has just got another owner (term {term}): look at it again"
                )
            seen = None if machine.twin is None else (machine.twin.term, machine.twin.number, machine.twin.model_id)
            if twin != seen:
                number = twin[1] if twin else 0
                raise RequestError(
                    "conflict",
                    f"another request has just continued the twin of '{machine.name}', now at observation {number}; "
                    " nothing of this request was kept: look at the twin, and send what comes after",
                    "asset",
                )

    def _prepare_again(self, kept: Sequence[Outcome], at: int) -> list[_Batch]:
        """Without those that have lost. Their ids are known."""
        together: dict[int, list[Outcome]] = {}
        for outcome in kept:
            together.setdefault(id(outcome.ask.served), []).append(outcome)
        return [_batch(own, at) for own in together.values()]

    def _write(self, connection: Connection, batches: Sequence[_Batch], kept: Sequence[Outcome], at: int) -> None:
        for batch in batches:
            self._write_rows(connection, batch, at)
        keyed = [outcome for outcome in kept if outcome.key is not None]
        if keyed:
            columns: dict[str, Sequence[object]] = {
                "caller": [each.caller for each in keyed],
                "key": [each.key for each in keyed],
                "request": [each.request for each in keyed],
                "status": [200] * len(keyed),
                "answer": [each.answer for each in keyed],
                "at": [at] * len(keyed),
            }
            if bulk.insert(connection, idempotency, columns) < len(keyed):
                raise ConflictError("another request has just used this Idempotency-Key: ask again")

    def _write_rows(self, connection: Connection, batch: _Batch, at: int) -> None:
        """Of outcomes of one bundle."""
        own, model = batch.outcomes, self._names.models[batch.served.model_id]
        common = batch.common | {"model": [model] * len(batch.common["asset"])}
        for table, key, columns in zip((observations, prognoses), batch.keys, batch.columns, strict=True):
            whole = {**common, "layout": [self._names.layouts[key]] * len(common["asset"]), **columns}
            bulk.insert(connection, table, whole)
        newest = {name: [values[place] for place in batch.last] for name, values in whole.items()}
        bulk.upsert(connection, latest, newest | {"at": [at] * len(batch.last)}, _NEWER)
        self._write_features(connection, own)
        machines = [machine for each in own for machine in each.machines]
        changed = {
            "asset": [machine.id for machine in machines],
            "term": [machine.term for machine in machines],
            "number": [number for each in own for number in each.ran.after.number.tolist()],
            "t": [time for each in own for time in each.ran.after.time.tolist()],
            "model": [model] * len(machines),
            "state": [body for each in own for body in rows.cut(np.ascontiguousarray(each.ran.after.state, "<f4"))],
            "at": [at] * len(machines),
        }
        bulk.upsert(connection, twins, changed, "true")

    def _write_features(self, connection: Connection, own: Sequence[Outcome]) -> None:
        for each in own:
            for channel, (places, features) in each.ran.features.items():
                machines = [each.machines[place] for place in places.tolist()]
                columns = {
                    "asset": [machine.id for machine in machines],
                    "term": [machine.term for machine in machines],
                    "number": [int(each.ran.after.number[place]) for place in places.tolist()],
                    "channel": [channel] * len(machines),
                    "t": [int(each.ran.after.time[place]) for place in places.tolist()],
                    "body": [np.ascontiguousarray(row, "<f4").tobytes() for row in features],
                }
                bulk.insert(connection, waveform_features, columns)

    def _sweep(self, connection: Connection, at: int) -> None:
        """Once an hour, keys that are old are forgotten."""
        if at - self._swept > _HOUR:
            forget(connection, at - self._remember)
            self._swept = at


def _batch(own: Sequence[Outcome], at: int) -> _Batch:
    served = own[0].ask.served
    kind, keys = served.contract.asset_class, _keys(own)
    seen, said = _observations(own, kind, keys, tuple(served.channels), at), _prognoses(own, kind, keys)
    ids = [machine.id for each in own for machine in each.machines]
    common = {
        "asset": [ids[place] for place in keys.asset.tolist()],
        "t": keys.t.tolist(),
        "term": keys.term.tolist(),
        "number": keys.number.tolist(),
        "t_rx": [at] * len(keys),
    }
    measured, told = Layout(seen.kind, kind, rows.layout_of(seen)), Layout(said.kind, kind, rows.layout_of(said))
    body = rows.observation_columns(seen, measured.body)["body"]
    columns = ({"body": body}, rows.prognosis_columns(said, told.body))
    last = np.flatnonzero(np.diff(keys.asset, append=-1)).tolist()
    return _Batch(served, own, common, (measured, told), (measured.key, told.key), columns, last)


def _lock(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[int | None, int, tuple[int, int, str] | None]]:
    """Owner and term of machines, and (term, number, model) of their twins, as nobody else can change them now.

    Two statements: PostgreSQL reads what it has waited for anew, but not what is joined to it.
    """
    wanted = list(ids)
    owners = _OWNERS(connection, ids=wanted)
    found = {asset: (term, number, model) for asset, term, number, model in _TWINS(connection, ids=wanted)}
    return {asset: (gateway, term, found.get(asset)) for asset, gateway, term in owners}


def _check_key(outcome: Outcome, used: dict[tuple[str, str], Remembered]) -> bytes | None:
    if outcome.key is None:
        return None
    known = used.get((outcome.caller, outcome.key))
    return None if known is None else check_same(known, outcome.request)


def check_same(known: Remembered, request: str) -> bytes:
    """What was answered to the same request; another one under its key is refused."""
    if known.request != request:
        raise RequestError(
            "key_reused",
            "this Idempotency-Key was used for another request: make a new one for each",
            "Idempotency-Key",
        )
    return known.answer


def _keys(own: Sequence[Outcome]) -> Keys:
    """Machines in the order of the outcomes."""
    machines = [machine for each in own for machine in each.machines]
    counts = np.concatenate([each.ask.counts for each in own])
    return Keys(
        tuple(machine.name for machine in machines),
        np.repeat(np.arange(len(machines), dtype=np.int32), counts),
        np.repeat(np.array([machine.term for machine in machines], np.int64), counts),
        np.concatenate([numbers_of(each.ask, each.ran) for each in own]),
        np.concatenate([each.ask.table.time for each in own]),
    )


def _observations(own: Sequence[Outcome], kind: str, keys: Keys, channels: tuple[str, ...], at: int) -> Observations:
    tables = [each.ask.table for each in own]
    readings, event, age = (joined([getattr(each, name) for each in tables]) for name in ("readings", "event", "age"))
    return Observations(kind, keys, channels, np.full(len(keys), at, np.int64), readings, event, age)


def _prognoses(own: Sequence[Outcome], kind: str, keys: Keys) -> Prognoses:
    outputs = [each.ran.outputs for each in own]
    return Prognoses(kind, keys, {name: joined([each[name] for each in outputs]) for name in outputs[0]})
