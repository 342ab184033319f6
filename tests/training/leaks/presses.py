"""A small fleet of made-up presses: lives of very different length, two sensors, records of some cut short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import data.fetch
import data.ingest
import data.resolve
import data.splits
from training import feature_table

FLEET = "press"
CLASS = {
    "name": FLEET,
    "title": "Press of a test",
    "simulated": True,
    "time": {"unit": "cycle", "interval": 1, "assemble": False, "tick": 1, "max_gap": 20},
    "life": {"unit": "cycle", "age": "optional", "begins": "new", "ends": "censored", "healthy": {"min_remaining": 20}},
    "labels": {"cap": 90, "horizon": 10},
    "channels": {
        "force": {"quantity": "force", "unit": "kN", "range": [0, 100]},
        "heat": {"quantity": "temperature", "unit": "°C", "range": [-40, 200]},
    },
    "features": {"time_constants": [3, 9], "warm_up": 3, "spike": None},
    "source": {"reader": "table", "files": ["press.csv"], "failures": {"file": "log.csv", "kind": "what"}},
}
PARAMS = {
    "fleets": [FLEET],
    "split": {"folds": 2, "test_share": 0.2, "seed": 7},
    "xgboost": {"depth": 3, "subsample": 0.7, "colsample": 0.7, "min_child_weight": 50, "seed": 7},
}
STILL_RUN = 2  # of the machines


def records(machines: int, seed: int = 5) -> pd.DataFrame:
    """Rows of presses that wear; the last ones still run at half of their life."""
    rng, lives = np.random.default_rng(seed), []
    for i in range(machines):
        length = int(rng.integers(30, 100))
        wear = (np.arange(length) / length) ** 2
        life = pd.DataFrame({"asset": f"P-{i}", "time": np.arange(length)})
        life["force"] = 40 + 10 * wear + rng.normal(size=length)
        life["heat"] = 60 + 8 * wear + 2 * rng.normal(size=length)
        lives.append(life if i < machines - STILL_RUN else life[: length // 2])
    return pd.concat(lives, ignore_index=True)


def write_sources(folder: Path, machines: int) -> None:
    """Records and the log of failures, below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = records(machines)
    table.to_csv(folder / "press.csv", index=False)
    last = table.groupby("asset", sort=False).tail(1)[["asset", "time"]].head(machines - STILL_RUN)
    last.assign(what="failure").to_csv(folder / "log.csv", index=False)


def write_class(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{FLEET}.yaml").write_text(yaml.safe_dump(CLASS, sort_keys=False), encoding="utf-8")


def make_features() -> None:
    """The stages up to the features, in the current folder; `data.resolve.load` has to find the class."""
    data.fetch.fetch(data.resolve.resolve(FLEET))
    data.ingest.run_stage(FLEET)
    data.splits.run_stage(FLEET, data.splits.read_params())
    feature_table.run(FLEET)
