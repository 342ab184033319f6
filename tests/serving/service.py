"""The service without a network: its front called as ASGI servers call it, on tiny bundles and a real database."""

import asyncio
import dataclasses
import json
from pathlib import Path

from serving.api.centre import Centre
from serving.api.front import Before, Front
from serving.api.handlers import Handlers
from serving.api.machines import machine_routes
from serving.api.settings import LimitSettings, ServiceSettings
from serving.models.settings import ModelsSettings
from tests.edge_runtime.tiny import tiny_bundle

T0 = 1_767_434_400  # 2026-01-03T10:00:00Z
NANOS = 10**9


class StoppedClock:
    """An hour after T0, unless told."""

    def __init__(self, utc=(T0 + 3600) * NANOS):
        self.now = utc

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now


class Client:
    """One worker; `request` gives (status, body as JSON or bytes, headers)."""

    def __init__(self, folder, database=None, *, insecure=True, limits=None, jwt=None, clock=None, **bundle):
        self.folder = Path(folder)
        if not (self.folder / "tiny/bundle").exists():
            tiny_bundle(self.folder / "tiny/bundle", **bundle)
        models = ModelsSettings(folders=("*/bundle",), base=self.folder)
        settings = ServiceSettings(insecure=insecure, models=models, limits=limits or LimitSettings(), jwt=jwt)
        self.centre = Centre(settings, database, clock or StoppedClock())
        self.centre.catalogue.refresh()
        self.front = Front(
            Handlers(self.centre, machine_routes(self.centre)).routes(),
            self.centre.auth,
            settings.limits,
            self.centre.metrics,
        )
        self.app = Before(_nothing, lambda: self.front)

    async def asked(self, method, path, body=b"", headers=None, client="127.0.0.1", parts=1):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        given = {"host": "localhost:3000", **({"content-type": "application/json"} if body else {}), **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "client": (client, 1),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        }
        size = -(-len(body) // parts) or 1
        waiting = [body[at : at + size] for at in range(0, max(len(body), 1), size)]
        sent = []

        async def receive():
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], json.loads(answer) if "json" in told["content-type"] else answer, told

    def request(self, *arguments, **named):
        return asyncio.run(self.asked(*arguments, **named))

    def predict(self, _headers=None, **body):
        body.setdefault("fleet", "tiny")
        return self.request("POST", "/predict", body, _headers)[:2]

    def together(self, *bodies, headers=None):
        """All at once."""

        async def go():
            calls = [self.asked("POST", "/predict", {"fleet": "tiny", **body}, headers) for body in bodies]
            return [answer[:2] for answer in await asyncio.gather(*calls)]

        return asyncio.run(go())


def seen(*seconds, flow=100.0, speed=1500.0, **more):
    """Observations so many seconds after T0."""
    return [{"time": T0 + at, "readings": {"flow": flow, "speed": speed}, **more} for at in seconds]


async def _nothing(scope, receive, send):  # noqa: ARG001 as ASGI calls it
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"behind"})


def changed(settings, **values):
    return dataclasses.replace(settings, **values)
