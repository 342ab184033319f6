"""What is known of machines, as arrays. All functions take a connection of `Database.read()`.

Machines go by the id of the row in `assets`; `find_asset` gives it. Times are source times of the class in nanos, from
`start` (included) to `end` (not), None: without a bound. History comes in spans: rows one after the other that have one
layout and one model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Result, Row, Table, select

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.contract.packing import unpack as unpack_samples
from serving.database import rows
from serving.database.tables import (
    alarms,
    assets,
    gateways,
    latest,
    layouts,
    models,
    observations,
    prognoses,
    states,
    summaries,
    waveform_features,
    waveforms,
)
from serving.database.tables.history import OUTPUTS
from serving.errors import UnknownError

START, END = -(2**63), 2**63 - 1  # the first and the last time there is


@dataclass(frozen=True)
class Asset:
    """A machine as the registry has it; `gateway` None: the centre owns its twin."""

    id: int
    name: str
    asset_class: str
    gateway: str | None
    term: int
    tier: str


@dataclass(frozen=True)
class Gateway:
    """As its status says; what it has not told yet is None. `heard_at`: when we got that, UTC nanos."""

    id: int
    name: str
    site: str
    state: str | None
    heard_at: int | None
    version: str | None
    bundles: Mapping[str, str] | None
    insecure: Sequence[str] | None
    clock: str | None
    heartbeat: Mapping[str, Any] | None

    def online(self, now: int, patience: int = 120_000_000_000) -> bool:
        """It says so, and said so within `patience` nanos: a status may be lost with its broker."""
        return self.state == "online" and self.heard_at is not None and now - self.heard_at <= patience


@dataclass(frozen=True, eq=False)
class Keys:
    """Of the rows of a span, int64[n] each, in order of time."""

    t: I64
    term: I64
    number: I64
    t_rx: I64

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True, eq=False)
class Observed:
    """`readings` f32[n,C] by `channels`, `event` and `age` f32[n]; for features see `read_features`."""

    keys: Keys
    model_id: str
    channels: tuple[str, ...]
    readings: F32
    event: F32
    age: F32


@dataclass(frozen=True, eq=False)
class Foretold:
    """The graph's `outputs` by name, f32[n] or f32[n,k], as they were; all NaN: perhaps it was not given."""

    keys: Keys
    model_id: str
    outputs: dict[str, F32]


@dataclass(frozen=True, eq=False)
class Summarised:
    """Of intervals [`start`, `end`); see `edge_runtime.contract.rows.Summaries`. `outputs`: the last prognosis."""

    keys: Keys
    model_id: str
    channels: tuple[str, ...]
    start: I64
    end: I64
    count: I64
    alarm: I64
    received: I64
    minimum: F32
    mean: F32
    maximum: F32
    flags: I64
    outputs: dict[str, F32]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A twin's `state` f32[S] after observation (term, number), of the bundle `model_id`."""

    asset_class: str
    model_id: str
    t: int
    term: int
    number: int
    state: F32


def find_asset(connection: Connection, name: str) -> Asset:
    """`UnknownError` if there is none."""
    found = list_assets(connection, assets.c.name == name)
    if not found:
        raise UnknownError(f"asset '{name}' is not known here: register it, or let its gateway send something")
    return found[0]


def list_assets(connection: Connection, *where: ColumnElement[bool]) -> list[Asset]:
    """In the order of their names."""
    columns = (assets.c.id, assets.c.name, assets.c.asset_class, gateways.c.name, assets.c.term, assets.c.tier)
    joined = select(*columns).select_from(assets.outerjoin(gateways, assets.c.gateway == gateways.c.id))
    return [Asset(*row) for row in connection.execute(joined.where(*where).order_by(assets.c.name))]


def list_gateways(connection: Connection) -> list[Gateway]:
    """In the order of their names."""
    columns = [gateways.c[field.name] for field in fields(Gateway)]
    return [Gateway(*row) for row in connection.execute(select(*columns).order_by(gateways.c.name))]


def read_latest(connection: Connection, wanted: Sequence[int] | None = None) -> dict[int, Foretold]:
    """The newest prognosis of each machine (of all without `wanted`), as a span of one row."""
    query = select(latest) if wanted is None else select(latest).where(latest.c.asset.in_(wanted))
    found = connection.execute(query).all()
    read = Reader(connection, "prognosis", "rest")
    return {row.asset: read.foretold([row]) for row in found}


def read_prognoses(
    connection: Connection, asset: int, start: int | None = None, end: int | None = None
) -> Iterator[Foretold]:
    read = Reader(connection, "prognosis", "rest")
    return map(read.foretold, _spans(connection, prognoses, asset, start, end))


def read_observations(
    connection: Connection, asset: int, start: int | None = None, end: int | None = None
) -> Iterator[Observed]:
    read = Reader(connection, "observation", "body")
    return map(read.observed, _spans(connection, observations, asset, start, end))


def read_summaries(
    connection: Connection, asset: int, start: int | None = None, end: int | None = None
) -> Iterator[Summarised]:
    read = Reader(connection, "summary", "body")
    return map(read.summarised, _spans(connection, summaries, asset, start, end))


