"""Settings of single machines from a CSV table: `asset` and any of the class's settings, empty = class default."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.errors import DataError
from edge_runtime.manifest import Contract


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV table with a header, by column; `DataError` if it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines, header = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column '{twice}' is there twice: keep one")
    return lines


def read_settings(path: Path, contract: Contract, assets: Sequence[str], other: Sequence[str] = ()) -> F32:
    """f32[N,P] for `assets`, NaN = class default; `DataError` for unknown names, garbage and values out of range.

    Columns in `other` are not for us.
    """
    lines = read_lines(path)
    known = {setting.name: i for i, setting in enumerate(contract.settings)}
    rows = {asset: i for i, asset in enumerate(assets)}
    values = np.full((len(assets), len(known)), np.nan, np.float32)
    for number, line in enumerate(lines, start=2):
        if not line.get("asset"):
            raise DataError(f"{path}, line {number}: there is no asset: the table needs a column 'asset' with ids")
        for name, cell in line.items():
            if name == "asset" or name in other or not cell or line["asset"] not in rows:
                continue
            if name not in known:
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(known) or 'none'}"
                raise DataError(f"{path}: '{name}' is no setting of class '{contract.asset_class}': {hint}")
            values[rows[line["asset"]], known[name]] = _value(path, number, contract, known[name], cell)
    return values


def _value(path: Path, number: int, contract: Contract, index: int, cell: str) -> float:
    setting = contract.settings[index]
    low, high = setting.range
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise DataError(
            f"{path}, line {number}: setting '{setting.name}' is {cell!r}: expected a number "
            f"{low:g} … {high:g} {setting.unit}"
        )
    return value
