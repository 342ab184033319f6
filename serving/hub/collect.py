"""A group of messages turned into rows of tables: what may be taken is, all else is refused with a reason."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Table

from edge_runtime.arrays import Bool
from edge_runtime.contract.bodies import Ack, Alarm, Event, to_json
from edge_runtime.contract.envelope import Envelope
from edge_runtime.contract.rows import Observations, Prognoses, Rows, States, Summaries
from edge_runtime.contract.wire import Message
from serving.database import rows as packing
from serving.database.bulk import json_text
from serving.database.tables import (
    alarm_changes,
    alarms,
    command_answers,
    events,
    observations,
    prognoses,
    states,
    summaries,
    waveform_features,
)
from serving.hub.names import Layout, Names, Owned
from serving.hub.reading import Dead, Read

TABLES: Mapping[type[Any], Table] = {
    Observations: observations,
    Prognoses: prognoses,
    Summaries: summaries,
    States: states,
}
_SHOWN = 5  # machines named in the detail of a dead letter


def layout_for(message: Message) -> Layout | None:
    """How the rows of a block are packed; None for what has no layout."""
    body = message.body
    if isinstance(body, Observations | Prognoses | Summaries):
        return Layout(body.kind, body.asset_class, packing.layout_of(body))
    return None


def machines_in(read: Read) -> Iterable[tuple[str, str, str, int]]:
    """(asset, class, gateway, term) of the machines that a message is about; class "": it does not say."""
    message = read.message
    if message is None:
        return
    body, envelope = message.body, message.envelope
    if isinstance(body, Rows):
        newest = np.zeros(len(body.keys.assets), np.int64)
        np.maximum.at(newest, body.keys.asset, body.keys.term)
        for asset, term in zip(body.keys.assets, newest.tolist(), strict=True):
            yield asset, body.asset_class, read.gateway, term
    elif isinstance(body, Alarm):
        yield body.asset, "", read.gateway, body.term
    elif envelope.part is not None and envelope.asset is not None:
        yield envelope.asset, "", read.gateway, envelope.part.term


@dataclass
class Part:
    """A part of a waveform that may be stored."""

    read: Read
    asset: int
    envelope: Envelope
    data: bytes


@dataclass
class Collected:
    """What a group comes to. `columns`: table → columns; `dead`: letters and why; `counts`: (gateway, name) → sum."""

    columns: dict[Table, dict[str, list[Any]]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    dead: list[tuple[Read, Dead]] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, table: Table, columns: Mapping[str, Iterable[Any]]) -> None:
        mine = self.columns.setdefault(table, {})
        for name, values in columns.items():
            mine.setdefault(name, []).extend(values)

    def bury(self, read: Read, reason: str, detail: str) -> None:
        self.dead.append((read, Dead(reason, detail)))
        self.counts[read.gateway, f"dead_{reason}"] += 1


class Collector:
    """Collects under the registry as it is in `names`; `at`: now, UTC nanos."""

    def __init__(self, names: Names, at: int) -> None:
        self.found = Collected()
        self._names, self._at = names, at

    def add(self, read: Read) -> None:
        """A message that has not been stored yet."""
        message = read.message
        assert message is not None
        body = message.body
        if isinstance(body, Rows):
            self._block(read, message.envelope, body)
        elif isinstance(body, Alarm):
            self._alarm(read, message.envelope, body)
        elif isinstance(body, Event):
            self._event(read, body)
        elif isinstance(body, Ack):
            self._answer(read, body)
        else:
            self._part(read, message.envelope, body)

    def _block(self, read: Read, envelope: Envelope, body: Rows) -> None:
        count = len(body.keys)
        if not count:
            return
        owned = [self._names.assets.get(name) for name in body.keys.assets]
        taken = self._may(read, body, owned)
        if taken is not None and not taken.any():
            return
        ids = np.array([-1 if asset is None else asset.id for asset in owned])
        columns: dict[str, Sequence[Any]] = {
            "asset": ids[body.keys.asset].tolist(),
            "t": body.keys.t.tolist(),
            "term": body.keys.term.tolist(),
            "number": body.keys.number.tolist(),
            "t_rx": [envelope.t_rx] * count,
            "model": [self._names.models[envelope.model_id or ""]] * count,
        }
        layout = layout_for(Message(envelope, body))
        if layout is not None:
            columns["layout"] = [self._names.layouts[layout.key]] * count
        columns |= _own_columns(body)
        if isinstance(body, Observations) and body.waveforms:
            self._features(body, columns, taken)
        if taken is not None:
            columns = {name: list(itertools.compress(values, taken)) for name, values in columns.items()}
        self.found.add(TABLES[type(body)], columns)

    def _may(self, read: Read, body: Rows, owned: list[Owned | None]) -> Bool | None:
        """Which rows may be stored, None: all. The others are counted, and the letter is kept."""
        gateway = self._names.gateways[read.gateway]
        wrong = [_objection(asset, gateway, body.asset_class) for asset in owned]
        terms = np.array([-1 if asset is None else asset.term for asset in owned])[body.keys.asset]
        difference = body.keys.term - terms
        if not any(wrong) and not difference.any():
            return None
        objections = np.array([reason or "" for reason in wrong], object)[body.keys.asset]
        objections = np.where(objections != "", objections, np.where(difference > 0, "new_term", ""))
        unowned = np.isin(objections, ("unknown_asset",))
        objections = np.where((difference < 0) & ~unowned, "old_term", objections)
        refused = Counter(objections.tolist())
        for reason, rows in sorted(refused.items()):
            if reason:
                self.found.counts[read.gateway, f"refused_{reason}"] += rows
                named = sorted({body.keys.name(int(row)) for row in np.flatnonzero(objections == reason)})
                self.found.bury(read, reason, _refusal(reason, named, rows))
        taken: Bool = objections == ""
        return taken

    def _one(self, read: Read, asset: str, term: int) -> Owned | None:
        """The machine that a message is about, if it may be stored."""
        owned = self._names.assets.get(asset)
        reason = _objection(owned, self._names.gateways[read.gateway], "")
        if owned is not None and term != owned.term:
            reason = "old_term" if term < owned.term else reason or "new_term"
        if reason is None:
            return owned
        self.found.counts[read.gateway, f"refused_{reason}"] += 1
        self.found.bury(read, reason, _refusal(reason, [asset], 1))
        return None

    def _features(self, body: Observations, columns: Mapping[str, Sequence[Any]], taken: Bool | None) -> None:
        for channel, snapshots in body.waveforms.items():
            data = np.ascontiguousarray(snapshots.features, "<f4")
            rows = snapshots.row.tolist()
            in_order = np.argsort(snapshots.row, kind="stable").tolist()  # of equal keys the first one is stored
            kept = [at for at in in_order if taken is None or taken[rows[at]]]
            mine: dict[str, list[Any]] = {
                name: [columns[name][rows[at]] for at in kept] for name in ("asset", "term", "number", "t")
            }
            mine |= {"channel": [channel] * len(kept), "body": [data[at].tobytes() for at in kept]}
            self.found.add(waveform_features, mine)

    def _alarm(self, read: Read, envelope: Envelope, body: Alarm) -> None:
        owned = self._one(read, body.asset, body.term)
        if owned is None:
            return
        told = to_json(body)
        common = {name: [told[name]] for name in ("id", "state", "level", "term", "number", "t")}
        common |= {name: [json_text(told[name])] for name in ("prognosis", "contributions")}
        common |= {"asset": [owned.id], "at": [self._at]}
        self.found.add(alarm_changes, {**common, "previous": [body.previous]})
        own = {"since": body.since, "cleared": body.t if body.state == "cleared" else None, "simulated": body.simulated}
        model = self._names.models[envelope.model_id or ""]
        self.found.add(alarms, {**common, **{name: [value] for name, value in own.items()}, "model": [model]})

    def _event(self, read: Read, body: Event) -> None:
        told = to_json(body) | {"gateway": self._names.gateways[read.gateway], "at": self._at}
        told["counts"] = json_text(told["counts"])
        self.found.add(events, {name: [value] for name, value in told.items()})

    def _answer(self, read: Read, body: Ack) -> None:
        told = to_json(body) | {"gateway": self._names.gateways[read.gateway], "at": self._at}
        self.found.add(command_answers, {name: [value] for name, value in told.items()})

    def _part(self, read: Read, envelope: Envelope, data: bytes) -> None:
        assert envelope.part is not None
        if envelope.asset is None:
            self.found.bury(read, "identity", "a part of a waveform names its machine in the topic")
            return
        owned = self._one(read, envelope.asset, envelope.part.term)
        if owned is not None:
            self.found.parts.append(Part(read, owned.id, envelope, data))


def _own_columns(body: Rows) -> dict[str, Sequence[Any]]:
    if isinstance(body, Observations):
        return packing.observation_columns(body)
    if isinstance(body, Prognoses):
        return packing.prognosis_columns(body)
    if isinstance(body, Summaries):
        return packing.summary_columns(body)
    return packing.state_columns(body)


def _objection(owned: Owned | None, gateway: int, asset_class: str) -> str | None:
    """Why nothing of a machine may be stored, whatever its term."""
    if owned is None:
        return "unknown_asset"
    if owned.gateway != gateway:
        return "not_owner"
    if asset_class and owned.asset_class not in ("", asset_class):
        return "wrong_class"
    return None


_WAYS_OUT = {
    "unknown_asset": "nobody has registered it: register it, or set registry.adopt = true",
    "not_owner": "another owns it: assign it to this gateway, or take it out of the gateway's machines.csv",
    "wrong_class": "it is registered with another class: correct the registry, or the gateway's machines.csv",
    "old_term": "it has changed its owner since: nothing is to be done, unless the gateway should own it",
    "new_term": "the registry does not know this term: assign it there, or correct the gateway's machines.csv",
}


def _refusal(reason: str, machines: Sequence[str], rows: int) -> str:
    more = f" and {len(machines) - _SHOWN} more" if len(machines) > _SHOWN else ""
    return f"{rows} rows of {', '.join(machines[:_SHOWN])}{more}: {_WAYS_OUT[reason]}"
