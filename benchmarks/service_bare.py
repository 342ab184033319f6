"""What a user would write: Starlette, one route, the same graph, nothing stored, nothing checked, one row a request.

BARE_BUNDLE names the bundle; `uvicorn benchmarks.service_bare:app`.
"""

from __future__ import annotations

import json
import os

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.bundle import Bundle

bundle = Bundle.load(os.environ["BARE_BUNDLE"])
step = bundle.step
names = [channel.name for channel in bundle.contract.channels]
single = ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper", "alarm")


async def predict(request: Request) -> Response:
    asked = json.loads(await request.body())
    readings = asked["observations"][0]["readings"]
    row = np.array([[readings.get(name, np.nan) for name in names]], np.float32)
    feed = {
        "readings": row,
        "dt": np.zeros(1, np.float32),
        "event": np.zeros(1, np.float32),
        "age": np.full(1, np.nan, np.float32),
        "settings": np.full((1, step.settings), np.nan, np.float32),
        "state": step.start(1),
    }
    outputs = step(feed, single)
    told = {name: float(outputs[name][0]) for name in single}
    return Response(json.dumps({"prognosis": told}).encode(), media_type="application/json")


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
