"""Three small classes of machines with records in which everything goes wrong, and the pipeline run on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import data.fetch
import data.ingest
import data.resolve
import data.splits
from data.class_file import load
from training import (
    calibrate,
    canaries,
    evaluate,
    expected_labels,
    export,
    feature_table,
    tracking,
    train_isolation_forest,
    train_lstm,
    train_xgboost,
)

PARAMS = {
    "split": {"folds": 2, "test_share": 0.3, "seed": 7},
    "features": {"seed": 7},
    "xgboost": {"trees": 24, "depth": 3, "learning_rate": 0.3, "colsample": 0.5, "min_child_weight": 20, "seed": 7},
    "isolation_forest": {"trees": 8, "sub_sample": 64, "seed": 7},
    "lstm": {"units": 4, "epochs": 2, "learning_rate": 0.02, "seed": 7},
    "prognosis": {"interval": 0.8, "bins": 3},
}
SENSORS = {
    "temperature": {"quantity": "bearing temperature", "unit": "°C", "range": [-40, 200]},
    "vibration": {"quantity": "vibration velocity", "unit": "mm/s", "range": [0, 50]},
}
# Wired fans write CSV; those with a wireless sensor write Parquet, with snapshots. Repairs and failures are logged.
FAN = {
    "name": "fan",
    "title": "Fan of a test",
    "simulated": True,
    "time": {"unit": "s", "interval": 600, "assemble": False, "tick": 600, "max_gap": 7200},
    "life": {"unit": "h", "age": "optional", "begins": "new", "ends": "failure", "healthy": {"min_remaining": 12}},
    "labels": {"cap": 14, "horizon": 3},
    "channels": {
        "load": {"role": "condition", "quantity": "load", "unit": "%", "range": [0, 110], "hold": 3600},
        **SENSORS,
        "pressure": {"quantity": "pressure", "unit": "bar", "range": [0, 10], "stuck_after": 3600},
        "mains": {"quantity": "voltage of the mains", "unit": "V", "range": [0, 500]},
        "shake": {
            "quantity": "acceleration",
            "unit": "m/s2",
            "range": [-100, 100],
            "waveform": {"axes": ["radial"], "samples": 64, "rate": 1000},
        },
    },
    "derived": {"drop": {"quantity": "pressure", "unit": "bar", "formula": "design - pressure", "range": [-10, 10]}},
    "settings": {"design": {"unit": "bar", "range": [1, 10], "default": 6}},
    "features": {"time_constants": [3, 9], "warm_up": 5, "regimes": 1},
    "alarms": {"likely": {"level": 2, "signal": "failure_probability", "above": 0.5, "on_delay": 600}},
    "source": {
        "reader": "table",
        "files": ["wired.csv", "wireless.parquet"],
        "asset": "machine",
        "time": "at",
        "columns": {"temperature": "T bearing"},
        "settings": "nameplates.csv",
        "failures": {"file": "log.csv", "kind": "what"},
    },
}
# Rows are cycles; the source counts lives; nobody knows ages.
DRUM = {
    "name": "drum",
    "title": "Drum of a test",
    "time": {"unit": "cycle", "interval": 1, "assemble": False, "tick": 1, "max_gap": 20},
    "life": {"unit": "cycle", "age": "none", "begins": "unknown", "ends": "failure", "healthy": {"min_remaining": 60}},
    "labels": {"cap": 80, "horizon": 15},
    "channels": SENSORS,
    "features": {"time_constants": [3, 9], "warm_up": 5, "spike": None},
    "source": {"reader": "table", "files": ["drum.csv"], "life": "life"},
}
# Observations are assembled; the source gives ages, and there is no prognosis without.
KILN = {
    "name": "kiln",
    "title": "Kiln of a test",
    "time": {"unit": "s", "interval": 900, "tick": 900, "max_gap": 7200},
    "life": {"unit": "h", "age": "required", "begins": "unknown", "ends": "failure", "healthy": {"min_remaining": 12}},
    "labels": {"cap": 14, "horizon": 3},
    "channels": SENSORS,
    "features": {"time_constants": [3, 9], "warm_up": 5, "since_new": 100},
    "source": {"reader": "table", "files": ["kiln.csv"], "age": "hours"},
}
CLASSES = {"fan": FAN, "drum": DRUM, "kiln": KILN}
MACHINES = 14
CENSORED = ("M-12", "M-13")
REPAIRED = "M-3"
STUCK = "M-5"
WIRELESS = ("M-8", "M-9", "M-10", "M-11")
START = pd.Timestamp("2026-01-03", tz="UTC")


def one_life(rng: np.random.Generator, asset: str, begin: float, life: int = 0) -> pd.DataFrame:
    """One life of some 22 hours in steps of ten minutes or so; lives are alike in length, and sensors noisy."""
    hours = rng.uniform(21, 24)
    step = rng.uniform(0.5, 1.5, int(hours * 6)) / 6
    step[rng.random(len(step)) < 0.01] += 3  # silent for longer than `max_gap`
    age = np.cumsum(step) - step[0]
    age = age[age < hours]
    worn, noise, load = (age / hours) ** 3, rng.normal(size=(6, len(age))), rng.uniform(40, 100, len(age))
    return pd.DataFrame(
        {
            "machine": asset,
            "at": START + pd.to_timedelta(np.round((begin + age) * 3600, 3), unit="s"),
            "life": life,
            "hours": age,
            "left": hours - age,
            "load": load,
            "temperature": 40 + 0.2 * load + 12 * worn + 2 * noise[0],
            "vibration": np.abs(2 + 5 * worn + 0.8 * noise[1]),
            "pressure": 6 - 1.5 * worn + 0.2 * noise[2],
            "mains": 400.0,
        }
    )


def record(seed: int = 1) -> pd.DataFrame:
    """All rows of all machines, in order; the one repaired has two lives. `left` is known to the test alone."""
    rng = np.random.default_rng(seed)
    lives = []
    for i in range(MACHINES):
        asset = f"M-{i}"
        life = one_life(rng, asset, begin=float(i))
        if asset in CENSORED:
            life = life[: len(life) // 2]
        if asset == REPAIRED:
            life = life[: 2 * len(life) // 3]
            lives.append(life)
            life = one_life(rng, asset, begin=i + life.hours.iloc[-1] + 2.0, life=1)
        lives.append(life)
    table = pd.concat(lives, ignore_index=True)
    stuck = table.index[table.machine == STUCK][40:90]
    table.loc[stuck, "pressure"] = table.pressure[stuck[0]]
    return table


def spoiled(table: pd.DataFrame, seed: int = 2) -> pd.DataFrame:
    """Rows as a logger delivers them: cells missing or unreadable or impossible, rows twice or out of order."""
    rng = np.random.default_rng(seed)
    table = table.astype({"temperature": object})
    for name in ("load", "temperature", "vibration", "pressure"):
        table.loc[rng.random(len(table)) < 0.03, name] = np.nan
    table.loc[rng.random(len(table)) < 0.005, "temperature"] = "broken"
    table.loc[rng.random(len(table)) < 0.005, "temperature"] = 4000.0
    order = np.sort(np.append(np.arange(len(table)), rng.choice(len(table), 5, replace=False)))
    for at in rng.choice(len(table) - 1, 5, replace=False):
        order[[at, at + 1]] = order[[at + 1, at]]
    return table.iloc[order]


def write_sources(table: pd.DataFrame, folder: Path) -> None:
    """The files that the three classes read, as people would write them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    fans = spoiled(table).rename(columns={"temperature": "T bearing"}).drop(columns=["life", "hours", "left"])
    wireless = fans.machine.isin(WIRELESS)
    fans[~wireless].to_csv(folder / "wired.csv", index=False)
    snapshots = [rng.normal(size=64).tolist() if rng.random() < 0.4 else None for _ in range(int(wireless.sum()))]
    numbers = fans[wireless].assign(shake=snapshots)
    numbers["T bearing"] = pd.to_numeric(numbers["T bearing"], errors="coerce")
    numbers.to_parquet(folder / "wireless.parquet", index=False)
    log(table).to_csv(folder / "log.csv", index=False)
    pd.DataFrame({"machine": ["M-0", "M-1"], "design": [6.5, None]}).to_csv(folder / "nameplates.csv", index=False)

    whole = table[~table.machine.isin(CENSORED)]
    drums = whole.assign(asset=whole.machine, time=whole.groupby("machine").cumcount())
    drums[["asset", "time", "life", *SENSORS]].to_csv(folder / "drum.csv", index=False)
    kilns = whole[whole.machine != REPAIRED].rename(columns={"machine": "asset", "at": "time"})
    kilns[["asset", "time", "hours", *SENSORS]].to_csv(folder / "kiln.csv", index=False)


