"""The prediction service, as BentoML serves it: `bentoml serve serving.service:Overhaul`.

OVERHAUL_CENTRE names a centre.toml (database, keys, models, limits). Without it the bundles in artifacts/*/bundle are
served on this computer, if OVERHAUL_INSECURE=true. The API is documented at /openapi.json, BentoML's own view of it
stands at /docs.json.
"""

from __future__ import annotations

import gc
import os
from typing import Any

# Before BentoML is imported: it reads them once.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("DO_NOT_TRACK", "1")

import bentoml
from _bentoml_sdk import Service  # type: ignore[import-untyped, unused-ignore]
from bentoml.exceptions import InvalidArgument

from serving.api.call import Call
from serving.api.callers import LOCAL
from serving.api.centre import Centre
from serving.api.front import App, Before, Front
from serving.api.handlers import Handlers
from serving.api.machines import machine_routes
from serving.errors import ServingError
from serving.predict.forms import PredictAnswer, PredictRequest

CONFIG: dict[str, Any] = {
    "workers": 1,
    "http": {"host": "127.0.0.1", "port": 3000},
    # Each request leaves a timer of BentoML's behind for so many seconds, and all it refers to: keep them few.
    "traffic": {"timeout": 35},
    "logging": {"access": {"enabled": False}},  # a fifth of a request's time
    "metrics": {"enabled": False, "namespace": "bentoml_service"},  # ours, at /metrics, have route and status
    "tracing": {"excluded_urls": ".*"},
}


class Prediction:
    """Health, failure probability and remaining life of machines, from the model that runs on the gateways."""

    centre: Centre | None = None  # of this worker
    front: Front | None = None

    @bentoml.on_startup  # type: ignore[untyped-decorator, unused-ignore]
    def open(self) -> None:
        centre = Centre.from_environment()
        centre.open()
        self.handlers = Handlers(centre, machine_routes(centre))
        Prediction.centre = centre
        Prediction.front = Front(self.handlers.routes(), centre.auth, centre.settings.limits, centre.metrics)
        # What is here now stays: the collector need not walk through it again and again (p99 falls by two thirds).
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator, unused-ignore]
    async def close(self) -> None:
        Prediction.front = None
        if Prediction.centre is not None:
            await Prediction.centre.close()
            Prediction.centre = None

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator, unused-ignore]
    async def predict(self, request: PredictRequest, /) -> PredictAnswer:
        """Health, failure probability and remaining life of machines.

        Over HTTP the front answers this route itself; this is for other services in the same process.
        """
        try:
            reply = await self.handlers.predict(Call(LOCAL, {}, {}, request.model_dump_json(by_alias=True).encode()))
        except ServingError as error:
            raise InvalidArgument(str(error)) from error
        return PredictAnswer.model_validate_json(reply.body)


class _Fronted(Service[Prediction]):  # type: ignore[misc]
    """BentoML's service with our front before its application."""

    def to_asgi(self, is_main: bool = True) -> App:
        return Before(super().to_asgi(is_main), lambda: Prediction.front)


Overhaul = _Fronted(name="overhaul", config=CONFIG, inner=Prediction)
