"""The machines behind a gateway, `machines.csv`: columns `asset`, `class`, if wanted `term`, and settings of the class.

    asset,class,term,rated_flow
    pump-07,pump,3,210
    pump-08,pump,,

An empty setting is the class's default. The term says how often a twin has changed its owner: the centre refuses what
comes under an older one. Settings of several classes may stand side by side; a machine fills those of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import shown, suggest
from edge_runtime.errors import ConfigError, DataError
from edge_runtime.manifest import Contract
from edge_runtime.settings import read_lines, settings_in, told

OWN = ("asset", "class", "term")
_MOST = 2**31 - 1
_WAY_OUT = "write a line 'asset,class' and one line a machine below it"


@dataclass(frozen=True)
class Machines:
    """Those of one class, in the order of the table: term int64[N] (0: not given), settings f32[N,P] (NaN: default)."""

    assets: tuple[str, ...]
    term: I64
    settings: F32


def read_machines(path: Path, contracts: Mapping[str, Contract]) -> dict[str, Machines]:
    """Class → its machines, for each class of `contracts`; `ConfigError` tells all that is wrong, with lines."""
    for name, contract in contracts.items():
        if contract.asset_class != name:
            own = contract.asset_class
            raise ConfigError(f"bundles.{name} is of class '{own}': write {own} = … under [bundles]")
    if not path.exists():
        raise ConfigError(f"{path} cannot be read: there is no such file: {_WAY_OUT}")
    try:
        lines = read_lines(path)
    except DataError as error:
        raise ConfigError(str(error)) from error
    if not lines:
        raise ConfigError(f"{path} names no machine: {_WAY_OUT}")
    for name in ("asset", "class"):
        if name not in lines[0]:
            has = ", ".join(f"'{column}'" for column in lines[0] if column)
            raise ConfigError(f"{path}, line 1: there is no column '{name}': expected 'asset,class', found {has}")
    rows, problems = _rows(lines, contracts)
    machines = {}
    for name, contract in contracts.items():
        mine = [(asset, term) for asset, kind, term in rows if kind == name]
        assets = tuple(asset for asset, _ in mine)
        settings, wrong = settings_in(lines, contract, assets, OWN)
        problems += wrong
        machines[name] = Machines(assets, np.array([term for _, term in mine], np.int64), settings)
    if problems:
        raise ConfigError(told(path, problems))
    return machines


def _rows(
    lines: list[dict[str, str]], contracts: Mapping[str, Contract]
) -> tuple[list[tuple[str, str, int]], list[str]]:
    """asset, class, term of each line that is right, and what is wrong with the others."""
    rows, problems = [], []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        asset, kind, term = (line.get(name) or "" for name in OWN)
        problem = _problem(asset, kind, term, contracts)
        if problem is None and asset in seen:
            problem = f"asset '{asset}' stands in line {seen[asset]} too: give each machine one line"
        if problem is not None:
            problems.append(f"line {number}: {problem}")
            continue
        seen[asset] = number
        rows.append((asset, kind, int(term or 0)))
    return rows, problems


def _problem(asset: str, kind: str, term: str, contracts: Mapping[str, Contract]) -> str | None:
    if not is_identifier(asset):
        return f"asset {shown(asset)}: an id has 1 to 64 letters, digits, '_' or '-'"
    if kind not in contracts:
        way_out = suggest(kind, list(contracts))
        return f"class {shown(kind)} of '{asset}' has no bundle under [bundles]: {way_out}"
    if term and not (term.isascii() and term.isdecimal() and len(term) <= 10 and int(term) <= _MOST):
        return f"term {shown(term)} of '{asset}': expected a whole number from 0 to {_MOST}"
    return None
