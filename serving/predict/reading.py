"""From the wire form to an `Ask`: names, units, ranges, times and sizes held against the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.arrays import F32, I64, Bool
from edge_runtime.contract.event import Event
from edge_runtime.decode import shown, suggest
from edge_runtime.manifest import Contract
from edge_runtime.replay import Series
from edge_runtime.timestamps import NANOS, format_times, from_numbers, parse_times
from serving.errors import RequestError
from serving.models.served import Served
from serving.models.shelf import Shelf
from serving.predict.ask import Ask
from serving.predict.forms import Columns, Observation, PredictRequest
from serving.predict.hints import time_hint, unit_hint

EVENTS = {"none": Event.NONE, "new_life": Event.NEW_LIFE, "sensor_replaced": Event.SENSOR_REPLACED}
_SHOWN = 5  # notes of one kind


@dataclass(frozen=True)
class Rules:
    """`now`: UTC nanos; observations dated more than `max_ahead` seconds after it are refused. Counts a request."""

    now: int
    max_ahead: float = 60.0
    observations: int = 100_000
    machines: int = 20_000


def read(request: PredictRequest, shelf: Shelf, rules: Rules) -> Ask:
    """`RequestError` names the part of the request, the rule and the way out."""
    _check_form(request)
    served = shelf.find(request.fleet, request.version)
    _check_units(request, served.contract)
    if request.columns is not None:
        ask = _columns(request.columns, served, rules)
    else:
        ask = _rows(request, request.observations or [], served, rules)
    _check_times(ask, rules)
    notes = _check_ranges(ask, refuse=request.out_of_range == "refuse")
    settings = np.tile(read_settings(request.settings, served.contract), (len(ask.assets), 1))
    return replace(ask, settings=settings, every=request.every, detail=request.detail, notes=notes)


def read_settings(given: dict[str, float], contract: Contract) -> F32:
    """f32[P], NaN where nothing is given."""
    known = {setting.name: place for place, setting in enumerate(contract.settings)}
    values = np.full(len(known), np.nan, np.float32)
    for name, value in given.items():
        if name not in known:
            raise RequestError(
                "unknown_setting",
                f"'{name[:80]}' is no setting of class '{contract.asset_class}': {suggest(name, list(known))}",
                "settings",
            )
        setting = contract.settings[known[name]]
        low, high = setting.range
        if not low <= value <= high:
            raise RequestError(
                "range",
                f"setting '{name}' is {value:g}: expected {low:g} … {high:g} {setting.unit}",
                f"settings.{name}",
            )
        values[known[name]] = value
    return values


def _check_form(request: PredictRequest) -> None:
    if (request.observations is None) == (request.columns is None):
        raise RequestError("form", "give either observations (of one machine) or columns (of many)", "observations")
    if request.columns is not None and request.asset is not None:
        raise RequestError("form", "asset is for observations; columns name their machines themselves", "asset")
    if not request.continue_:
        for name in ("store", "term", "after"):
            if getattr(request, name) not in (None, False):
                raise RequestError("form", f'{name} is of a stored twin: set "continue": true, or leave it out', name)
        return
    if request.columns is None and request.asset is None:
        raise RequestError("form", "which stored twin is to be continued? name its asset", "asset")
    if request.version is not None:
        raise RequestError("form", "stored twins run on the default version: leave version out", "version")
    if request.settings:
        raise RequestError("form", "a stored twin has its settings in the registry: change them there", "settings")
    if request.columns is not None and (request.after is not None or request.term is not None):
        raise RequestError("form", "after and term are of one machine: send observations, not columns", "columns")


def _check_units(request: PredictRequest, contract: Contract) -> None:
    units = {channel.name: channel.unit for channel in contract.channels}
    units |= {waveform.name: waveform.unit for waveform in contract.waveforms}
    for name, unit in request.units.items():
        if name not in units:
            raise _unknown_channel(name, contract, "units")
        if unit != units[name]:
            raise RequestError(
                "unit",
                f"channel '{name}' is declared in {units[name]}, not in {unit[:40]!r}: {unit_hint(unit, units[name])}",
                f"units.{name}",
            )


def _rows(request: PredictRequest, observations: Sequence[Observation], served: Served, rules: Rules) -> Ask:
    count = len(observations)
    _check_count(count, rules.observations, "observations")
    channels, contract = served.channels, served.contract
    readings: F32 = np.full((count, len(channels)), np.nan, np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and flagged
        for row, observation in enumerate(observations):
            for name, value in observation.readings.items():
                column = channels.get(name)
                if column is None:
                    raise _unknown_channel(name, contract, f"observations[{row}].readings")
                if value is not None:
                    readings[row, column] = value
    series = Series(
        _times([observation.time for observation in observations], contract, "observations[{}].time"),
        readings,
        np.array([EVENTS[observation.event] for observation in observations], np.float32),
        _ages([observation.age for observation in observations], contract),
        _waveforms(observations, served),
    )
    alone = np.array([count], np.int64)
    return Ask(served, (request.asset or "",), series, alone, range(count), np.zeros((1, 0), np.float32))


def _columns(columns: Columns, served: Served, rules: Rules) -> Ask:
    count = len(columns.asset)
    if not count:
        raise RequestError("form", "columns are empty: give at least one row", "columns.asset")
    _check_count(count, rules.observations, "columns")
    contract = served.contract
    readings: F32 = np.full((count, len(served.channels)), np.nan, np.float32)
    lengths = {"time": columns.time, "event": columns.event, "age": columns.age}
    lengths |= {f"readings.{name}": values for name, values in columns.readings.items()}
    for name, values in lengths.items():
        if values is not None and len(values) != count:
            raise RequestError(
                "form", f"{name} has {len(values)} rows, asset {count}: give one a row", f"columns.{name}"
            )
    with np.errstate(over="ignore"):
        for name, numbers in columns.readings.items():
            if name not in served.channels:
                raise _unknown_channel(name, contract, "columns.readings")
            readings[:, served.channels[name]] = np.array(numbers, np.float64)  # None becomes NaN
    time = _times(columns.time, contract, "columns.time[{}]")
    event: F32 = np.zeros(count, np.float32)
    if columns.event:
        event[:] = [EVENTS[name] for name in columns.event]
    age = _ages(columns.age or [None] * count, contract)
    assets, counts, places = _by_machine(columns.asset)
    _check_count(len(assets), rules.machines, "machines")
    table = Series(time, readings, event, age)
    if len(assets) < count:  # else they are in order as they came
        table = Series(time[places], readings[places], event[places], age[places])
    return Ask(served, assets, table, counts, places, np.zeros((len(assets), 0), np.float32), form="columns")


def _by_machine(names: Sequence[str]) -> tuple[tuple[str, ...], I64, Sequence[int]]:
    """Machines in the order they come, how many rows each has, and these rows, machine by machine."""
    rows: dict[str, list[int]] = {}
    for row, asset in enumerate(names):
        rows.setdefault(asset, []).append(row)
    counts = np.array([len(own) for own in rows.values()], np.int64)
    if len(rows) == len(names):
        return tuple(rows), counts, range(len(names))
    return tuple(rows), counts, [row for own in rows.values() for row in own]


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise RequestError("size", f"{count:,} {what} in one request: send at most {most:,}", what)


def _times(given: Sequence[str | float], contract: Contract, where: str) -> I64:
    unit = contract.time.unit
    texts = [value for value in given if isinstance(value, str)]
    if texts and len(texts) < len(given):
        raise RequestError("time", "some times are text and some numbers: use one form", where.format(0))
    time, usable = parse_times(texts, unit) if texts else from_numbers(np.array(given, np.float64))
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        expected = "ISO 8601 such as 2026-01-03T10:00:00Z, or UTC seconds" if unit == "s" else f"a number of {unit}s"
        hint = time_hint(given[row]) if unit == "s" else ""
        raise RequestError("time", f"{shown(given[row])} is no time: expected {expected}{hint}", where.format(row))
    return time


def _ages(given: Sequence[float | None], contract: Contract) -> F32:
    with np.errstate(over="ignore"):
        age: F32 = np.array(given, np.float64).astype(np.float32)
    if contract.life.age == "required" and np.isnan(age).any():
        row = int(np.flatnonzero(np.isnan(age))[0])
        raise RequestError(
            "age",
            f"class '{contract.asset_class}' needs the age ({contract.life.unit}) of each observation",
            f"age[{row}]",
        )
    if (age < 0).any() or np.isinf(age).any():
        row = int(np.flatnonzero((age < 0) | np.isinf(age))[0])
        raise RequestError(
            "age", f"age {given[row]:g}: expected {contract.life.unit}s since new, 0 or more", f"age[{row}]"
        )
    return age


def _waveforms(observations: Sequence[Observation], served: Served) -> dict[str, tuple[I64, F32]]:
    found: dict[str, tuple[list[int], list[F32]]] = {}
    shapes = {waveform.name: (len(waveform.axes), waveform.samples) for waveform in served.contract.waveforms}
    for row, observation in enumerate(observations):
        for name, axes in observation.waveforms.items():
            where = f"observations[{row}].waveforms"
            if name not in shapes:
                raise RequestError(
                    "unknown_channel",
                    f"'{name[:80]}' is no waveform of this class: {suggest(name, list(shapes))}",
                    where,
                )
            sizes = {len(axis) for axis in axes}
            if (len(axes), *sizes) != shapes[name]:
                raise RequestError(
                    "form",
                    f"waveform '{name}' has {len(axes)} axes of {sorted(sizes)} samples: "
                    f"expected {shapes[name][0]} of {shapes[name][1]}",
                    f"{where}.{name}",
                )
            rows, blocks = found.setdefault(name, ([], []))
            rows.append(row)
            with np.errstate(over="ignore"):
                blocks.append(np.array(axes, np.float64).astype(np.float32))
    return {name: (np.array(rows, np.int64), np.stack(blocks)) for name, (rows, blocks) in found.items()}


def _check_times(ask: Ask, rules: Rules) -> None:
    unit, time = ask.served.contract.time.unit, ask.table.time
    latest = rules.now + round(rules.max_ahead * NANOS)
    part = "columns.time" if ask.form == "columns" else "observations"
    if unit == "s" and int(time.max()) > latest:
        row = int(np.argmax(time))
        raise RequestError(
            "future",
            f"{_said(time[row], unit)} is {(int(time[row]) - rules.now) / NANOS:,.0f} s in the future: at most "
            f"{rules.max_ahead:g} s are allowed; set the clock of what sends it, or check the time zone",
            f"{part}[{ask.places[row]}]",
        )
    if ask.once:
        return
    back = time[1:] <= time[:-1]
    back[ask.last[:-1]] = False  # from one machine to the next
    if back.any():
        row = int(np.argmax(back)) + 1
        raise RequestError(
            "order",
            f"{_said(time[row], unit)} is not after {_said(time[row - 1], unit)} of row "
            f"{ask.places[row - 1]}: send each machine's observations in order of time, each once",
            f"{part}[{ask.places[row]}]",
        )


def _said(time: np.int64, unit: str) -> str:
    return format_times(np.array([time]), unit)[0]


def _check_ranges(ask: Ask, *, refuse: bool) -> list[str]:
    """Notes of what is physically impossible: the graph flags it and does not use it."""
    channels = ask.served.contract.channels
    low, high = ask.served.ranges
    readings = ask.table.readings
    outside: Bool = (readings < low) | (readings > high)  # NaN is neither
    if not outside.any():
        return []
    notes = []
    for column in np.flatnonzero(outside.any(axis=0)).tolist():
        at = int(np.flatnonzero(outside[:, column])[0])
        channel = channels[column]
        message = (
            f"channel '{channel.name}' is declared in {channel.unit} ({channel.range[0]:g} … {channel.range[1]:g}); "
            f"got {readings[at, column]:,.6g} in row {ask.places[at]}: check the unit"
        )
        if refuse:
            raise RequestError("range", message, ask.where(at))
        more = int(outside[:, column].sum()) - 1
        notes.append(message + (f" ({more} more)" if more else "") + "; it is flagged and not used")
    return notes[:_SHOWN] + ([f"{len(notes) - _SHOWN} more channels are out of range"] if len(notes) > _SHOWN else [])


def _unknown_channel(name: str, contract: Contract, where: str) -> RequestError:
    known = [channel.name for channel in contract.channels]
    return RequestError(
        "unknown_channel",
        f"'{name[:80]}' is no channel of class '{contract.asset_class}': {suggest(name, known)}",
        where,
    )
