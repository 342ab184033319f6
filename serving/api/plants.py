"""The plants with the condition of everything in them; and alarms, which people acknowledge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Row

from serving.api.asset_forms import Identifier, Path, Text
from serving.api.assets import visible_node
from serving.api.call import Call, Reply, Route
from serving.api.desk import Desk, scope, told, utc
from serving.api.query import QueryForm, read_query
from serving.database.tables import alarms, assets
from serving.errors import RequestError
from serving.predict.forms import Form
from serving.predict.predictor import dump
from serving.registry.alarms import SEEN_TO, acknowledge, list_alarms, waiting
from serving.registry.audit import Act
from serving.registry.condition import Condition, conditions
from serving.registry.hierarchy import Node
from serving.registry.places import standing_below

_KNOWN = ("unknown_asset", "form", "malformed", "busy", "away", "late", "not_ready")
_ALARM = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class PlantsQuery(QueryForm):
    plant: Identifier | None = None
    silent: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] = Field(
        86_400, description="seconds without a prognosis after which nothing is known of a machine any more"
    )


class NodeForm(Form):
    """`condition` 1: as new, 0: failed, null: not known; `because`: path of the machine that makes it so."""

    path: str
    kind: str
    name: str
    title: str
    criticality: str
    asset: str | None
    condition: float | None
    alarm: int
    because: str | None
    assets: int = Field(description="at and below this node")
    silent: int = Field(description="of these, those nothing is known of")
    children: list[NodeForm]


class PlantsAnswer(Form):
    plants: list[NodeForm]


class AlarmsQuery(QueryForm):
    state: Literal["open", "past", "all"] = "open"
    acknowledged: bool | None = None
    level: Annotated[int, Field(ge=0, le=3)] | None = Field(None, description="now at this level or above")
    asset: Identifier | None = None
    under: Path | None = Field(None, description="a plant or a part of it: north/line-2")
    class_: Identifier | None = Field(None, alias="class", description="asset class")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[str, Field(pattern=r"^([0-9]{1,18}|[1-8][0-9]{18})_[0-9]{1,9}_[A-Za-z0-9_.:-]{1,200}$")] | None = (
        Field(None, description="`next` of the page before")
    )


class Acknowledged(Form):
    """`level`: the alarm's at that time."""

    at: str
    by: str
    comment: str
    level: int


class ContributionForm(Form):
    channel: str
    value: float


class AlarmForm(Form):
    """One occurrence. `level` 0: it has cleared. Times but `received` are of the class."""

    asset: str
    asset_class: str
    id: str
    state: str
    level: int
    since: str
    cleared: str | None
    time: str
    term: int
    number: int
    model_id: str
    prognosis: dict[str, float | bool | None] = Field(
        description="as its gateway sent it; `open` true: a remaining life that is null reaches beyond the cap"
    )
    contributions: list[ContributionForm]
    simulated: bool
    received: str
    acknowledged: Acknowledged | None
    waiting: bool = Field(description="for somebody to acknowledge it: nobody has, or it has risen since")


class AlarmsAnswer(Form):
    alarms: list[AlarmForm] = Field(description="the last to change first")
    next: str | None


class AcknowledgeRequest(Form):
    """May be left out."""

    comment: Text = ""


