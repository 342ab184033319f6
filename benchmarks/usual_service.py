"""What one would put behind FastAPI without a twin graph: the same trained models through their own libraries.

USUAL_FLEET names the fleet, whose artifacts must be here; `uvicorn benchmarks.usual_service:app`. It answers what
`benchmarks.service` sends: one machine's newest observation. Each machine has a DataFrame of its recent history, to
which the observation is appended, and the state of its LSTM, both in this process: nothing is committed. Features by
pandas, then Keras `model(x)`, xgboost and scikit-learn, one after the other; no interval, no alarm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks import measure

measure.single_threaded()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from benchmarks.usual import Usual  # noqa: E402

OBSERVATIONS = 150  # kept of each machine

usual = Usual.of(os.environ.get("USUAL_FLEET", "pump"), OBSERVATIONS)
model = usual.keras_model()


class Observation(BaseModel):
    time: float
    readings: dict[str, float]
    age: float | None = None


class Asked(BaseModel):
    asset: str
    observations: list[Observation]


class Answer(BaseModel):
    rul: float
    failure_probability: float
    anomaly_score: float


@dataclass
class Machine:
    history: pd.DataFrame
    h: np.ndarray  # [1, units]
    c: np.ndarray


def new() -> Machine:
    zero = np.zeros((1, usual.lstm.units), np.float32)
    return Machine(usual.history, zero, zero)


machines: dict[str, Machine] = {}
app = FastAPI()


@app.post("/predict")
async def predict(asked: Asked) -> Answer:
    """`async`: one after the other, without the hop into a thread, which takes longer here."""
    machine = machines.setdefault(asked.asset, new())
    seen = asked.observations[-1]
    row = pd.DataFrame([{**seen.readings, "age": np.nan if seen.age is None else seen.age}], dtype=np.float64)
    machine.history = pd.concat([machine.history, row], ignore_index=True).tail(OBSERVATIONS)
    X = usual.features.last_row(machine.history)[None, :]
    inputs = [X[:, None, usual.lstm_columns], machine.h, machine.c]
    rul, h, c = model(inputs)
    machine.h, machine.c = np.asarray(h), np.asarray(c)  # Keras takes no mixture of its tensors and arrays
    failing = usual.booster.inplace_predict(np.ascontiguousarray(X[:, usual.booster_columns]))
    odd = usual.forest.score_samples(np.ascontiguousarray(X[:, usual.forest_columns]))
    return Answer(rul=float(rul[0, 0]), failure_probability=float(failing[0]), anomaly_score=float(-odd[0]))
