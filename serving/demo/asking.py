"""The service asked over HTTP, as a maintenance app would ask it."""

from __future__ import annotations

import math
from typing import Any

from edge_runtime.timestamps import format_times
from serving.database.queries import read_observations
from serving.demo.errors import DemoError
from serving.demo.plant import Plant
from serving.demo.recording import Stage
from serving.demo.watch import Machine

EVENTS = ("none", "new_life", "sensor_replaced")


def compare(plant: Plant, stage: Stage, machine: Machine) -> str:
    """Send `POST /predict` what the hub has stored of a machine; how far its answer is from what the gateway said."""
    observations: list[dict[str, Any]] = []
    with plant.database.read() as connection:
        for span in read_observations(connection, machine.asset):
            times = format_times(span.keys.t, stage.contract.time.unit)
            for row, time in enumerate(times):
                readings = zip(span.channels, span.readings[row].tolist(), strict=True)
                age = float(span.age[row])
                observations.append(
                    {
                        "time": float(time) if stage.contract.time.unit == "cycle" else time,
                        "readings": {name: value for name, value in readings if not math.isnan(value)},
                        "event": EVENTS[int(span.event[row])],
                        "age": None if math.isnan(age) else age,
                    }
                )
    body = {"fleet": stage.fleet, "observations": observations, "settings": machine.played.settings, "every": True}
    answer = plant.ask("/predict", body)
    said = {each["number"]: each["rul"] for each in answer["prognoses"]}
    apart = [abs(said[point.number] - point.rul) for point in machine.points if said.get(point.number) is not None]
    if not apart:
        raise DemoError(f"POST /predict foretells no remaining life of {machine.played.asset}")
    return (
        f"POST {plant.url}/predict with the same {len(observations):,} observations of {machine.played.asset} says the "
        f"same: remaining lives differ by {max(apart):.2g} {stage.contract.life.unit} at most"
    )