class Plants:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/plants",
                self.plants,
                "The plants, each with what is in it and in which condition that is",
                query=PlantsQuery,
                answer=PlantsAnswer,
                codes=(*_KNOWN, "unknown_plant"),
            ),
            Route(
                "GET",
                "/alarms",
                self.alarms,
                "Alarms, open or past",
                query=AlarmsQuery,
                answer=AlarmsAnswer,
                codes=(*_KNOWN, "unknown_plant"),
            ),
            Route(
                "POST",
                "/assets/{asset}/alarms/{alarm}/acknowledge",
                self.acknowledge,
                "Say that an alarm is seen to; the first to say so is remembered",
                ("acknowledge",),
                AcknowledgeRequest,
                AlarmForm,
                (*_KNOWN, "unknown_alarm", "slow", "size", "encoding"),
            ),
        ]

    async def plants(self, call: Call) -> Reply:
        asked = read_query(PlantsQuery, call.query)

        def work(connection: Connection) -> bytes:
            if asked.plant is not None:
                visible_node(connection, call.caller, asked.plant)
            since = self._desk.centre.clock.utc() - round(asked.silent * 1e9)
            seen = {asked.plant} if asked.plant else None if call.caller.everywhere else call.caller.plants
            found = conditions(connection, since)
            return dump({"plants": _tree([pair for pair in found if seen is None or _plant(pair[0]) in seen])})

        return Reply(await self._desk.read(work))

    async def alarms(self, call: Call) -> Reply:
        asked = read_query(AlarmsQuery, call.query)

        def work(connection: Connection) -> bytes:
            where = [scope(call.caller), *self._filters(connection, call, asked)]
            after = None
            if asked.after is not None:
                at, asset, name = asked.after.split("_", 2)
                after = int(at), int(asset), name
            found = list_alarms(connection, where, after=after, limit=asked.limit + 1)
            more = found[asked.limit - 1] if len(found) > asked.limit else None
            following = None if more is None else f"{more.at}_{more.asset}_{more.id}"
            return dump({"alarms": self._forms(connection, found[: asked.limit]), "next": following})

        return Reply(await self._desk.read(work))

    async def acknowledge(self, call: Call) -> Reply:
        asked = AcknowledgeRequest.model_validate_json(call.body or b"{}")

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            alarm = call.params["alarm"]
            if not _ALARM.fullmatch(alarm):
                raise RequestError("unknown_alarm", f"asset '{asset.name}' has no such alarm: list its alarms", "alarm")
            act = Act(call.caller.id, self._desk.centre.clock.utc(), asked.comment)
            (form,) = self._forms(connection, [acknowledge(connection, act, asset, alarm)])
            return dump(form)

        return Reply(await self._desk.write(work))

    def _filters(self, connection: Connection, call: Call, asked: AlarmsQuery) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if asked.state != "all":
            found.append(alarms.c.level > 0 if asked.state == "open" else alarms.c.level == 0)
        if asked.acknowledged is not None:
            found.append(SEEN_TO if asked.acknowledged else waiting())
        if asked.level is not None:
            found.append(alarms.c.level >= asked.level)
        if asked.asset is not None:
            found.append(assets.c.id == self._desk.asset(connection, call.caller, asked.asset).id)
        if asked.under is not None:
            found.append(standing_below(visible_node(connection, call.caller, asked.under)))
        if asked.class_ is not None:
            found.append(assets.c.asset_class == asked.class_)
        return found

    def _forms(self, connection: Connection, found: Sequence[Row[Any]]) -> list[dict[str, Any]]:
        units: dict[str, str | None] = {}
        for row in found:
            if row.asset_class not in units:
                contract = self._desk.contract(connection, row.asset_class, row.model_id)
                units[row.asset_class] = None if contract is None else contract.time.unit
        return [_form(row, units[row.asset_class]) for row in found]


def _plant(node: Node) -> str:
    return node.path.partition("/")[0]


def _tree(found: Sequence[tuple[Node, Condition]]) -> list[dict[str, Any]]:
    forms: dict[int, dict[str, Any]] = {}
    plants: list[dict[str, Any]] = []
    for node, condition in found:
        form = {name: getattr(node, name) for name in ("path", "kind", "name", "title", "criticality", "asset")}
        form |= {"condition": condition.value, "alarm": condition.alarm, "because": condition.because}
        form |= {"assets": condition.assets, "silent": condition.silent, "children": []}
        forms[node.id] = form
        (plants if node.parent is None else forms[node.parent]["children"]).append(form)
    return plants


def _form(row: Row[Any], unit: str | None) -> dict[str, Any]:
    said = None
    if row.said_at is not None:
        said = {"at": utc(row.said_at), "by": row.said_by, "comment": row.comment, "level": row.said_level}
    return {
        "asset": row.name,
        "asset_class": row.asset_class,
        "id": row.id,
        "state": row.state,
        "level": row.level,
        "since": told(row.since, unit),
        "cleared": None if row.cleared is None else told(row.cleared, unit),
        "time": told(row._mapping["t"], unit),
        "term": row.term,
        "number": row.number,
        "model_id": row.model_id,
        "prognosis": row.prognosis,
        "contributions": row.contributions,
        "simulated": row.simulated,
        "received": utc(row.at),
        "acknowledged": said,
        "waiting": said is None or row.level > said["level"],
    }
