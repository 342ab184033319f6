"""Machines: which there are, how they are now, how they are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from edge_runtime.manifest import Contract
from serving.api import values
from serving.api.asset_forms import (
    AssetsAnswer,
    AssetsQuery,
    AssetWhole,
    SettingsAnswer,
    SettingsQuery,
    SettingsRequest,
)
from serving.api.call import Call, Reply, Route
from serving.api.callers import Caller
from serving.api.desk import Desk, scope, told, utc
from serving.api.query import read_query
from serving.database.queries import Asset
from serving.database.tables import assets, gateways, latest, models
from serving.database.tables.history import OUTPUTS
from serving.errors import RequestError, UnknownError
from serving.predict.predictor import dump
from serving.registry.asset_settings import Settings, read_settings, set_settings
from serving.registry.audit import Act
from serving.registry.hierarchy import find_node
from serving.registry.owners import owners
from serving.registry.places import Place, read_places, standing_below

PATIENCE = 120_000_000_000  # nanos since its last status after which a gateway is not online any more
_KNOWN = ("unknown_asset", "form", "malformed", "busy", "away", "late", "not_ready")

_ASSETS = (
    select(
        assets.c.id,
        assets.c.name,
        assets.c.asset_class,
        assets.c.tier,
        assets.c.term.label("owner_term"),
        gateways.c.name.label("gateway"),
        gateways.c.state.label("gateway_state"),
        gateways.c.heard_at,
        models.c.model_id,
        *(latest.c[name] for name in ("t", "term", "number", "t_rx", "alarm", *OUTPUTS)),
    )
    .select_from(assets)
    .outerjoin(gateways, gateways.c.id == assets.c.gateway)
    .outerjoin(latest, latest.c.asset == assets.c.id)
    .outerjoin(models, models.c.id == latest.c.model)
)


class Assets:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        one = "/assets/{asset}"
        return [
            Route(
                "GET",
                "/assets",
                self.assets,
                "The machines, each with its newest prognosis, by name",
                query=AssetsQuery,
                answer=AssetsAnswer,
                codes=(*_KNOWN, "unknown_plant"),
            ),
            Route("GET", one, self.asset, "One machine, whole", answer=AssetWhole, codes=_KNOWN),
            Route(
                "GET",
                f"{one}/settings",
                self.settings,
                "How a machine is set, now or in an older version",
                query=SettingsQuery,
                answer=SettingsAnswer,
                codes=(*_KNOWN, "unknown_version"),
            ),
            Route(
                "PUT",
                f"{one}/settings",
                self.change_settings,
                "Set a machine anew, as the next version",
                ("command",),
                SettingsRequest,
                SettingsAnswer,
                (*_KNOWN, "conflict", "class", "slow", "size", "encoding"),
            ),
        ]

    async def assets(self, call: Call) -> Reply:
        asked = read_query(AssetsQuery, call.query)

        def work(connection: Connection) -> bytes:
            where = [scope(call.caller), *_filters(connection, call.caller, asked)]
            page = _ASSETS.where(*where).order_by(assets.c.name).limit(asked.limit + 1)
            found = connection.execute(page).all()
            more = found[asked.limit - 1].name if len(found) > asked.limit else None
            return dump({"assets": self._forms(connection, found[: asked.limit]), "next": more})

        return Reply(await self._desk.read(work))

    async def asset(self, call: Call) -> Reply:
        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            (form,) = self._forms(connection, connection.execute(_ASSETS.where(assets.c.id == asset.id)).all())
            form["settings"] = self._settings(connection, asset, read_settings(connection, asset.name))
            form["owners"] = [
                {"term": each.term, "gateway": each.gateway, "since": utc(each.since)}
                | {"by": each.by, "reason": each.reason}
                for each in owners(connection, asset.name)
            ]
            return dump(form)

        return Reply(await self._desk.read(work))

    async def settings(self, call: Call) -> Reply:
        asked = read_query(SettingsQuery, call.query)

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            found = read_settings(connection, asset.name, asked.version)
            return dump(self._settings(connection, asset, found))

        return Reply(await self._desk.read(work))

    async def change_settings(self, call: Call) -> Reply:
        asked = SettingsRequest.model_validate_json(call.body)

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            contract = self._contract(connection, asset)
            if contract is None:
                raise RequestError(
                    "class",
                    f"no bundle of class '{asset.asset_class}' is known here, so its settings cannot be checked: offer "
                    "one, and set them then",
                    "asset",
                )
            act = Act(call.caller.id, self._desk.centre.clock.utc(), asked.reason)
            new = set_settings(connection, act, asset.name, asked.values, contract=contract, version=asked.version)
            return dump(self._settings(connection, asset, new))

        return Reply(await self._desk.write(work))

    def _contract(self, connection: Connection, asset: Asset) -> Contract | None:
        """Of the bundle that the machine runs on, else of its class."""
        query = select(models.c.model_id).join(latest, latest.c.model == models.c.id)
        model_id = connection.execute(query.where(latest.c.asset == asset.id)).scalar()
        return self._desk.contract(connection, asset.asset_class, model_id)

    def _settings(self, connection: Connection, asset: Asset, found: Settings) -> dict[str, Any]:
        contract = self._contract(connection, asset)
        known = (
            None
            if contract is None
            else [
                {"name": each.name, "unit": each.unit, "range": list(each.range), "default": each.default}
                | {"value": found.values.get(each.name)}
                for each in contract.settings
            ]
        )
        return {
            "asset": asset.name,
            "version": found.version,
            "values": dict(found.values),
            "at": utc(found.at) if found.version else None,
            "by": found.by,
            "reason": found.reason,
            "known": known,
        }

    def _forms(self, connection: Connection, found: Sequence[Row[Any]]) -> list[dict[str, Any]]:
        places = read_places(connection, [row.id for row in found])
        contracts: dict[tuple[str, str | None], Contract | None] = {}
        forms = []
        now = self._desk.centre.clock.utc()
        for row in found:
            key = row.asset_class, row.model_id
            if key not in contracts:
                contracts[key] = self._desk.contract(connection, *key)
            forms.append(_form(row, places.get(row.id), contracts[key], now))
        return forms


def _filters(connection: Connection, caller: Caller, asked: AssetsQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.under is not None:
        found.append(standing_below(visible_node(connection, caller, asked.under)))
    if asked.class_ is not None:
        found.append(assets.c.asset_class == asked.class_)
    if asked.alarm is not None:
        found.append(latest.c.alarm >= asked.alarm)
    if asked.gateway is not None:
        found.append(gateways.c.name == asked.gateway)
    if asked.after is not None:
        found.append(assets.c.name > asked.after)
    return found


def visible_node(connection: Connection, caller: Caller, path: str) -> int:
    """The id of a node; one of another's plant is as unknown as one that is not there."""
    plant = path.partition("/")[0]
    if not caller.everywhere and plant not in caller.plants:
        raise UnknownError(f"there is no plant {plant[:64]!r}: list the plants", "plant")
    return find_node(connection, path).id


def _form(row: Row[Any], place: Place | None, contract: Contract | None, now: int) -> dict[str, Any]:
    heard = row.heard_at
    fresh = heard is not None and now - heard <= PATIENCE
    return {
        "asset": row.name,
        "asset_class": row.asset_class,
        "tier": row.tier,
        "owner": {
            "gateway": row.gateway,
            "term": row.owner_term,
            "online": None if row.gateway is None else row.gateway_state == "online" and fresh,
            "heard": None if heard is None else utc(heard),
        },
        "place": None if place is None else dict(vars(place)),
        "latest": None if row.model_id is None else _latest(row._mapping, contract, now),
        "time_unit": None if contract is None else contract.time.unit,
        "life_unit": None if contract is None else contract.life.unit,
        "cap": None if contract is None else contract.labels.cap,
    }


def _latest(row: Mapping[Any, Any], contract: Contract | None, now: int) -> dict[str, Any]:
    return values.one(row) | {
        "time": told(row["t"], None if contract is None else contract.time.unit),
        "term": row["term"],
        "number": row["number"],
        "model_id": row["model_id"],
        "received": utc(row["t_rx"]),
        "age": max(0.0, round((now - row["t_rx"]) / 1e9, 3)),
    }
