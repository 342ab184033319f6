"""Rows of the contract into columns of tables, and back: what was float32 comes back bit by bit.

Most of a row is bytes, one value after the other, little-endian. A layout, kept in the table `layouts`, says which:

    observation   {"channels": [name, …]}: readings f4[C], event f4, age f4
    prognosis     {"rest": [[output, "f4" or "u1", width], …]}, width null: a single value
    summary       {"channels": …, "rest": …}: received i8[C], minimum, mean, maximum f4[C], flags i8[FLAGS], rest
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, Array
from edge_runtime.contract.rows import FLAGS, Observations, Prognoses, States, Summaries
from serving.database.tables.history import OUTPUTS

Layout = Mapping[str, Any]
Field = tuple[str, str, int | None]  # of a packed row: name, NumPy type, width (None: a single value)

_ALARM = "alarm"
_LEVELS = np.arange(4, dtype=np.float32)


def layout_key(kind: str, asset_class: str, layout: Layout) -> str:
    """The same for equal layouts."""
    text = json.dumps([kind, asset_class, layout], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def layout_of(rows: Observations | Prognoses | Summaries) -> dict[str, Any]:
    if isinstance(rows, Observations):
        return {"channels": list(rows.channels)}
    if isinstance(rows, Prognoses):
        named = {name: value for name, value in rows.outputs.items() if not _is_column(name, value)}
        return {"rest": _fields(named)}
    return {"channels": list(rows.channels), "rest": _fields(rows.outputs)}


def fields(kind: str, layout: Layout) -> list[Field]:
    """What the bytes of a row hold, in order."""
    rest = [(name, code, width) for name, code, width in layout.get("rest", ())]
    if kind == "prognosis":
        return rest
    width = len(layout["channels"])
    if kind == "observation":
        return [("readings", "f4", width), ("event", "f4", None), ("age", "f4", None)]
    measured = [(name, "f4", width) for name in ("minimum", "mean", "maximum")]
    return [("received", "i8", width), *measured, ("flags", "i8", FLAGS), *(("output." + n, c, w) for n, c, w in rest)]


def observation_columns(rows: Observations, layout: Layout | None = None) -> dict[str, Sequence[Any]]:
    """`layout`: theirs, for who has it already; so below."""
    values = {n: getattr(rows, n) for n in ("readings", "event", "age")}
    return {"t_rx": rows.t_rx.tolist(), "body": _pack(rows, values, layout)}


def prognosis_columns(rows: Prognoses, layout: Layout | None = None) -> dict[str, Sequence[Any]]:
    """NaN becomes NULL, as both databases understand it."""
    found, count = rows.outputs, len(rows.keys)
    columns: dict[str, Sequence[Any]] = {}
    for name in OUTPUTS:
        value = found.get(name)
        columns[name] = _nulls(value) if value is not None and value.ndim == 1 else [None] * count
    layout = layout or layout_of(rows)
    rest = {name: found[name] for name, _, _ in layout["rest"]}
    alarm = found.get(_ALARM)
    columns[_ALARM] = [None] * count if alarm is None or _ALARM in rest else alarm.astype(int).tolist()
    columns["rest"] = _pack(rows, rest, layout)
    return columns


def summary_columns(rows: Summaries) -> dict[str, Sequence[Any]]:
    packed = {name: getattr(rows, name) for name in ("received", "minimum", "mean", "maximum", "flags")}
    packed |= {"output." + name: value for name, value in rows.outputs.items()}
    whole = {name: getattr(rows, name).tolist() for name in ("start", "end", "count", _ALARM)}
    return {**whole, "body": _pack(rows, packed)}


def state_columns(rows: States) -> dict[str, Sequence[Any]]:
    count = len(rows.keys)
    return {"asset_class": [rows.asset_class] * count, "body": cut(np.ascontiguousarray(rows.state, "<f4"))}


def unpack(layout: Sequence[Field], bodies: Sequence[bytes]) -> dict[str, Array]:
    """Rows of one layout as arrays by name: [n] or [n, width]; what travelled in a byte is float32 again."""
    kind = _kind(layout)
    # Without any values the rows cannot be counted by their bytes.
    table = np.frombuffer(b"".join(bodies), kind) if kind.itemsize else np.zeros(len(bodies), kind)
    return {name: np.ascontiguousarray(table[name], np.float32 if code == "u1" else None) for name, code, _ in layout}


def single(values: Sequence[float | None]) -> F32:
    """A column as f32[n], NULL as NaN."""
    return np.array(values, np.float64).astype(np.float32)


def _is_column(name: str, value: F32) -> bool:
    """Whether an output fits its column; an alarm that is no level stays what it is, among the rest."""
    if value.ndim != 1:
        return False
    return name in OUTPUTS or (name == _ALARM and bool((value[:, None] == _LEVELS).any(axis=1).all()))


def _fields(outputs: Mapping[str, F32]) -> list[list[Any]]:
    return [
        [name, "u1" if _bytes(name, value) else "f4", value.shape[1] if value.ndim == 2 else None]
        for name, value in sorted(outputs.items())
    ]


def _bytes(name: str, value: F32) -> bool:
    """Quality flags go into a byte each, unless that would change them."""
    if name != "quality":
        return False
    with np.errstate(invalid="ignore"):
        small = value.astype(np.uint8)
    return np.array_equal(small.astype(np.float32).view(np.uint32), value.view(np.uint32))


def _pack(
    rows: Observations | Prognoses | Summaries, values: Mapping[str, Array], layout: Layout | None = None
) -> list[bytes]:
    named = fields(rows.kind, layout or layout_of(rows))
    table = np.empty(len(rows.keys), _kind(named))
    for name, _, _ in named:
        table[name] = values[name]
    return cut(table)


def _kind(layout: Sequence[Field]) -> np.dtype[Any]:
    return _dtype(tuple(layout))


@lru_cache(1000)  # making one takes as long as packing a row
def _dtype(layout: tuple[Field, ...]) -> np.dtype[Any]:
    return np.dtype([(name, f"<{code}", () if width is None else (width,)) for name, code, width in layout])


def cut(table: Array) -> list[bytes]:
    """The bytes of each row."""
    if not len(table):
        return []
    data, size = table.tobytes(), table.nbytes // len(table)
    return [data[at : at + size] for at in range(0, len(data), size)] if size else [b""] * len(table)


def _nulls(value: F32) -> list[Any]:
    plain: list[Any] = value.tolist()
    if np.isnan(value).any():
        return [None if number != number else number for number in plain]
    return plain
