"""The prediction service, as BentoML serves it: `bentoml serve serving.service:Overhaul`.

OVERHAUL_CENTRE names a centre.toml (database, keys, models, limits). Without it the bundles in artifacts/*/bundle are
served on this computer, if OVERHAUL_INSECURE=true. The API is documented at /openapi.json, BentoML's own view of it
stands at /docs.json.
"""

from __future__ import annotations

import os
from typing import Any

# Before BentoML is imported: it reads them once.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("DO_NOT_TRACK", "1")

import bentoml
from _bentoml_sdk import Service  # type: ignore[import-untyped, unused-ignore]
from bentoml.exceptions import InvalidArgument, ServiceUnavailable

from serving.api.call import Call
from serving.api.callers import LOCAL
from serving.api.centre import check_environment
from serving.api.front import App, Before
from serving.api.worker import Worker
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

    worker = Worker()  # of this process

    @bentoml.on_deployment  # type: ignore[untyped-decorator, unused-ignore]
    @staticmethod
    def check() -> None:
        """Before there are workers: wrong settings end `bentoml serve` with what is wrong. A build reads none."""
        try:
            check_environment()
        except ServingError as error:
            raise SystemExit(str(error)) from None

    @bentoml.on_startup  # type: ignore[untyped-decorator, unused-ignore]
    async def open(self) -> None:
        await Prediction.worker.open()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator, unused-ignore]
    async def close(self) -> None:
        await Prediction.worker.close()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator, unused-ignore]
    async def predict(self, request: PredictRequest, /) -> PredictAnswer:
        """Health, failure probability and remaining life of machines.

        Over HTTP the front answers this route itself; this is for other services in the same process.
        """
        handlers = Prediction.worker.handlers
        if handlers is None:
            raise ServiceUnavailable("the service is not ready: see /readyz")
        try:
            reply = await handlers.predict(Call(LOCAL, {}, {}, request.model_dump_json(by_alias=True).encode()))
        except ServingError as error:
            raise InvalidArgument(str(error)) from error
        return PredictAnswer.model_validate_json(reply.body)


class _Fronted(Service[Prediction]):  # type: ignore[misc]
    """BentoML's service with our front before its application."""

    def to_asgi(self, is_main: bool = True) -> App:
        return Before(super().to_asgi(is_main), lambda: Prediction.worker.front)


Overhaul = _Fronted(name="overhaul", config=CONFIG, inner=Prediction)
