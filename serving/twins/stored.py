"""What the database knows of machines whose twins are to be continued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, func, select

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


def read_machines(connection: Connection, names: Iterable[str], *, with_plants: bool) -> dict[str, Machine]:
    """By name; those that are not known are left out. `plants` is empty unless asked for."""
    # One of them is worth a bound name: SQLAlchemy writes the statement anew for each length of a list.
    wanted = sorted(set(names))
    which = assets.c.name == wanted[0] if len(wanted) == 1 else assets.c.name.in_(wanted)
    columns = (
        assets.c.id,
        assets.c.name,
        assets.c.asset_class,
        gateways.c.name,
        gateways.c.site,
        assets.c.term,
        assets.c.tier,
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
    rows = connection.execute(select(*columns).select_from(joined).where(which)).all()
    ids = [row[0] for row in rows]
    settings = _settings(connection, ids)
    plants = _plants(connection, ids) if with_plants else {}
    found = {}
    for asset, name, kind, gateway, site, term, tier, *twin in rows:
        kept = None if twin[0] is None else Twin(twin[0], twin[1], twin[2], twin[3], np.frombuffer(twin[4], "<f4"))
        inside = plants.get(asset, {site} if site and with_plants else set())
        found[name] = Machine(asset, name, kind, gateway, term, tier, kept, settings.get(asset, {}), frozenset(inside))
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


def _settings(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, float]]:
    """The newest of each machine that has any."""
    table = asset_settings.c
    which = table.asset == ids[0] if len(ids) == 1 else table.asset.in_(ids)
    newest = select(table.asset, func.max(table.version).label("version")).where(which).group_by(table.asset).subquery()
    query = select(table.asset, table["values"]).join(
        newest, (table.asset == newest.c.asset) & (table.version == newest.c.version)
    )
    return {row[0]: row[1] for row in connection.execute(query)} if ids else {}


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
