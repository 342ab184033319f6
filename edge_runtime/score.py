"""A table of observations → a table of prognoses, one a row, in the order of the input.

The rows of each machine are advanced in the order of time, all machines at once. The event of a duplicate goes with the
next row, as at the gateway: it says what the twin has to forget. Every row of the input is in the
output: where there is no prognosis (a duplicate, an unusable time or id) its cells are empty, and it is counted.
Readings and prognoses wait in temporary files, so that memory stays small whatever the size of the table.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64, Array, Bool
from edge_runtime.bundle import Bundle
from edge_runtime.contract.names import is_identifier
from edge_runtime.errors import DataError
from edge_runtime.fleet import Fleet
from edge_runtime.replay import Series, replay
from edge_runtime.settings import read_settings
from edge_runtime.table import BLOCK, Findings, new_lives, read_rows
from edge_runtime.timestamps import NANOS

PROGNOSIS = (
    "health",
    "anomaly_score",
    "failure_probability",
    "rul",
    "rul_lower",
    "rul_upper",
    "alarm",
    "warming_up",
    "unfamiliar",
)
ALARM, UNFAMILIAR = PROGNOSIS.index("alarm"), PROGNOSIS.index("unfamiliar")
PIECE = 1 << 20  # numbers read ahead at once: 4 MiB
BATCH = 1024  # machines advanced at once; more is no faster, and takes memory
_EXPECTED = {
    "s": "write ids of 1 to 64 letters, digits, '_' or '-' and times in ISO 8601, like 2026-01-03T10:00:00Z",
    "cycle": "write ids of 1 to 64 letters, digits, '_' or '-' and times as numbers of cycles",
}


@dataclass(frozen=True)
class Summary:
    """What became of the rows. `scored` of `rows` have a prognosis."""

    rows: int
    machines: int
    scored: int
    duplicates: int
    out_of_order: int
    unusable_times: int
    unusable_assets: int
    unfamiliar: int  # of those scored: the twin says more than half that it does not know such a state
    waveforms: tuple[str, ...]  # of the class; a table of observations has none
    findings: Findings


@dataclass(frozen=True)
class _Table:
    """The columns of a table of T rows in the order of the input."""

    names: list[str]  # assets as written, in order of first appearance
    code: I64  # index into names
    time: I64
    timed: Bool  # has a usable time
    named: Bool  # has a usable asset id
    event: F32
    age: F32
    readings: F32  # [T, C], on disk

    @property
    def usable(self) -> Bool:
        return self.timed & self.named


def score(bundle: Bundle, source: Path, target: Path, settings: Path | None = None) -> Summary:
    """Score the table at `source` into `target` (Parquet if it is called so, else CSV); `DataError` if it cannot be.

    `settings` is a table of `asset` and the class's settings; what it does not give has the class default.
    """
    if not target.parent.is_dir():
        raise DataError(f"{target} cannot be written: make the folder {target.parent} first")
    waveforms = tuple(waveform.name for waveform in bundle.contract.waveforms)
    if not bundle.contract.channels:
        raise DataError(
            f"all that this twin observes are waveforms ({', '.join(waveforms)}), and score does not read them: "
            "let a gateway take them in, e.g. from a source of type replay"
        )
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="overhaul-") as folder:
        scratch = Path(folder)
        table = _read(bundle, source, findings, scratch)
        _require_numbers(bundle, source, findings)
        order = np.lexsort((table.time, table.code))
        order = order[table.usable[order]]
        if not len(order):
            raise DataError(f"{source}: no row has a usable asset and time: {_EXPECTED[bundle.contract.time.unit]}")
        _carry_events(table, order)
        assets = [table.names[code] for code in dict.fromkeys(table.code[order].tolist())]
        fleet = bundle.fleet(assets, read_settings(settings, bundle.contract, assets) if settings else None)
        out = np.memmap(scratch / "out", np.float32, "w+", shape=(len(table.time), len(PROGNOSIS)))
        _advance(fleet, table, order, out)
        unfamiliar = int(np.count_nonzero(out[:, UNFAMILIAR] > 0.5))
        if target.suffix in (".parquet", ".pq"):
            _write_parquet(target, bundle.contract.time.unit, table, out)
        else:
            _write_csv(target, scratch / "echo.csv", out)
    return Summary(
        rows=len(table.time),
        machines=len(assets),
        scored=fleet.counts["accepted"],
        duplicates=fleet.counts["duplicate"],
        out_of_order=_out_of_order(table),
        unusable_times=int(np.sum(~table.timed)),
        unusable_assets=int(np.sum(~table.named)),
        unfamiliar=unfamiliar,
        waveforms=waveforms,
        findings=findings,
    )


def _read(bundle: Bundle, source: Path, findings: Findings, scratch: Path) -> _Table:
    """The table; its readings, and asset and time as they were written, wait in `scratch`."""
    codes: dict[str, int] = {}
    parts: list[tuple[Array, ...]] = []
    with (
        (scratch / "readings").open("wb") as readings,
        (scratch / "echo.csv").open("w", encoding="utf-8", newline="") as echo,
    ):
        as_written = csv.writer(echo)
        for rows in read_rows(source, bundle.contract, findings):
            readings.write(rows.readings.tobytes())
            as_written.writerows(zip(rows.asset, rows.when, strict=True))
            code = np.array([codes.setdefault(asset, len(codes)) for asset in rows.asset], np.int64)
            life = np.full(len(code), np.nan, np.float32) if rows.life is None else rows.life
            parts.append((code, rows.time, rows.usable, rows.event, rows.age, life))
    code, time, timed, event, age, life = (np.concatenate(part) for part in zip(*parts, strict=True))
    named = np.array([is_identifier(name) for name in codes])[code]
    if not findings.has_event:
        event = new_lives(code, time, life, timed & named)
    stored = np.memmap(scratch / "readings", np.float32, "r", shape=(len(code), len(bundle.contract.channels)))
    return _Table(list(codes), code, time, timed, named, event, age, stored)


def _require_numbers(bundle: Bundle, source: Path, findings: Findings) -> None:
    """`DataError` where most of what stands in the channels' columns is no number: then nothing is to be foretold."""
    channels = [channel.name for channel in bundle.contract.channels]
    strange = sum(findings.not_numbers[name] for name in channels)
    if strange > sum(findings.received[name] for name in channels):
        name = max(channels, key=lambda name: findings.not_numbers[name])
        example = findings.examples[name]
        commas = ": write decimals with a point" if re.fullmatch(r"[+-]?\d+,\d+", example.strip()) else ""
        raise DataError(f"{source}: most cells of the channels are no numbers, e.g. {example!r} of '{name}'{commas}")


