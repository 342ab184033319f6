"""What an intake remembers, as bytes for a checkpoint: a table of plain arrays (`contract.block`) and one JSON text.

Machines and channels are told by name, so an intake for other machines, or for the class's next bundle, takes over what
it shares. Waveforms that wait are left out: they are not acknowledged before their observation is committed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.arrays import I64, Array, Bool
from edge_runtime.assembly import Fold
from edge_runtime.contract.block import read_table, write_table
from edge_runtime.contract.limits import Limits
from edge_runtime.errors import StateError, WireError
from edge_runtime.intake.assembler import NEVER, Assembler, Window
from edge_runtime.intake.records import LONG_AGO

if TYPE_CHECKING:
    from edge_runtime.intake.intake import Intake

VERSION = 1
LIMITS = Limits(json=1 << 26, block=1 << 40, columns=32)
_CLOCKS = ("closed", "newest", "newest_closed", "offset", "end")


def pack(intake: Intake, utc: int, now: int) -> bytes:
    """All that `intake` needs to go on, `utc` and its clock being at `now`."""
    notes = intake.notes
    said = {
        "version": VERSION,
        "utc": utc,
        "assets": intake.assets,
        "channels": intake.channels,
        "assembles": intake.assembles,
        "interval": intake.rules.interval,
        "aggregates": [rule.aggregate for rule in intake.rules.channels],
        "events": [[row, time, event] for row, told in notes.events.items() for time, event in told],
        "known": [[row, time, event] for row, told in notes.known.items() for time, event in told],
        "ages": [[row, time, age] for row, told in notes.ages.items() for time, age in told],
        "held": [[row, time, age] for row, (time, age) in notes.held.items()],
        "used": [[row, name, time] for (row, name), time in intake.snapshots.used.items()],
    }
    arrays: dict[str, Array] = {"last": intake.passage.given}
    if intake.assembles:
        arrays |= _pack_windows(intake.assembler, utc - now)
    return write_table(arrays, {"said": json.dumps(said)})


def unpack(intake: Intake, state: bytes) -> int:
    """Have a new `intake` go on from `state`; returns the UTC to which its clocks count. `StateError` if unreadable."""
    try:
        arrays, notes = read_table(state, LIMITS)
        said = json.loads(notes["said"])
        if said["version"] != VERSION:
            raise StateError(
                f"the intake's state is of version {said['version']}, this software reads {VERSION}: "
                "go on with the software that wrote it"
            )
        index = {asset: row for row, asset in enumerate(intake.assets)}
        rows = np.array([index.get(asset, -1) for asset in said["assets"]], np.int64)
        _unpack_notes(intake, said, rows)
        if intake.assembles != said["assembles"]:
            raise StateError("the intake's state is of a class that assembles otherwise: start without it")
        if intake.assembles:
            _unpack_windows(intake, said, arrays, rows)
        else:
            kept = np.flatnonzero(rows >= 0)
            intake.passage.set(rows[kept], arrays["last"][kept])
        return int(said["utc"])
    except (WireError, KeyError, ValueError, TypeError, IndexError) as error:
        raise StateError(f"the intake's state cannot be read ({error!r}): start without it") from error


def _unpack_notes(intake: Intake, said: dict[str, Any], rows: I64) -> None:
    notes = intake.notes
    for row, time, event in said["known"]:
        if rows[row] >= 0:
            notes.know(int(rows[row]), time, event)
    for row, time, event in said["events"]:
        if rows[row] >= 0:
            notes.events.setdefault(int(rows[row]), []).append((time, event))
    for row, time, age in said["ages"]:
        if rows[row] >= 0:
            notes.age(int(rows[row]), time, age)
    notes.held |= {int(rows[row]): (time, age) for row, time, age in said["held"] if rows[row] >= 0}
    intake.snapshots.used |= {(int(rows[row]), name): time for row, name, time in said["used"] if rows[row] >= 0}


def _pack_windows(assembler: Assembler, behind: int) -> dict[str, Array]:
    machines = assembler.machines
    arrays: dict[str, Array] = {
        name: np.array([getattr(machine, name) for machine in machines], np.int64) for name in _CLOCKS
    }
    arrays["offset"] += behind
    arrays |= {"held_time": assembler.held_time, "held_value": assembler.held_value}
    windows = [(row, window) for row, machine in enumerate(machines) for window in machine.windows.values()]
    records = assembler.records.array(packed for _, window in windows for packed in window.rows)
    arrays |= {f"rows.{name}": records[name] for name in records.dtype.names or ()}
    folded = [(row, window) for row, window in windows if window.before is not None]
    arrays["folded"] = np.array([(row, w.end, w.newest, w.until, w.t_rx) for row, w in folded], np.int64).reshape(-1, 5)
    for name in Fold._fields:
        parts = [[getattr(fold, name)[0] for fold in window.before or ()] for _, window in folded]
        kind = np.float64 if name == "total" else np.int64
        arrays[f"folded.{name}"] = np.array(parts, kind).reshape(len(folded), len(assembler.rules.channels))
    heard = [(row, bits, time) for row, machine in enumerate(machines) for bits, time in machine.heard.items()]
    arrays["heard"] = np.array([(row, time) for row, _, time in heard], np.int64).reshape(-1, 2)
    channels = range(len(assembler.rules.channels))
    arrays["heard.channels"] = np.array([[bits >> i & 1 for i in channels] for _, bits, _ in heard], np.uint8)
    return arrays


def _unpack_windows(intake: Intake, said: dict[str, Any], arrays: dict[str, Array], rows: I64) -> None:
    """Open windows and what is held. On another grid of windows, samples fall into those of the new one."""
    assembler = intake.assembler
    interval = assembler.rules.interval
    old = {name: i for i, name in enumerate(said["channels"])}
    columns: I64 = np.array([old.get(name, -1) for name in intake.channels], np.int64)
    aggregates = [*said["aggregates"], None]
    fits = np.array(
        [aggregates[at] == rule.aggregate for at, rule in zip(columns, assembler.rules.channels, strict=True)]
    )
    kept = np.flatnonzero(rows >= 0)
    clocks = np.stack([arrays[name] for name in _CLOCKS], axis=1)
    for row, times in zip(rows[kept].tolist(), clocks[kept].tolist(), strict=True):
        machine = assembler.machines[row]
        machine.closed, machine.newest, machine.newest_closed, machine.offset, machine.end = times
        if machine.end != NEVER:
            machine.end = -(-machine.end // interval) * interval
    for name, held in (("held_time", assembler.held_time), ("held_value", assembler.held_value)):
        held[np.ix_(rows[kept], fits)] = arrays[name][np.ix_(kept, columns[fits])]
    if said["interval"] == interval:
        _unpack_folded(assembler, arrays, rows, columns, fits)
    _unpack_rows(assembler, arrays, rows, columns)
    for (row, time), bits in zip(arrays["heard"].tolist(), arrays["heard.channels"], strict=True):
        if rows[row] >= 0:
            machine = assembler.machines[int(rows[row])]
            heard = sum(1 << place for place, at in enumerate(columns.tolist()) if at >= 0 and bits[at])
            machine.heard[heard] = max(time, machine.heard.get(heard, LONG_AGO))
    assembler.shift(0)  # when the next windows close follows from all this


def _unpack_folded(assembler: Assembler, arrays: dict[str, Array], rows: I64, columns: I64, fits: Bool) -> None:
    """Windows of which a part had been added up; channels with another aggregate now start anew."""
    fields = [arrays[f"folded.{name}"] for name in Fold._fields]
    for i, (row, end, newest, until, t_rx) in enumerate(arrays["folded"].tolist()):
        if rows[row] < 0:
            continue
        window = Window(end, assembler.rules.interval)
        window.newest, window.until, window.t_rx = newest, until, t_rx
        window.before = [
            Fold(*(values[i, at : at + 1] * fit for values in fields)) for at, fit in zip(columns, fits, strict=True)
        ]
        machine = assembler.machines[int(rows[row])]
        machine.windows[end], machine.end = window, min(end, machine.end)


def _unpack_rows(assembler: Assembler, arrays: dict[str, Array], rows: I64, columns: I64) -> None:
    records = np.empty(len(arrays["rows.row"]), assembler.records.dtype)
    records["row"], records["time"], records["t_rx"] = (
        rows[arrays["rows.row"]],
        arrays["rows.time"],
        arrays["rows.t_rx"],
    )
    records["values"] = np.nan
    place = np.flatnonzero(columns >= 0)
    records["values"][:, place] = arrays["rows.values"][:, columns[place]]
    usable = (records["row"] >= 0) & ~np.isnan(records["values"]).all(axis=1)
    records = records[usable]
    for record, packed in zip(records, assembler.records.rows(records), strict=True):
        assembler.put_back(int(record["row"]), int(record["time"]), packed)
