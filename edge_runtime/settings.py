"""Settings of single machines from a CSV table: `asset` and any of the class's settings, empty = class default."""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.errors import DataError
from edge_runtime.manifest import Contract

MOST = 20  # problems told at once


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV table with a header, by column; `DataError` if it cannot be read.

    Separated by comma, semicolon or tab, whichever the header has most of.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=first.count))
            lines, header = list(reader), reader.fieldnames or []
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name an existing table") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}: expected CSV in UTF-8") from error
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column '{twice}' is there twice: keep one")
    return lines


def read_settings(path: Path, contract: Contract, assets: Sequence[str], other: Sequence[str] = ()) -> F32:
    """f32[N,P] for `assets`, NaN = class default; `DataError` for unknown names, garbage and values out of range.

    Columns in `other` are not for us.
    """
    lines = read_lines(path)
    values, problems = settings_in(lines, contract, assets, other)
    nameless = [number for number, line in enumerate(lines, start=2) if not line.get("asset")]
    problems += [f"line {number}: there is no asset: the table needs a column 'asset' with ids" for number in nameless]
    ids = [(line.get("asset") or "").strip() for line in lines]
    twice = [asset for asset, count in Counter(ids).items() if asset and count > 1]
    problems += [f"asset '{asset}' is there twice: keep one line" for asset in twice]
    if problems:
        raise DataError(told(path, problems))
    return values


def told(path: Path, problems: Sequence[str]) -> str:
    """All `problems` of a table in one message, or the first of very many."""
    problems = list(dict.fromkeys(problems))
    if len(problems) == 1:
        return f"{path}, {problems[0]}"
    more = [f"and {len(problems) - MOST:,} more"] if len(problems) > MOST else []
    return "\n  ".join([f"{path}: {len(problems):,} problems", *problems[:MOST], *more])


def settings_in(
    lines: Sequence[Mapping[str, str]], contract: Contract, assets: Sequence[str], other: Sequence[str] = ()
) -> tuple[F32, list[str]]:
    """The same of lines that were read, and what is wrong with them."""
    known = {setting.name: i for i, setting in enumerate(contract.settings)}
    rows = {asset: i for i, asset in enumerate(assets)}
    values = np.full((len(assets), len(known)), np.nan, np.float32)
    problems: list[str] = []
    for number, line in enumerate(lines, start=2):
        row = rows.get((line.get("asset") or "").strip())
        for name, cell in line.items() if row is not None else ():
            if name is None:
                problems.append(f"line {number}: it has more cells than the header: is a comma in one of them?")
            elif name == "asset" or name in other or not cell:
                continue
            elif name not in known:
                problems.append(_stranger(name, contract, list(known)))
            else:
                values[row, known[name]], problem = _value(contract, known[name], cell)
                problems += [f"line {number}: {problem}"] if problem else []
    return values, problems


def _stranger(name: str, contract: Contract, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(known) or 'none'}"
    return f"header: '{name}' is no setting of class '{contract.asset_class}': {hint}"


def _value(contract: Contract, index: int, cell: str) -> tuple[float, str | None]:
    setting = contract.settings[index]
    low, high = setting.range
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if low <= value <= high:
        return value, None
    return value, f"setting '{setting.name}' is {cell!r}: expected a number {low:g} … {high:g} {setting.unit}"
