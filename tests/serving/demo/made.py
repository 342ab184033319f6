"""A fleet of tiny machines as the pipeline leaves it: bundle, observations, lives, splits; and scenes of it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edge_runtime.decode import decode
from edge_runtime.manifest import Contract
from serving.demo.reading import Point
from serving.demo.recording import Played, Stage
from serving.demo.watch import Change, Machine, Scene
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract

HOUR = 3_600_000_000_000
START = 1_767_225_600_000_000_000  # 2026-01-01
HEADER = "asset,life,begin,last,end,kind,held_out,known_new\n"


def write_fleet(folder, *, rows=600, bundle=True):
    """Of the fleet "tiny" below `folder`: m1 … m4, of which m1 was learnt from; m2 fails first, m4 did not fail."""
    artifacts = folder / "artifacts/tiny"
    (artifacts / "bundle").mkdir(parents=True)
    if bundle:
        tiny_bundle(artifacts / "bundle")
    lives = {"m1": (0, rows), "m2": (70, rows // 2), "m3": (140, rows), "m4": (210, rows)}
    lines, tables = [], []
    for name, (delay, count) in lives.items():
        time = START + (np.arange(count) + delay) * HOUR // 60  # one observation a minute
        kind = "censored" if name == "m4" else "failure"
        lines.append(f"{name},0,{time[0]},{time[-1]},{time[-1]},{kind},False,True\n")
        columns = {
            "asset": pa.array([name] * count),
            "time": pa.array(time, pa.timestamp("ns", tz="UTC")),
            "life": pa.array(np.zeros(count, np.int32)),
            "event": pa.array(np.eye(1, count)[0].astype(np.int8)),
            "age": pa.array(np.arange(count) / 60),
            "flow": pa.array(np.full(count, 100, np.float32)),
            "speed": pa.array(np.linspace(1000, 1500, count, dtype=np.float32)),
        }
        tables.append(pa.table(columns))
    (artifacts / "lives.csv").write_text(HEADER + "".join(lines))
    machines = {"m1": 0, "m2": "test", "m3": "test", "m4": "test"}
    (artifacts / "splits.json").write_text(json.dumps({"seed": 1, "machines": machines, "cuts": {}}))
    (artifacts / "machines.csv").write_text("asset,offset\nm2,1.5\nm3,\n")
    (folder / "data/observations").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), folder / "data/observations/tiny.parquet")


def stage(folder, **changes):
    contract = decode(Contract, tiny_contract(**changes), "contract")
    machines = tuple(Played(f"m{i}", START, START + 300 * i * HOUR, START + 300 * i * HOUR, True, {}) for i in (2, 3))
    return Stage("tiny", folder, contract, machines)


def scene(stage, hours):
    """Each machine after so many hours: its remaining life falls as the truth does, and below 100 hours it is told."""
    machines = []
    for number, played in enumerate(stage.machines):
        life = (played.last - played.begin) // HOUR
        points, changes = [], []
        for hour in range(0, min(hours, life) + 1, 5):
            left = float(life - hour)
            upper = left * 1.2 + 20
            point = Point(
                START + hour * HOUR, hour // 5 + 1, left / life, 1 - left / life, min(left + 10, 480.0), 0, 0, 0, 0
            )
            point = point._replace(lower=left * 0.8, upper=upper if upper < 480 else np.inf, alarm=2 * (left < 100))
            if point.alarm and not (points and points[-1].alarm):
                lives = point.rul, point.lower, point.upper
                changes.append(Change(played.asset, "a", point.number, point.t, 2, 0, *lives, ("bearing_heat", "flow")))
            points.append(point)
        machines.append(Machine(played, number + 1, points, changes))
    now = max(machine.newest.t for machine in machines)
    return Scene(tuple(machines), now, 12, 3456, 7.25, 512.5, "online", 0, False)
