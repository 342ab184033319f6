"""Rows of machines that wear out as `training.dataset` describes them, with what models say of them."""

import numpy as np
import pandas as pd

from data.asset_class import AssetClass

CAP, HORIZON = 100.0, 20.0


def asset_class(age="optional", **changes):
    content = {
        "name": "machine",
        "title": "Machine",
        "time": {"unit": "cycle", "interval": 1, "tick": 1, "max_gap": 20},
        "life": {"unit": "cycle", "age": age, "begins": "new", "ends": "failure", "healthy": {"min_remaining": 80}},
        "labels": {"cap": CAP, "horizon": HORIZON},
        "channels": {"oil": {"quantity": "temperature", "unit": "°C", "range": [-50, 150]}},
        "source": {"reader": "table", "files": ["machines.csv"]},
    }
    return AssetClass.model_validate(content | changes)


def machines(count=20, seed=0, noise=8.0, folds=4, length=(60, 200), censored=()):
    """One life a machine, seen every cycle to its failure (or, if `censored`, to half of its life).

    Predictions err by `noise`, and by an offset of each machine, so its rows are alike; the LSTM errs twice as much.
    """
    rng = np.random.default_rng(seed)
    return pd.concat([_one(rng, i, noise, folds, length, i in censored) for i in range(count)], ignore_index=True)


def _one(rng, number, noise, folds, length, censored):
    total = int(rng.integers(*length))
    age = np.arange(total // 2 if censored else total, dtype=float)
    left = total - age
    seen = age[-1] - age if censored else left
    lower, offset = np.minimum(seen, CAP), rng.normal(0, noise / 2)

    def said(by):
        return np.clip(np.minimum(left, CAP) + by * (offset + rng.normal(0, noise, len(age))), 0, CAP)

    path = 1 + 0.3 * np.minimum(left, CAP) / CAP + rng.normal(0, 0.05, len(age))
    return pd.DataFrame(
        {
            "asset": f"M-{number}", "life": 0, "row": np.arange(len(age)), "time": (age * 1e9).astype(np.int64),
            "age": age, "fold": number % folds, "rul": np.nan if censored else left, "lower": lower,
            "upper": CAP if censored else lower, "exact": (lower == CAP) | (not censored),
            "failed_within": np.where(seen >= HORIZON, 0.0, np.nan) if censored else (left <= HORIZON).astype(float),
            "healthy": seen >= 80, "warming_up": np.clip(1 - age / 5, 0, 1), "warm": age >= 5, "since_new": True,
            "at_failure": (left == 1) & (not censored), "lstm": said(2), "aged": said(1), "free": said(1.5),
            "score": 2**-path, "path": path, "novelty": rng.uniform(0, 1, len(age)),
        }
    )  # fmt: skip
