"""What the database knows of machines whose twins are to be continued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, bindparam, delete, select

from edge_runtime.arrays import F32
from serving.database.prepared import Prepared, among, read_json
from serving.database.tables import asset_settings, assets, gateways, idempotency, models, nodes, twins


class Twin(NamedTuple):
    """`state` f32[S] after observation (term, number) at `t`, of the bundle `model_id`."""

    term: int
    number: int
    t: int
    model_id: str
    state: F32


# Tuples: a thousand machines in a request are a thousand of each, and a frozen dataclass takes six times as long.
class Machine(NamedTuple):
    """As the registry has it; `gateway` None: the centre owns its twin. `twin` None: none is stored yet."""

    id: int
    name: str
    asset_class: str
    gateway: str | None
    term: int
    tier: str
    twin: Twin | None
    settings: Mapping[str, float]
    plants: frozenset[str]


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
    return select(*columns).select_from(joined).where(among(assets.c.name, "names"))


_MACHINES = Prepared(_machines())
_REMEMBERED = Prepared(
    select(idempotency.c.caller, idempotency.c.key, idempotency.c.request, idempotency.c.answer).where(
        idempotency.c.caller == bindparam("caller"), among(idempotency.c.key, "keys")
    )
)
_NOWHERE: frozenset[str] = frozenset()
_DEFAULTS: Mapping[str, float] = {}


def read_machines(connection: Connection, names: Iterable[str], *, with_plants: bool) -> dict[str, Machine]:
    """By name; those that are not known are left out. `plants` is empty unless asked for."""
    rows = _MACHINES(connection, names=sorted(set(names)))
    plants = _plants(connection, [row[0] for row in rows]) if with_plants else {}
    found = {}
    for asset, name, kind, gateway, site, term, tier, settings, own_term, number, t, model_id, state in rows:
        twin = None if state is None else Twin(own_term, number, t, model_id, np.frombuffer(state, "<f4"))
        given = _DEFAULTS if settings is None else read_json(settings)
        inside = frozenset(plants.get(asset, {site} if site else ())) if with_plants else _NOWHERE
        found[name] = Machine(asset, name, kind, gateway, term, tier, twin, given, inside)
    return found


def read_remembered(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Remembered]:
    """Of (caller, Idempotency-Key)s that were used already."""
    callers: dict[str, list[str]] = {}
    for caller, key in keys:
        callers.setdefault(caller, []).append(key)
    found = {}
    for caller, own in callers.items():
        for _, key, request, answer in _REMEMBERED(connection, caller=caller, keys=own):
            found[caller, key] = Remembered(request, bytes(answer))
    return found


def forget(connection: Connection, before: int) -> None:
    """Idempotency-Keys that were used before, UTC nanos."""
    connection.execute(delete(idempotency).where(idempotency.c.at < before))


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
