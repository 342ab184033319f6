"""A whole plant from a table: path, kind, title, criticality, asset, class, gateway, tier; all but path may be empty.

    path,kind,title,criticality,asset,class,gateway,tier
    north,plant,Works North,,,,,
    north/line-2,line,Bottling,A,,,,
    north/line-2/pump-3,machine,Feed pump,A,pump-3,pump,gw-7,full

Read again it changes what has changed, and nothing twice. Nothing is removed, and no twin gets another owner by it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Connection

from edge_runtime.decode import suggest
from serving.database.queries import find_asset
from serving.errors import ConflictError, InvalidError, RegistryError, UnknownError
from serving.registry.audit import Act
from serving.registry.hierarchy import KINDS, Criticality, Node, add_node, change_node, find_node
from serving.registry.owners import Tier, register, set_tier

COLUMNS = ("path", "kind", "title", "criticality", "asset", "class", "gateway", "tier")
_SHOWN = 20  # problems told at once


@dataclass(frozen=True)
class Line:
    """`number` in the file. What is empty is left as it is, or gets the default."""

    number: int
    path: str
    kind: str
    title: str
    criticality: str
    asset: str
    asset_class: str
    gateway: str
    tier: str


def read_plan(path: Path) -> list[Line]:
    """Parents before what is in them; `InvalidError` says all that is wrong with the table itself."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"{path} cannot be read ({error.strerror}): name a CSV file") from error
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidError(f"{path}, line {number} is not UTF-8: save the table as CSV UTF-8") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in head and "," not in head else ",")
    names = [(name or "").strip() for name in rows.fieldnames or ()]
    rows.fieldnames = names
    unknown = [name for name in names if name not in COLUMNS]
    if "path" not in names or unknown:
        problem = f"column '{unknown[0]}': {suggest(unknown[0], list(COLUMNS))}" if unknown else "no column 'path'"
        raise InvalidError(f"{path}: {problem}; expected some of {', '.join(COLUMNS)}")
    lines, problems = [], []
    for row in rows:
        if None in row:
            problems.append(f"line {rows.line_num}: more values than columns: quote what has a comma in it")
            continue
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        line = Line(rows.line_num, *values.values())
        if any(values.values()):
            problems += [f"line {line.number}: {problem}" for problem in _problems(line)]
            lines.append(line)
    _raise(path.name, problems)
    return sorted(lines, key=lambda line: line.path.count("/"))


def apply_plan(connection: Connection, act: Act, lines: Sequence[Line], name: str = "the table") -> list[str]:
    """What has changed, a line each. `InvalidError` says all that stands in the way: roll back then."""
    changes: list[str] = []
    problems: list[tuple[int, str]] = []
    for line in lines:
        try:
            with connection.begin_nested():
                changes += _apply(connection, act, line)
        except RegistryError as error:
            problems.append((line.number, f"line {line.number}: {error}"))
    _raise(name, [problem for _, problem in sorted(problems)])
    return changes


def _problems(line: Line) -> Iterator[str]:
    depth = line.path.count("/")
    if not line.path or depth >= len(KINDS):
        yield f"path '{line.path}': expected up to {len(KINDS)} names, as in north/line-2/pump-3"
        return
    if line.kind and line.kind != KINDS[depth]:
        yield f"kind '{line.kind}': {line.path} is a {KINDS[depth]}; leave kind out, or correct the path"
    if line.tier not in ("", "full", "basic"):
        yield f"tier '{line.tier}': expected full or basic"
    if not line.asset and (line.asset_class or line.gateway or line.tier):
        yield "class, gateway and tier are of an asset: name it"


def _apply(connection: Connection, act: Act, line: Line) -> Iterator[str]:
    if line.asset:
        yield from _asset(connection, act, line)
    node = _node(connection, line.path)
    criticality = cast(Criticality, line.criticality) if line.criticality else None
    if node is None:
        add_node(
            connection,
            act,
            line.path,
            title=line.title,
            criticality=criticality or "B",
            asset=line.asset or None,
        )
        yield f"{line.path}: added" + (f", asset {line.asset}" if line.asset else "")
        return
    after = change_node(
        connection, act, line.path, title=line.title or None, criticality=criticality, asset=line.asset or None
    )
    if after != node:
        yield f"{line.path}: changed"


def _asset(connection: Connection, act: Act, line: Line) -> Iterator[str]:
    tier = cast(Tier, line.tier or "full")
    try:
        known = find_asset(connection, line.asset)
    except UnknownError:
        if not line.asset_class:
            raise InvalidError(f"asset '{line.asset}' is new: name its class") from None
        plant = line.path.partition("/")[0]
        gateway = line.gateway or None
        register(connection, act, line.asset, line.asset_class, gateway=gateway, site=plant, tier=tier)
        yield f"{line.asset}: registered, class {line.asset_class}, owner {gateway or 'the centre'}"
        return
    if line.asset_class and line.asset_class != known.asset_class:
        raise ConflictError(f"asset '{line.asset}' is of class '{known.asset_class}', not '{line.asset_class}'")
    if line.gateway and line.gateway != known.gateway:
        raise ConflictError(
            f"asset '{line.asset}' is owned by {known.gateway or 'the centre'}, not by '{line.gateway}': leave gateway "
            "empty, or assign it first"
        )
    if line.tier and line.tier != known.tier:
        set_tier(connection, act, line.asset, tier)
        yield f"{line.asset}: tier {tier}, before {known.tier}"


def _node(connection: Connection, path: str) -> Node | None:
    try:
        return find_node(connection, path)
    except UnknownError:
        return None


def _raise(name: str, problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        head = f"{name}: {len(problems)} problems, nothing was changed"
        raise InvalidError("\n  ".join([head, *problems[:_SHOWN], *more]))
