"""What the service answers: prognoses, and what is needed to ask for them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

from serving.api.call import Call, Reply, Route
from serving.api.centre import Centre
from serving.api.errors import ErrorAnswer
from serving.api.forms import Models, Ready
from serving.api.metrics import KIND
from serving.api.openapi import document
from serving.database.schema import check
from serving.errors import AwayError, RequestError, ServingError
from serving.predict.ask import Ask
from serving.predict.forms import PredictAnswer, PredictRequest
from serving.predict.reading import Rules, read
from serving.twins.continuing import Continuation

LARGE = 64 << 10  # bytes of a body that is read in a thread, not in the loop
SHORT = 8  # observations of a machine at most, to go with the newest ones
log = logging.getLogger(__name__)
_KEY = re.compile(r"[\x21-\x7e]{1,128}")

_ASK = (
    "malformed",
    "unknown_fleet",
    "conflict",
    "slow",
    "size",
    "encoding",
    "form",
    "busy",
    "away",
    "late",
)


class Handlers:
    """Of one worker. `others`: routes of other modules, told of in the same document."""

    def __init__(self, centre: Centre, others: Sequence[Route] = ()) -> None:
        self._centre, self._others = centre, tuple(others)
        self._openapi: bytes | None = None

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST",
                "/predict",
                self.predict,
                "Health, failure probability and remaining life of machines",
                ("read", "observe"),
                PredictRequest,
                PredictAnswer,
                _ASK,
                {"Idempotency-Key": "the same key and request again: the same answer, and nothing is stored twice"},
            ),
            Route("GET", "/models", self.models, "What is served, and what it needs", answer=Models),
            Route(
                "GET",
                "/readyz",
                self.readyz,
                "Whether requests can be answered",
                None,
                answer=Ready,
                codes=("not_ready",),
            ),
            Route("GET", "/metrics", self.metrics, "For Prometheus", None, kind=KIND),
            Route("GET", "/openapi.json", self.openapi, "This document", None),
            *self._others,
        ]

    async def predict(self, call: Call) -> Reply:
        request, ask = await self._ask(call.body)
        if request.continue_:
            result = self._continue(call, request, ask)
        else:
            call.caller.check_role("read")
            short = int(ask.counts.max()) <= SHORT
            result = (self._centre.newest if short else self._centre.histories).submit(ask)
        try:
            async with asyncio.timeout(self._centre.settings.limits.answer):
                body = await result
        except TimeoutError:
            raise RequestError(
                "late", "it took too long: ask with an Idempotency-Key whether it was stored, or send less at once"
            ) from None
        if not request.continue_:  # else who stores them knows how many they are
            self._centre.metrics.advanced(ask.served.name, ask.observations, stored=False)
        return Reply(body)

    def _continue(self, call: Call, request: PredictRequest, ask: Ask) -> asyncio.Future[bytes]:
        lane = self._centre.previews if request.store is False else self._centre.stored
        if lane is None:
            raise RequestError(
                "form",
                "there is no database here, so no stored twins: leave continue out, and send a history",
                "continue",
            )
        call.caller.check_role("read" if request.store is False else "observe")
        key = call.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise RequestError("form", "Idempotency-Key: expected 1 to 128 printable characters", "Idempotency-Key")
        digest = "" if key is None else hashlib.sha256(call.body).hexdigest()
        job = Continuation(ask, call.caller, request.store, request.term, request.after, key, digest)
        return lane.submit(job)

    async def _ask(self, body: bytes) -> tuple[PredictRequest, Ask]:
        if len(body) <= LARGE:
            return self._read(body)
        return await asyncio.get_running_loop().run_in_executor(None, self._read, body)

    def _read(self, body: bytes) -> tuple[PredictRequest, Ask]:
        settings = self._centre.settings
        request = PredictRequest.model_validate_json(body)
        limits = settings.limits
        rules = Rules(self._centre.clock.utc(), settings.max_ahead, limits.observations, limits.machines)
        return request, read(request, self._centre.catalogue.shelf, rules)

    async def models(self, _: Call) -> Reply:
        shelf = self._centre.catalogue.shelf
        told = []
        for served in sorted(shelf, key=lambda each: (each.name, each.version)):
            contract = served.contract
            told.append(
                {
                    **served.facts,
                    "title": contract.title,
                    "aliases": list(served.aliases),
                    "default": shelf.defaults[served.name] == served.version,
                    "age": contract.life.age,
                    "channels": [
                        {"name": each.name, "quantity": each.quantity, "unit": each.unit, "range": list(each.range)}
                        for each in contract.channels
                    ],
                    "waveforms": [
                        {"name": each.name, "unit": each.unit, "axes": list(each.axes), "samples": each.samples}
                        for each in contract.waveforms
                    ],
                    "settings": [
                        {"name": each.name, "unit": each.unit, "range": list(each.range), "default": each.default}
                        for each in contract.settings
                    ],
                }
            )
        return Reply(_dump({"models": told, "problems": dict(self._centre.catalogue.problems)}))

    async def readyz(self, _: Call) -> Reply:
        centre = self._centre
        told: dict[str, Any] = {"ready": True, "models": sum(1 for _ in centre.catalogue.shelf), "database": "none"}
        if centre.database is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(None, check, centre.database)
                told["database"] = "ready"
            except AwayError as error:  # says where the database is, and anybody may ask
                log.warning("not ready: %s", error)
                raise RequestError(
                    "not_ready", "the database cannot be used now: see the service's log", after=5
                ) from None
            except ServingError as error:
                raise RequestError("not_ready", str(error), after=5) from None
        if not told["models"]:
            raise RequestError("not_ready", "no bundle is served: see models in the settings, and the log", after=5)
        return Reply(_dump(told))

    async def metrics(self, _: Call) -> Reply:
        metrics = self._centre.metrics
        metrics.models.set(sum(1 for _ in self._centre.catalogue.shelf))
        return Reply(metrics.exposition(), kind=KIND)

    async def openapi(self, _: Call) -> Reply:
        if self._openapi is None:
            self._openapi = _dump(document(self.routes(), ErrorAnswer))
        return Reply(self._openapi)


def _dump(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
