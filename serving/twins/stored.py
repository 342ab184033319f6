"""What the database knows of machines whose twins are to be continued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, bindparam, select

from edge_runtime.arrays import F32
from serving.database.tables import asset_settings, assets, gateways, idempotency, models, nodes, twins


@dataclass(frozen=True, eq=False)
class Twin:
    """`state` f32[S] after observation (term, number) at `t`, of the bundle `model_id`."""

    term: int
    number: int
    t: int
    model_id: str
    state: F32


@dataclass(frozen=True, eq=False)
class Machine:
    """As the registry has it; `gateway` None: the centre owns its twin. `twin` None: none is stored yet."""

    id: int
    name: str
    asset_class: str
    gateway: str | None
    term: int
    tier: str
    twin: Twin | None
    settings: Mapping[str, float] = field(default_factory=dict)
    plants: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Remembered:
    """The answer given under an Idempotency-Key, and the sha256 of its request."""

    request: str
    answer: bytes


def _machines() -> Select[Any]:
    newest = select(asset_settings.c["values"]).where(asset_settings.c.asset == assets.c.id)
    columns = (
        assets.c.id,
        assets.c.name,
        assets.c.asset_class,
        gateways.c.name,
        gateways.c.site,
        assets.c.term,
        assets.c.tier,
        newest.order_by(asset_settings.c.version.desc()).limit(1).scalar_subquery(),
        twins.c.term,
        twins.c.number,
        twins.c.t,
        models.c.model_id,
        twins.c.state,
    )
    joined = (
        assets.outerjoin(gateways, assets.c.gateway == gateways.c.id)
        .outerjoin(twins, twins.c.asset == assets.c.id)
        .outerjoin(models, twins.c.model == models.c.id)
    )
    return select(*columns).select_from(joined).where(assets.c.name.in_(bindparam("names", expanding=True)))


# Made once: making it takes as long as running it.
_MACHINES = _machines()


def read_machines(connection: Connection, names: Iterable[str], *, with_plants: bool) -> dict[str, Machine]:
    """By name; those that are not known are left out. `plants` is empty unless asked for."""
    rows = connection.execute(_MACHINES, {"names": sorted(set(names))}).all()
    plants = _plants(connection, [row[0] for row in rows]) if with_plants else {}
    found = {}
    for asset, name, kind, gateway, site, term, tier, settings, *twin in rows:
        kept = None if twin[0] is None else Twin(twin[0], twin[1], twin[2], twin[3], np.frombuffer(twin[4], "<f4"))
        inside = plants.get(asset, {site} if site and with_plants else set())
        found[name] = Machine(asset, name, kind, gateway, term, tier, kept, settings or {}, frozenset(inside))
    return found


def read_remembered(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Remembered]:
    """Of (caller, Idempotency-Key)s that were used already."""
    found = {}
    table = idempotency.c
    for caller, key in keys:
        query = select(table.request, table.answer).where(table.caller == caller, table.key == key)
        row = connection.execute(query).first()
        if row is not None:
            found[caller, key] = Remembered(*row)
    return found


def _plants(connection: Connection, ids: Sequence[int]) -> dict[int, set[str]]:
    """The plant in whose tree each machine stands; those that stand in none are left out."""
    first = select(nodes.c.asset.label("asset"), nodes.c.parent.label("parent"), nodes.c.name.label("name"))
    up = first.where(nodes.c.asset.in_(ids)).cte("up", recursive=True)
    above = select(up.c.asset, nodes.c.parent, nodes.c.name).join(nodes, nodes.c.id == up.c.parent)
    up = up.union_all(above)
    found: dict[int, set[str]] = {}
    for asset, name in connection.execute(select(up.c.asset, up.c.name).where(up.c.parent.is_(None))):
        found.setdefault(asset, set()).add(name)
    return found
