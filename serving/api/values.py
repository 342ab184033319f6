"""Prognoses as they stand in the database into plain values for JSON: null for what is not finite, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.database.tables.history import OUTPUTS

LIVES = ("rul", "rul_lower", "rul_upper")


def one(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of one prognosis: columns by name, as in the table."""
    values = {name: math.nan if row[name] is None else float(np.float32(row[name])) for name in OUTPUTS}
    told: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in values.items()}
    told["open"] = [name for name in LIVES if values[name] == math.inf]
    alarm = row["alarm"]
    told["alarm"] = 0 if alarm is None or not math.isfinite(alarm) else int(alarm)
    return told


def many(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Of prognoses, a list a column."""
    arrays = {name: np.array(columns[name], np.float64).astype(np.float32) for name in OUTPUTS}
    told: dict[str, Any] = {name: finite(values) for name, values in arrays.items()}
    told["open"] = {name: (arrays[name] == np.inf).tolist() for name in LIVES}
    told["alarm"] = [level or 0 for level in columns["alarm"]]
    return told


def finite(values: Any) -> list[Any]:
    """Of an array [n]: null for NaN and infinities."""
    plain: list[Any] = values.tolist()
    if not np.isfinite(values).all():
        return [value if math.isfinite(value) else None for value in plain]
    return plain