def _carry_events(table: _Table, order: I64) -> None:
    """Move the events of duplicates to the machine's next row; of two the new life counts."""
    code, time, event = table.code[order], table.time[order], table.event
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(code) != 0) | (np.diff(time) != 0)
    for place in np.flatnonzero(~fresh & (event[order] > 0)).tolist():
        after = place + 1
        while after < len(order) and not fresh[after]:
            after += 1
        if after < len(order) and code[after] == code[place]:
            own, carried = event[order[after]], event[order[place]]
            event[order[after]] = min(own, carried) if own > 0 else carried


def _advance(fleet: Fleet, table: _Table, order: I64, out: Array) -> None:
    """Fill `out` with the prognoses of the rows in `order` (by asset, then time); NaN where there is none."""
    out[:] = np.nan
    bounds = np.flatnonzero(np.diff(table.code[order], prepend=-1, append=-1))
    places = {asset: order[a:b] for asset, a, b in zip(fleet.assets, bounds[:-1], bounds[1:], strict=True)}
    most = max(1, PIECE // (table.readings.shape[1] * min(len(places), BATCH)))

    def series(rows: I64) -> Iterator[Series]:
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            yield Series(table.time[part], table.readings[part], table.event[part], table.age[part])

    for start in range(0, len(fleet.assets), BATCH):
        sources = {asset: series(places[asset]) for asset in fleet.assets[start : start + BATCH]}
        for asset, rows, outputs in replay(fleet, sources, PROGNOSIS):
            out[places[asset][rows]] = np.stack([outputs[name] for name in PROGNOSIS], axis=1)


def _out_of_order(table: _Table) -> int:
    """Rows whose machine already had a later time further up in the table."""
    rows = np.flatnonzero(table.usable)
    rows = rows[np.argsort(table.code[rows], kind="stable")]
    time, code = table.time[rows], table.code[rows]
    count = 0
    for part in np.split(time, np.flatnonzero(np.diff(code)) + 1):
        count += int(np.sum(part < np.maximum.accumulate(part)))
    return count


def _write_csv(target: Path, echo: Path, out: Array) -> None:
    with echo.open(encoding="utf-8", newline="") as written, target.open("w", encoding="utf-8", newline="") as file:
        as_written = csv.reader(written)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["asset", "time", *PROGNOSIS])
        for start in range(0, len(out), BLOCK):
            block = np.asarray(out[start : start + BLOCK])
            text = block.astype("U16")
            scored = ~np.isnan(block)
            text[:, ALARM] = np.where(scored[:, ALARM], block[:, ALARM], 0).astype(int).astype("U16")
            text[~scored] = ""
            writer.writerows([*next(as_written), *cells] for cells in text.tolist())


def _write_parquet(target: Path, unit: str, table: _Table, out: Array) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{target}: to write Parquet, pip install 'overhaul[parquet]'; or name it .csv") from error
    in_seconds = unit == "s"
    names = np.array(table.names, object)
    kinds = {name: pa.int8() if name == "alarm" else pa.float32() for name in PROGNOSIS}
    time_kind = pa.timestamp("ns", "UTC") if in_seconds else pa.float64()
    schema = pa.schema([("asset", pa.string()), ("time", time_kind), *kinds.items()])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for start in range(0, len(out), 16 * BLOCK):
            rows = slice(start, start + 16 * BLOCK)
            time: Any = table.time[rows] if in_seconds else table.time[rows] / NANOS
            block = np.asarray(out[rows])
            columns = [pa.array(names[table.code[rows]], pa.string()), pa.array(time, mask=~table.timed[rows])]
            for i, (name, kind) in enumerate(kinds.items()):
                empty = np.isnan(block[:, i])
                values = np.where(empty, 0, block[:, i]) if name == "alarm" else block[:, i]
                columns.append(pa.array(values, mask=empty).cast(kind))
            columns[1] = columns[1].cast(time_kind)
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
