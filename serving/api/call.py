"""One request as handlers see it, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from serving.api.callers import Caller

JSON = "application/json"


@dataclass(frozen=True)
class Call:
    """`params`: parts of the path; `headers` by lower-case name; `body` unpacked and within limits; `query` as sent."""

    caller: Caller
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    query: bytes = b""


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """What a handler answers, and what OpenAPI says of it. `path` may have parts in braces: "/assets/{asset}".

    `roles`: any one of them will do; None: open to all. `form` and `answer`: the forms of body and answer. `codes`:
    which refusals there can be, besides those that any request may meet. `sends`: description by name of headers read.
    `query`: the form of what stands behind the "?"; see `serving.api.query`.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    roles: tuple[str, ...] | None = ("read",)
    form: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    codes: tuple[str, ...] = ()
    sends: Mapping[str, str] = field(default_factory=dict)
    kind: str = JSON
    example: Any = None
    query: type[BaseModel] | None = None
