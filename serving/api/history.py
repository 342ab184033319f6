"""What a machine lived through, in columns; and its twin as it was at a past moment."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import I64
from edge_runtime.timestamps import format_times
from serving.api import values
from serving.api.asset_forms import HistoryAnswer, HistoryQuery, StateAnswer, StateQuery
from serving.api.call import Call, Reply, Route
from serving.api.desk import Desk, moment, step_of, told
from serving.api.query import read_query
from serving.database.pages import Page, Window, read_page
from serving.database.queries import Asset, Observed, Summarised
from serving.database.tables import prognoses
from serving.database.tables.history import OUTPUTS
from serving.errors import RequestError
from serving.predict.predictor import dump
from serving.predict.reading import EVENTS
from serving.twins.past import Past, state_at

_KNOWN = ("unknown_asset", "form", "malformed", "busy", "away", "late", "not_ready")
_EVENTS = {float(value): name for name, value in EVENTS.items()}


class History:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/assets/{asset}/history",
                self.history,
                "Prognoses, observations or summaries of a machine, in columns",
                query=HistoryQuery,
                answer=HistoryAnswer,
                codes=_KNOWN,
            ),
            Route(
                "GET",
                "/assets/{asset}/state",
                self.state,
                "The twin of a machine at a past moment",
                query=StateQuery,
                answer=StateAnswer,
                codes=(*_KNOWN, "not_replayable", "unknown_model", "unknown_moment"),
            ),
        ]

    async def history(self, call: Call) -> Reply:
        asked = read_query(HistoryQuery, call.query)

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            unit = self._desk.unit(connection, asset)
            page = read_page(connection, asked.kind, asset.id, _window(asked, unit))
            return dump(
                {
                    "asset": asset.name,
                    "kind": asked.kind,
                    "time_unit": unit,
                    "models": page.models,
                    "next": page.next,
                    "earlier": page.earlier,
                    asked.kind: _columns(page, unit),
                }
            )

        return Reply(await self._desk.read(work))

    async def state(self, call: Call) -> Reply:
        asked = read_query(StateQuery, call.query)

        def work(connection: Connection) -> bytes:
            asset = self._desk.asset(connection, call.caller, call.params["asset"])
            unit = self._desk.unit(connection, asset)
            past = state_at(connection, asset, moment(asked.t, unit, "t"), self._desk.centre.catalogue.shelf.by_model)
            return dump(_state(asset, past, _prognosis(connection, asset, past)))

        return Reply(await self._desk.read(work))


def _window(asked: HistoryQuery, unit: str | None) -> Window:
    start = None if asked.start is None else moment(asked.start, unit, "start")
    end = None if asked.end is None else moment(asked.end, unit, "end")
    if start is not None and end is not None and start >= end:
        raise RequestError("time", f"start {asked.start!r} is not before end {asked.end!r}: nothing is between", "end")
    step = None if asked.step is None else step_of(asked.step)
    after = None
    if asked.after is not None:
        t, term, number = map(int, asked.after.split("_"))
        if not -(2**63) <= t < 2**63:
            raise RequestError("form", "after is no place that was given as next", "after")
        after = t, term, number
    return Window(start, end, step, asked.limit, after)


def _columns(page: Page, unit: str | None) -> dict[str, Any]:
    keys = page.keys
    common = {
        "time": _times(keys["t"], unit),
        "term": keys["term"],
        "number": keys["number"],
        "received": _times(keys["t_rx"], "s"),
        "model": page.model,
    }
    if page.kind == "prognoses":
        return common | values.many(keys)
    if page.kind == "observations":
        return common | _observations(page.spans)
    return common | _summaries(page.spans, unit)


def _observations(spans: Sequence[Any]) -> dict[str, Any]:
    found: Sequence[Observed] = spans
    names = list(dict.fromkeys(name for span in found for name in span.channels))
    return {
        "readings": {name: _joined(found, name, lambda span, at: span.readings[:, at]) for name in names},
        "event": [_EVENTS.get(event, f"{event:g}") for span in found for event in span.event.tolist()],
        "age": [age for span in found for age in values.finite(span.age)],
    }


def _summaries(spans: Sequence[Any], unit: str | None) -> dict[str, Any]:
    found: Sequence[Summarised] = spans
    names = list(dict.fromkeys(name for span in found for name in span.channels))
    channels: dict[str, Any] = {name: {} for name in names}
    for name in names:
        for part in ("minimum", "mean", "maximum"):
            channels[name][part] = _joined(found, name, lambda span, at, part=part: getattr(span, part)[:, at])
        received = _joined(found, name, lambda span, at: span.received[:, at])
        channels[name]["received"] = [count or 0 for count in received]
    return {
        "start": _times([t for span in found for t in span.start.tolist()], unit),
        "end": _times([t for span in found for t in span.end.tolist()], unit),
        "count": [count for span in found for count in span.count.tolist()],
        "alarm": [level for span in found for level in span.alarm.tolist()],
        "channels": channels,
    }


def _joined(spans: Iterable[Any], name: str, column: Any) -> list[Any]:
    """A channel's values through spans, null where it was none yet."""
    joined: list[Any] = []
    for span in spans:
        if name in span.channels:
            joined += values.finite(column(span, span.channels.index(name)))
        else:
            joined += [None] * len(span.keys)
    return joined


def _times(nanos: Sequence[int], unit: str | None) -> list[str]:
    found: I64 = np.array(nanos, np.int64)
    return format_times(found, unit or "number") if len(found) else []


def _prognosis(connection: Connection, asset: Asset, past: Past) -> Mapping[str, Any] | None:
    """As replayed, or as stored."""
    if past.outputs:
        return {name: float(past.outputs[name][0]) for name in (*OUTPUTS, "alarm")}
    table = prognoses.c
    query = select(*(table[name] for name in (*OUTPUTS, "alarm"))).where(
        table.asset == asset.id, table.term == past.key.term, table.number == past.key.number
    )
    row = connection.execute(query).first()
    return None if row is None else dict(row._mapping)


def _state(asset: Asset, past: Past, prognosis: Mapping[str, Any] | None) -> dict[str, Any]:
    contract, check = past.served.contract, past.check
    return {
        "asset": asset.name,
        "time": told(past.t, contract.time.unit),
        "term": past.key.term,
        "number": past.key.number,
        "model": past.served.facts,
        "state": base64.b64encode(np.ascontiguousarray(past.state, "<f4").tobytes()).decode(),
        "slices": [
            {"name": part.name, "scope": part.scope, "start": part.start, "size": part.size}
            for part in contract.state.slices
        ],
        "snapshot": None if past.start is None else past.start._asdict(),
        "replayed": past.replayed,
        "check": None
        if check is None
        else {
            "term": check.term,
            "number": check.number,
            "difference": check.difference if math.isfinite(check.difference) else None,
            "tolerance": check.tolerance,
        },
        "prognosis": None if prognosis is None else values.one(prognosis),
        "notes": list(past.notes),
    }
