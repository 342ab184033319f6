"""The wire form of commands."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge_runtime.contract.command import LONGEST_TTL
from serving.api.query import QueryForm
from serving.commands.status import Status
from serving.predict.forms import Form, Name, Number

Reason = Annotated[
    str,
    Field(
        min_length=3,
        max_length=500,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        description="for the record: why, as whoever looks into it in a year should read it",
    ),
]


class CommandRequest(Form):
    """Write `value` to `channel`."""

    channel: Name
    value: Number
    reason: Reason
    unit: Name | None = Field(None, description="of the value, to be checked against the class")
    ttl: Annotated[float, Field(ge=1, le=LONGEST_TTL)] | None = Field(
        None, description="seconds in which it must be carried out, once it is approved; left out: as is set here"
    )
    term: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="refuse unless the machine's owner still has this term"
    )


class CancelRequest(Form):
    reason: Reason


class CommandChange(Form):
    status: Status
    at: str
    by: str
    detail: str


class CommandAnswer(Form):
    """A command and how it fares; times in UTC."""

    id: str
    asset: str
    gateway: str
    term: int
    channel: str
    value: float
    unit: str
    reason: str
    by: str
    at: str
    status: Status
    detail: str = Field(description="why it has this status")
    expires: str = Field(description="until then it may be approved, or, once queued, carried out")
    ttl: float
    approvals: int = Field(description="how many others must approve it")
    approved_by: str | None
    approved_at: str | None
    sent_at: str | None = Field(description="when the broker had it")
    read_back: float | None = Field(description="what the gateway read back")
    changed: str
    history: list[CommandChange]


class CommandsQuery(QueryForm):
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="so many, the newest first")
    before: Name | None = Field(None, description="id of a command: those that were made before it")
    open: bool = Field(False, description="only those that are not over")


class CommandsAnswer(Form):
    commands: list[CommandAnswer]