def log(table: pd.DataFrame) -> pd.DataFrame:
    """When machines failed or were repaired, and an entry that ends no life."""
    last = table.groupby(["machine", "life"], sort=False).tail(1)
    last = last[~last.machine.isin(CENSORED)]
    what = np.where((last.machine == REPAIRED) & (last.life == 0), "repair", "failure")
    ends = last["at"] + pd.to_timedelta(np.where(what == "repair", 0.5, 0.01), unit="h")
    entries = pd.DataFrame({"asset": last.machine, "time": ends, "what": what})
    return pd.concat([entries, entries.iloc[:1].assign(what="inspection")])


def prepare(folder: Path, table: pd.DataFrame) -> None:
    """A workspace for the stages: sources, class files, params.yaml, the tracking store."""
    write_sources(table, folder / "data" / "sources")
    (folder / "classes").mkdir()
    for name, content in CLASSES.items():
        (folder / "classes" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump({"fleets": [*CLASSES], **PARAMS}))
    track(folder, folder / "mlflow" / "store")


def track(folder: Path, store: Path) -> None:
    """Let the stages in the workspace `folder` track in `store`."""
    (folder / "mlflow").mkdir(exist_ok=True)
    places = {"tracking_uri": f"sqlite:///{store / 'mlflow.db'}", "artifacts": str(store / "artifacts")}
    (folder / "mlflow" / "tracking.yaml").write_text(yaml.safe_dump(places))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run stages in the workspace `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("OVERHAUL_MIRROR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.setattr(data.resolve, "load", partial(load, folder=folder / "classes"))
        tracking.library.cache_clear()
        tracking._shared_server.cache_clear()
        yield


def ingest(fleet: str) -> None:
    """The stages up to the splits."""
    data.fetch.fetch(data.resolve.resolve(fleet))
    data.ingest.run_stage(fleet)
    data.splits.run_stage(fleet, data.splits.read_params())


def train(fleet: str) -> None:
    feature_table.run(fleet)
    canaries.run(fleet)
    expected_labels.run(fleet)
    train_xgboost.run(fleet)
    train_isolation_forest.run(fleet)
    train_lstm.run(fleet)
    calibrate.run(fleet)
    evaluate.run(fleet)


def run_all(fleet: str) -> None:
    ingest(fleet)
    train(fleet)
    export.run(fleet)
