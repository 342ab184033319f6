"""From what the graph said to what is answered: plain values for JSON, which has neither NaN nor infinity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.contract.quality import Quality
from edge_runtime.timestamps import format_times
from serving.predict.ask import Ask
from serving.predict.run import Ran

SINGLE = ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper", "warming_up", "unfamiliar")
LIVES = ("rul", "rul_lower", "rul_upper")
_DRIVERS = 5  # contributions told
_FLAGS = {flags: [flag.name for flag in Quality if flag & flags] for flags in range(256)}


def answer(ask: Ask, ran: Ran, *, stored: bool, terms: Sequence[int | None] | None = None) -> dict[str, Any]:
    """The answer to one request; `terms`: of each machine's owner, where there are stored twins."""
    told: dict[str, Any] = {"model": ask.served.facts, "stored": stored, "notes": ask.notes}
    if ask.form == "columns":
        told["columns"] = _columns(ask, ran, terms)
    else:
        told["prognoses"] = _rows(ask, ran, None if terms is None else terms[0])
    return told


def numbers_of(ask: Ask, ran: Ran) -> I64:
    """Observation numbers int64[N] of the ask's table: the last of each machine is its twin's."""
    if ask.once:
        return ran.after.number
    before = ran.after.number - ask.last - 1  # the number of a row is this and its place, counted from 1
    return np.repeat(before, ask.counts) + np.arange(1, ask.observations + 1)


def _rows(ask: Ask, ran: Ran, term: int | None) -> list[dict[str, Any]]:
    """Of one machine."""
    contract = ask.served.contract
    chosen = slice(None) if ask.every else slice(-1, None)
    times = format_times(ask.table.time[chosen], contract.time.unit)
    said = {name: ran.outputs[name][chosen].tolist() for name in (*SINGLE, "alarm")}
    numbers = numbers_of(ask, ran)[chosen].tolist()
    quality, contribution, models = (ran.outputs[name][chosen] for name in ("quality", "contribution", "rul_model"))
    told = []
    for at, time in enumerate(times):
        row: dict[str, Any] = {"asset": ask.assets[0] or None, "term": term, "number": numbers[at], "time": time}
        values = {name: said[name][at] for name in SINGLE}
        row |= {name: value if isfinite(value) else None for name, value in values.items()}
        row["open"] = [name for name in LIVES if values[name] == math.inf]
        alarm = said["alarm"][at]
        row["alarm"] = int(alarm) if isfinite(alarm) else 0
        row["quality"] = _quality(quality[at], ask)
        row["contributions"] = _drivers(contribution[at].tolist(), ask)
        if ask.detail:
            values = dict(zip(contract.rul_models, models[at].tolist(), strict=True))
            row["rul_model"] = {name: value if isfinite(value) else None for name, value in values.items()}
        told.append(row)
    return told


def _columns(ask: Ask, ran: Ran, terms: Sequence[int | None] | None) -> dict[str, Any]:
    """In the order of the request's rows (only each machine's last without `every`)."""
    order = _order(ask)
    outputs = {name: ran.outputs[name][order] for name in (*SINGLE, "alarm")}
    machine = np.repeat(np.arange(len(ask.assets)), ask.counts)[order].tolist()
    told: dict[str, Any] = {
        "asset": [ask.assets[at] for at in machine],
        "term": [terms[at] for at in machine] if terms else None,
        "number": numbers_of(ask, ran)[order].tolist(),
        "time": format_times(ask.table.time[order], ask.served.contract.time.unit),
    }
    told |= {name: _finite(outputs[name]) for name in SINGLE}
    told["open"] = {name: (outputs[name] == np.inf).tolist() for name in LIVES}
    told["alarm"] = np.nan_to_num(outputs["alarm"], posinf=0, neginf=0).astype(int).tolist()
    if ask.detail:
        models = ran.outputs["rul_model"][order]
        told["rul_model"] = {name: _finite(models[:, i]) for i, name in enumerate(ask.served.contract.rul_models)}
    return told


def _order(ask: Ask) -> slice | I64:
    """Rows of the table that are told of, in the order of the request."""
    if ask.once:  # then they are as they came
        return slice(None)
    places = np.array(ask.places)
    if ask.every:
        return np.argsort(places, kind="stable")
    return ask.last[np.argsort(places[ask.last], kind="stable")]


def _finite(values: Array) -> list[Any]:
    plain: list[Any] = values.tolist()
    if not np.isfinite(values).all():
        return [value if isfinite(value) else None for value in plain]
    return plain


def _quality(flags: F32, ask: Ask) -> dict[str, list[Any]]:
    """Channels whose reading was not used as it came."""
    if not flags.any():
        return {}
    channels = ask.served.contract.channels
    return {channels[i].name: _FLAGS[int(flags[i]) & 255] for i in np.flatnonzero(flags).tolist()}


def _drivers(contribution: list[float], ask: Ask) -> list[dict[str, Any]]:
    """The largest first; of equal ones the first channel. Lists: NumPy takes longer for so few."""
    sizes = [(abs(value), -place) for place, value in enumerate(contribution) if value and isfinite(value)]
    sizes.sort(reverse=True)
    channels = ask.served.contract.channels
    return [{"channel": channels[-at].name, "value": contribution[-at]} for _, at in sizes[:_DRIVERS]]
