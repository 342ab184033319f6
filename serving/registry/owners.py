"""Machines and who owns their twins.

A twin's owner is a gateway, or the centre (None). Each change of owner raises the term: what the former owner still
sends is of an older one, and refused. A hub that writes holds `registry_version` shared, and all that changes what hubs
may take holds it alone: no message of a former owner slips in beside the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, insert, select, update

from edge_runtime.contract.names import is_identifier
from serving.database import bulk
from serving.database.queries import Asset, find_asset
from serving.database.tables import assets, gateways, ownerships, registry_version
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.assignments import want
from serving.registry.audit import Act, record

Tier = Literal["full", "basic"]
LARGEST_TERM = 2**31 - 1  # as in a gateway's machines.csv


@dataclass(frozen=True)
class Owner:
    """One of those a twin has had; `gateway` None: the centre."""

    term: int
    gateway: str | None
    since: int
    by: str
    reason: str


@dataclass(frozen=True, order=True)
class Found:
    """A machine that a gateway has sent something of, before anybody registered it. Class "": not known yet."""

    name: str
    asset_class: str
    gateway: int
    term: int


def register(
    connection: Connection,
    act: Act,
    name: str,
    asset_class: str,
    *,
    gateway: str | None = None,
    site: str = "",
    term: int = 0,
    tier: Tier = "full",
) -> Asset:
    """A new machine. `ConflictError` if there is one of that name; a gateway that is new is registered, too."""
    for kind, identifier in (("asset", name), ("class", asset_class), ("gateway", gateway or "-")):
        if not is_identifier(identifier):
            raise InvalidError(f"{kind} {identifier[:80]!r}: an identifier has 1 to 64 letters, digits, '_' or '-'")
    _check_term(term)
    change(connection)
    owner = None if gateway is None else gateway_id(connection, gateway, site, act.at)
    row = {"name": name, "asset_class": asset_class, "gateway": owner, "term": term, "tier": tier, "at": act.at}
    if not bulk.insert(connection, assets, {key: [value] for key, value in row.items()}):
        raise ConflictError(f"asset '{name}' is registered already: assign it to another owner, or choose another name")
    asset = find_asset(connection, name)
    _own(connection, act, asset.id, term, owner)
    record(connection, act, "asset.register", f"asset/{name}", asset_class=asset_class, gateway=gateway, term=term)
    return asset


def assign(connection: Connection, act: Act, name: str, gateway: str | None, *, term: int | None = None) -> Asset:
    """Give a twin to `gateway` (None: to the centre) under the next term. A hub tells it (`serving.assignments`);
    where those are off, write the term into its machines.csv.

    `term`: the one it has now as far as the caller knows; `ConflictError` if that has changed.
    """
    change(connection)
    asset = find_asset(connection, name)
    if term is not None and term != asset.term:
        raise ConflictError(f"asset '{name}' has term {asset.term} by now, not {term}: look at it again")
    _check_term(asset.term + 1)
    owner = None
    if gateway is not None:
        owner = connection.execute(select(gateways.c.id).where(gateways.c.name == gateway)).scalar()
        if owner is None:
            message = f"gateway '{gateway}' is not known here: let it connect first, or check its name"
            raise UnknownError(message, "gateway")
    connection.execute(update(assets).where(assets.c.id == asset.id).values(gateway=owner, term=asset.term + 1))
    _own(connection, act, asset.id, asset.term + 1, owner)
    record(connection, act, "asset.assign", f"asset/{name}", before=asset.gateway, after=gateway, term=asset.term + 1)
    want(connection, act.at, asset.id, new_owner=True)
    return find_asset(connection, name)


def set_tier(connection: Connection, act: Act, name: str, tier: Tier) -> Asset:
    """`full`: a twin whose state is kept; `basic`: readings and alarms only."""
    if tier not in ("full", "basic"):
        raise InvalidError(f"tier {tier!r}: expected 'full' or 'basic'")
    change(connection)
    before = find_asset(connection, name)
    connection.execute(update(assets).where(assets.c.id == before.id).values(tier=tier))
    record(connection, act, "asset.tier", f"asset/{name}", before=before.tier, after=tier)
    return find_asset(connection, name)


def owners(connection: Connection, name: str) -> list[Owner]:
    """All that a twin has had, the present one last."""
    asset = find_asset(connection, name)
    columns = (ownerships.c.term, gateways.c.name, ownerships.c.since, ownerships.c.by, ownerships.c.reason)
    joined = select(*columns).select_from(ownerships.outerjoin(gateways, ownerships.c.gateway == gateways.c.id))
    return [
        Owner(*row)
        for row in connection.execute(joined.where(ownerships.c.asset == asset.id).order_by(ownerships.c.term))
    ]


def adopt(connection: Connection, act: Act, found: Sequence[Found], most: int) -> int:
    """Register what gateways have brought in; raise the term where the owner itself does; learn a class.

    A gateway gets no more than `most` machines like this. How many rows have changed.
    """
    connection.execute(select(registry_version).with_for_update())  # alone, until the end of the transaction
    changed = 0
    room: dict[int, int] = {}
    for each in found:
        known = connection.execute(select(assets).where(assets.c.name == each.name)).first()
        if known is None:
            if each.gateway not in room:
                owned = select(func.count()).where(assets.c.gateway == each.gateway)
                room[each.gateway] = most - connection.execute(owned).scalar_one()
            if room[each.gateway] <= 0 or each.term > LARGEST_TERM:
                continue
            room[each.gateway] -= 1
            row = {"name": each.name, "asset_class": each.asset_class, "gateway": each.gateway, "term": each.term}
            asset = connection.execute(insert(assets).values(**row, tier="full", at=act.at).returning(assets.c.id))
            _own(connection, act, asset.scalar_one(), each.term, each.gateway)
            record(connection, act, "asset.adopt", f"asset/{each.name}", term=each.term)
        elif known.gateway == each.gateway:
            newer = known.term < each.term <= LARGEST_TERM
            values: dict[str, int | str] = {"term": each.term} if newer else {}
            if not known.asset_class and each.asset_class:
                values["asset_class"] = each.asset_class
            if not values:
                continue
            connection.execute(update(assets).where(assets.c.id == known.id).values(**values))
            if newer:
                _own(connection, act, known.id, each.term, each.gateway)
                record(connection, act, "asset.term", f"asset/{each.name}", before=known.term, after=each.term)
        else:
            continue
        changed += 1
    if changed:
        change(connection)
    return changed


def gateway_id(connection: Connection, name: str, site: str, at: int) -> int:
    """The id of a gateway, which is registered if it is new."""
    bulk.insert(connection, gateways, {"name": [name], "site": [site], "at": [at]})
    return int(connection.execute(select(gateways.c.id).where(gateways.c.name == name)).scalar_one())


def change(connection: Connection) -> None:
    """Hold the registry alone until the end of the transaction, and tell all hubs to read it anew."""
    connection.execute(update(registry_version).values(version=registry_version.c.version + 1))


def hold(connection: Connection) -> int:
    """Hold the registry as it is until the end of the transaction, together with others; its version."""
    return int(connection.execute(select(registry_version.c.version).with_for_update(read=True)).scalar_one())


def _own(connection: Connection, act: Act, asset: int, term: int, gateway: int | None) -> None:
    row = {"asset": asset, "term": term, "gateway": gateway, "since": act.at, "by": act.by, "reason": act.reason}
    connection.execute(insert(ownerships).values(**row))


def _check_term(term: int) -> None:
    if not 0 <= term <= LARGEST_TERM:
        raise InvalidError(f"term {term}: terms are whole numbers from 0 to {LARGEST_TERM}")
