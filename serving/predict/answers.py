"""From what the graph said to what is answered: plain values for JSON, which has neither NaN nor infinity."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def numbers_of(ask: Ask, ran: Ran, machine: int) -> I64:
    """Observation numbers int64[T]: the last is the twin's."""
    count = len(ask.series[machine].time)
    last = int(ran.after.number[machine])
    return np.arange(last - count + 1, last + 1)


def _rows(ask: Ask, ran: Ran, term: int | None) -> list[dict[str, Any]]:
    """Of one machine."""
    series, outputs = ask.series[0], ran.outputs[0]
    count = len(series.time)
    chosen = range(count) if ask.every else range(count - 1, count)
    times = format_times(series.time[chosen.start :], ask.served.contract.time.unit)
    numbers = numbers_of(ask, ran, 0).tolist()
    contract = ask.served.contract
    told = []
    for step, time in zip(chosen, times, strict=True):
        row: dict[str, Any] = {"asset": ask.assets[0] or None, "term": term, "number": numbers[step], "time": time}
        values = {name: float(outputs[name][step]) for name in SINGLE}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        row["open"] = [name for name in LIVES if values[name] == math.inf]
        alarm = float(outputs["alarm"][step])
        row["alarm"] = int(alarm) if math.isfinite(alarm) else 0
        row["quality"] = _quality(outputs["quality"][step], ask)
        row["contributions"] = _drivers(outputs["contribution"][step], ask)
        if ask.detail:
            values = dict(zip(contract.rul_models, outputs["rul_model"][step].tolist(), strict=True))
            row["rul_model"] = {name: value if math.isfinite(value) else None for name, value in values.items()}
        told.append(row)
    return told


def _columns(ask: Ask, ran: Ran, terms: Sequence[int | None] | None) -> dict[str, Any]:
    """In the order of the request's rows (only each machine's last without `every`)."""
    order: list[int] = []
    assets, numbers, when, said = [], [], [], []
    own_terms: list[int | None] = []
    for machine, series in enumerate(ask.series):
        count = len(series.time)
        taken = count if ask.every else 1
        order += ask.places[machine][count - taken :]
        assets += [ask.assets[machine]] * taken
        own_terms += [terms[machine] if terms else None] * taken
        numbers.append(numbers_of(ask, ran, machine)[count - taken :])
        when.append(series.time[count - taken :])
        said.append({name: value[count - taken :] for name, value in ran.outputs[machine].items()})
    sort = np.argsort(np.array(order), kind="stable")
    outputs = {name: np.concatenate([each[name] for each in said])[sort] for name in (*SINGLE, "alarm")}
    places = sort.tolist()
    told: dict[str, Any] = {
        "asset": [assets[at] for at in places],
        "term": [own_terms[at] for at in places] if terms else None,
        "number": np.concatenate(numbers)[sort].tolist(),
        "time": format_times(np.concatenate(when)[sort], ask.served.contract.time.unit),
    }
    told |= {name: _finite(outputs[name]) for name in SINGLE}
    told["open"] = {name: (outputs[name] == np.inf).tolist() for name in LIVES}
    told["alarm"] = np.nan_to_num(outputs["alarm"], posinf=0, neginf=0).astype(int).tolist()
    if ask.detail:
        models = np.concatenate([each["rul_model"] for each in said])[sort]
        told["rul_model"] = {name: _finite(models[:, i]) for i, name in enumerate(ask.served.contract.rul_models)}
    return told


def _finite(values: Array) -> list[Any]:
    plain: list[Any] = values.tolist()
    if not np.isfinite(values).all():
        return [value if math.isfinite(value) else None for value in plain]
    return plain


def _quality(flags: F32, ask: Ask) -> dict[str, list[Any]]:
    """Channels whose reading was not used as it came."""
    if not flags.any():
        return {}
    channels = ask.served.contract.channels
    return {channels[i].name: _FLAGS[int(flags[i]) & 255] for i in np.flatnonzero(flags).tolist()}


def _drivers(contribution: F32, ask: Ask) -> list[dict[str, Any]]:
    size = np.abs(np.where(np.isfinite(contribution), contribution, 0.0))
    largest = np.argsort(-size, kind="stable")[:_DRIVERS].tolist()
    channels = ask.served.contract.channels
    return [{"channel": channels[i].name, "value": float(contribution[i])} for i in largest if size[i] > 0]
