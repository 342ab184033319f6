"""What the gateway that owns a machine has been told of it, and whether it has taken it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sqlalchemy import Connection

from serving.api.call import Call, Reply, Route
from serving.api.desk import Desk, utc
from serving.predict.forms import Form
from serving.predict.predictor import dump
from serving.registry.assignments import find_wanted


class Told(Form):
    """`settings_version` 0: nothing was ever set at the centre."""

    id: str
    gateway: str
    term: int
    settings_version: int
    status: Literal["waiting", "sent", "done", "refused"] = Field(
        description="waiting: a hub sends it once the gateway is online; sent: it has not answered yet, or a person "
        "must put something right there (`reason`); done, refused: what it answered"
    )
    at: str = Field(description="when it was decided, UTC")
    sent_at: str | None = Field(description="when the broker had it, the last time")
    answered_at: str | None
    sent: str = Field(description="which state its twin goes on from, and what that lacks")
    reason: str = Field(description="why the gateway refused it, or what it did otherwise")


class AssignmentAnswer(Form):
    asset: str
    assignment: Told | None = Field(description="null: its gateway needs to be told nothing, or the centre owns it")


class Assignments:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/assets/{asset}/assignment",
                self.assignment,
                "What its gateway has been told: term, settings, where the twin goes on",
                answer=AssignmentAnswer,
                codes=("unknown_asset", "form", "malformed", "busy", "away", "late", "not_ready"),
            )
        ]

    async def assignment(self, call: Call) -> Reply:
        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            found = find_wanted(connection, asset.name)
            if found is None:
                return dump({"asset": asset.name, "assignment": None})
            times = {name: getattr(found, name) for name in ("at", "sent_at", "answered_at")}
            told = {name: None if at is None else utc(at) for name, at in times.items()}
            return dump({"asset": asset.name, "assignment": vars(found) | told})

        return Reply(await self._desk.read(work))