def read_features(
    connection: Connection, asset: int, channel: str, start: int | None = None, end: int | None = None
) -> Iterator[tuple[int, int, int, F32]]:
    """(t, term, number, f32[F]) of each snapshot of a waveform channel, in order of number."""
    table = waveform_features.c
    query = select(table.t, table.term, table.number, table.body).where(
        table.asset == asset, table.channel == channel, *_within(waveform_features, start, end)
    )
    for t, term, number, body in connection.execute(query.order_by(table.term, table.number)):
        yield t, term, number, np.frombuffer(body, "<f4")


def snapshot_before(connection: Connection, asset: int, t: int, model_id: str | None = None) -> Snapshot | None:
    """The newest snapshot of a twin at or before `t`, of any bundle or of `model_id`."""
    table = states.c
    columns = (table.asset_class, models.c.model_id, table.t, table.term, table.number, table.body)
    query = select(*columns).join(models, table.model == models.c.id).where(table.asset == asset, table.t <= t)
    if model_id is not None:
        query = query.where(models.c.model_id == model_id)
    newest = query.order_by(table.t.desc(), table.term.desc(), table.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else Snapshot(*row[:-1], np.frombuffer(row.body, "<f4"))


def read_waveform(connection: Connection, asset: int, channel: str, term: int, number: int) -> F32 | None:
    """f32[axes, samples] as measured; None if it was not kept, or parts of it have not come yet."""
    table = waveforms.c
    row = connection.execute(
        select(waveforms).where(
            table.asset == asset, table.channel == channel, table.term == term, table.number == number
        )
    ).first()
    if row is None or row.body is None:
        return None
    data = unpack_samples(row.body, row.encoding, 4 * row.axes * row.samples)
    return np.frombuffer(data, "<f4").reshape(row.axes, row.samples)


def open_alarms(connection: Connection, asset: int | None = None) -> Sequence[Row[Any]]:
    """Rows of `alarms` that are not cleared, the highest level first, of these the newest."""
    query = select(alarms).where(alarms.c.level > 0)
    if asset is not None:
        query = query.where(alarms.c.asset == asset)
    return connection.execute(query.order_by(alarms.c.level.desc(), alarms.c.since.desc(), alarms.c.id)).all()


def _spans(
    connection: Connection, table: Table, asset: int, start: int | None, end: int | None
) -> Iterator[list[Row[Any]]]:
    query = select(table).where(table.c.asset == asset, *_within(table, start, end))
    return spans(connection.execute(query.order_by(table.c.t, table.c.term, table.c.number)))


def spans(found: Result[Any]) -> Iterator[list[Row[Any]]]:
    """Whole rows of a table, in order, as a `Reader` takes them."""
    layout, model = _places(found.keys(), "layout", "model")
    for _, span in itertools.groupby(found, itemgetter(layout, model)):
        yield list(span)


def _within(table: Table, start: int | None, end: int | None) -> list[ColumnElement[bool]]:
    found = [] if start is None else [table.c.t >= start]
    return found if end is None else [*found, table.c.t < end]


def _places(names: Any, *wanted: str) -> tuple[int, ...]:
    listed = list(names)
    return tuple(listed.index(name) for name in wanted)


class Reader:
    """Rows of one kind into spans; layouts and models are looked up once each."""

    def __init__(self, connection: Connection, kind: str, body: str) -> None:
        self._connection, self._kind, self._body = connection, kind, body
        self._layouts: dict[int, dict[str, Any]] = {}
        self._models: dict[int, str] = {}

    def observed(self, span: list[Row[Any]]) -> Observed:
        keys, model, layout, columns = self._start(span)
        values = self._unpack(layout, columns)
        return Observed(keys, model, tuple(layout["channels"]), values["readings"], values["event"], values["age"])

    def foretold(self, span: list[Row[Any]]) -> Foretold:
        keys, model, layout, columns = self._start(span)
        outputs: dict[str, F32] = {name: rows.single(columns[name]) for name in OUTPUTS}
        outputs["alarm"] = rows.single(columns["alarm"])
        return Foretold(keys, model, {**outputs, **self._unpack(layout, columns)})

    def summarised(self, span: list[Row[Any]]) -> Summarised:
        keys, model, layout, columns = self._start(span)
        values = self._unpack(layout, columns)
        outputs = {name[7:]: values.pop(name) for name in list(values) if name.startswith("output.")}
        whole: dict[str, Any] = {name: np.array(columns[name], np.int64) for name in ("start", "end", "count", "alarm")}
        return Summarised(keys, model, tuple(layout["channels"]), **whole, **values, outputs=outputs)

    def _start(self, span: list[Row[Any]]) -> tuple[Keys, str, dict[str, Any], dict[str, Any]]:
        columns = dict(zip(span[0]._fields, zip(*span, strict=True), strict=True))
        keys = Keys(*(np.array(columns[name], np.int64) for name in ("t", "term", "number", "t_rx")))
        return keys, self._model(span[0].model), self._layout(span[0].layout), columns

    def _unpack(self, layout: dict[str, Any], columns: dict[str, Any]) -> dict[str, Array]:
        return rows.unpack(rows.fields(self._kind, layout), columns[self._body])

    def _layout(self, key: int) -> dict[str, Any]:
        if key not in self._layouts:
            query = select(layouts.c.body).where(layouts.c.id == key)
            self._layouts[key] = self._connection.execute(query).scalar_one()
        return self._layouts[key]

    def _model(self, key: int) -> str:
        if key not in self._models:
            query = select(models.c.model_id).where(models.c.id == key)
            self._models[key] = self._connection.execute(query).scalar_one()
        return self._models[key]
