"""The front of the service, an ASGI application: limits, keys, roles and rate, then the handler of the route.

It stands before BentoML's own stack, not inside it: measured with a handler that does nothing, that stack takes several
times what all of this takes (see `benchmarks/service.py`). BentoML's own pages are passed on to it.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from pydantic import BaseModel

from edge_runtime.contract.text import short
from serving.api import errors, limits
from serving.api.auth import CHALLENGE, Auth
from serving.api.call import JSON, Call, Reply, Route
from serving.api.callers import Caller
from serving.api.metrics import Metrics
from serving.api.settings import LimitSettings
from serving.errors import RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ALIVE = ("/livez", "/healthz")  # of BentoML: whether the process is there
PAGES, FILES = ("/", "/docs.json", "/schema.json"), "/static_content/"  # of BentoML: its own view of the service
ANYBODY = Caller("", frozenset(), frozenset())
log = logging.getLogger(__name__)


class _HungUpError(Exception):
    """Nobody waits for the answer any more."""


class Front:
    """Answers `routes`; of any other path it says that there is none."""

    def __init__(self, routes: Iterable[Route], auth: Auth, settings: LimitSettings, metrics: Metrics) -> None:
        self._auth, self._settings, self._metrics = auth, settings, metrics
        self._rate = limits.Rate(settings.rate, settings.burst)
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self._shapes: list[str] = []  # of paths with parts in braces
        for route in routes:
            self._add(route)

    def find(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]] | None:
        """By method what answers `path`, and its parts in braces."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        for pattern, by_method in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return by_method, match.groupdict()
        return None

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, by_method: Mapping[str, Route], params: Mapping[str, str]
    ) -> None:
        started = time.monotonic()
        route = by_method.get(scope["method"])
        try:
            if route is None:
                raise RequestError("method", f"{scope['method']} is not done here: use {' or '.join(by_method)}")
            reply = await self._reply(route, params, scope, receive)
        except _HungUpError:
            return
        except Exception as error:
            reply = self._refusal(error, by_method, None if route is None else route.form or route.query)
        await _send(send, reply)
        name = "other" if route is None else route.path
        self._metrics.answered(name, reply.status, time.monotonic() - started)

    async def answer_unknown(self, path: str, send: Send) -> None:
        """With the route that is meant, where one is like it."""
        known = [*self._exact, *self._shapes]
        close = difflib.get_close_matches(path[:100].rstrip("/"), known, 1)
        way_out = f"did you mean {close[0]}?" if close else "see /openapi.json"
        told = RequestError("unknown_path", f"there is no {short(path, 100)}: {way_out}", short(path, 100))
        self._metrics.refused(told.code)
        self._metrics.answered("other", 404, 0.0)
        await _send(send, Reply(errors.body(told), errors.STATUS[told.code]))

    async def _reply(self, route: Route, params: Mapping[str, str], scope: Scope, receive: Receive) -> Reply:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        caller = ANYBODY
        if route.roles is not None:
            client = (scope.get("client") or ("",))[0]
            caller = await self._auth.caller(headers, client, headers.get("host", ""))
            self._rate.take(caller.id, time.monotonic())
            caller.check_role(*route.roles)
        body = b""
        if route.form is not None:
            kind = headers.get("content-type", JSON).partition(";")[0].strip().lower()
            if kind != JSON:
                raise RequestError(
                    "encoding", f"Content-Type {kind[:60]!r} is not read here: send {JSON}", "Content-Type"
                )
            async with asyncio.timeout(self._settings.receive) as waiting:
                try:
                    body = await self._body(headers, receive)
                except TimeoutError:
                    if waiting.expired():
                        seconds = f"{self._settings.receive:g} s"
                        raise RequestError("slow", f"the body did not arrive within {seconds}: send it again") from None
                    raise
            body = limits.unpack(body, headers.get("content-encoding", ""), self._settings)
            limits.check_depth(body, self._settings.depth)
        return await route.handler(Call(caller, params, headers, body, scope.get("query_string", b"")))

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        most = self._settings.body
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared[:20]) > most:
            raise limits.too_large("as sent", most)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _HungUpError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise limits.too_large("as sent", most)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _refusal(self, error: Exception, by_method: Mapping[str, Route], form: type[BaseModel] | None) -> Reply:
        told = errors.refusal(error, form)
        status = errors.STATUS[told.code]
        if status == 500:
            log.error("a request failed", exc_info=error)
        self._metrics.refused(told.code)
        headers: dict[str, str] = {}
        if status == 401:
            headers |= CHALLENGE
        if status == 405:
            headers["Allow"] = ", ".join(by_method)
        if told.after is not None:
            headers["Retry-After"] = str(max(1, round(told.after)))
        if status in (408, 413):  # the rest of the body is not read: this connection is of no more use
            headers["Connection"] = "close"
        return Reply(errors.body(told), status, headers=headers)

    def _add(self, route: Route) -> None:
        if "{" not in route.path:
            self._exact.setdefault(route.path, {})[route.method] = route
            return
        text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
        for pattern, by_method in self._patterns:
            if pattern.pattern == text:
                by_method[route.method] = route
                return
        self._patterns.append((re.compile(text), {route.method: route}))
        self._shapes.append(route.path)


class Unready:
    """Instead of a `Front` while something is missing: every request is told what."""

    def __init__(self, why: str) -> None:
        self._told = RequestError("not_ready", why, after=5)

    async def refuse(self, send: Send) -> None:
        await _send(send, Reply(errors.body(self._told), errors.STATUS["not_ready"], headers={"Retry-After": "5"}))


class Before:
    """`behind` (BentoML's own application) with a `Front` before it, or what says that there is none yet."""

    def __init__(self, behind: App, front: Callable[[], Front | Unready]) -> None:
        self._behind, self._front = behind, front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in ALIVE:
            await self._behind(scope, receive, send)
            return
        front = self._front()
        if isinstance(front, Unready):
            await front.refuse(send)
            return
        found = front.find(path)
        if found is not None:
            await front.answer(scope, receive, send, *found)
        elif path in PAGES or path.startswith(FILES):
            await self._behind(scope, receive, send)
        else:
            await front.answer_unknown(path, send)


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.kind.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    headers += [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
