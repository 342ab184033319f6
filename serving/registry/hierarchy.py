"""The plant as a tree: plant → line → machine → component. A machine or component may be an asset, with a twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from edge_runtime.contract.names import is_identifier
from serving.database.queries import find_asset
from serving.database.tables import assets, nodes
from serving.errors import ConflictError, InvalidError, UnknownError
from serving.registry.audit import Act, record

KINDS = ("plant", "line", "machine", "component")  # each below the one before
Criticality = Literal["A", "B", "C"]
CRITICALITIES = ("A", "B", "C")


@dataclass(frozen=True)
class Node:
    """`path` is made of the names from the plant on, "north/line-2/pump-3"."""

    id: int
    parent: int | None
    kind: str
    name: str
    title: str
    criticality: str
    asset: str | None
    path: str


def add_node(
    connection: Connection,
    act: Act,
    path: str,
    *,
    title: str = "",
    criticality: Criticality = "B",
    asset: str | None = None,
) -> Node:
    """A node at `path`, whose last name is its own: "north" a plant, "north/line-2" a line, and so on.

    `criticality`: what becomes of its parent when it fails. A: it stops; B: it is hampered; C: it hardly matters.
    `UnknownError` if there is nothing to hang it on, `ConflictError` if it or the asset's place exists already.
    """
    names = path.split("/")
    if len(names) > len(KINDS) or not all(map(is_identifier, names)):
        raise InvalidError(f"path {path[:200]!r}: expected up to {len(KINDS)} identifiers, as in north/line-2/pump-3")
    if criticality not in CRITICALITIES:
        raise InvalidError(f"criticality {criticality!r}: expected A, B or C")
    kind = KINDS[len(names) - 1]
    if asset is not None:
        _check_asset(kind)
    parent = None if len(names) == 1 else find_node(connection, "/".join(names[:-1])).id
    asset_id = None if asset is None else find_asset(connection, asset).id
    values = {"parent": parent, "kind": kind, "name": names[-1], "title": title, "criticality": criticality}
    try:
        with connection.begin_nested():
            connection.execute(insert(nodes).values(**values, asset=asset_id))
    except IntegrityError as error:
        raise ConflictError(
            f"{path} exists, or asset '{asset}' has a place already: move or remove that one"
        ) from error
    record(connection, act, "node.add", f"node/{path}", kind=kind, criticality=criticality, asset=asset)
    return find_node(connection, path)


def change_node(
    connection: Connection,
    act: Act,
    path: str,
    *,
    title: str | None = None,
    criticality: Criticality | None = None,
    asset: str | None = None,
) -> Node:
    """Another title, criticality or asset; None leaves it as it is. `ConflictError` if the asset stands elsewhere."""
    before = find_node(connection, path)
    if criticality is not None and criticality not in CRITICALITIES:
        raise InvalidError(f"criticality {criticality!r}: expected A, B or C")
    values = {"title": title, "criticality": criticality}
    wanted = {key: value for key, value in values.items() if value is not None and value != getattr(before, key)}
    if asset is not None and asset != before.asset:
        _check_asset(before.kind)
        wanted["asset"] = asset
    if wanted:
        row: dict[str, str | int] = {**wanted}
        if "asset" in wanted:
            row["asset"] = find_asset(connection, wanted["asset"]).id
        try:
            with connection.begin_nested():
                connection.execute(update(nodes).where(nodes.c.id == before.id).values(**row))
        except IntegrityError as error:
            raise ConflictError(f"asset '{asset}' has a place already: remove that one") from error
        record(
            connection,
            act,
            "node.change",
            f"node/{path}",
            before={key: getattr(before, key) for key in wanted},
            after=wanted,
        )
    return find_node(connection, path)


def remove_node(connection: Connection, act: Act, path: str) -> None:
    """`ConflictError` while something is below it. The asset stays, without a place."""
    node = find_node(connection, path)
    if connection.execute(select(nodes.c.id).where(nodes.c.parent == node.id).limit(1)).first() is not None:
        raise ConflictError(f"there is something below {path}: remove that first")
    connection.execute(delete(nodes).where(nodes.c.id == node.id))
    record(connection, act, "node.remove", f"node/{path}", kind=node.kind, asset=node.asset)


def find_node(connection: Connection, path: str) -> Node:
    """`UnknownError` if there is none, and which part of the path exists."""
    at, parent = "", None
    row = None
    for depth, name in enumerate(path.split("/")):
        below = nodes.c.parent.is_(None) if parent is None else nodes.c.parent == parent
        query = select(nodes, assets.c.name.label("asset_name")).outerjoin(assets, nodes.c.asset == assets.c.id)
        row = connection.execute(query.where(below, nodes.c.name == name)).first()
        if row is None or depth >= len(KINDS):
            if not at:
                raise UnknownError(f"there is no plant {name[:64]!r}: list the plants", "plant")
            raise UnknownError(f"there is no {path[:200]!r}: it ends at {at}", "plant")
        at, parent = f"{at}/{name}" if at else name, row.id
    assert row is not None
    return Node(row.id, row.parent, row.kind, row.name, row.title, row.criticality, row.asset_name, at)


def _check_asset(kind: str) -> None:
    if kind not in ("machine", "component"):
        raise InvalidError(f"a {kind} is no asset: give asset to the machines or components below it")


def read_tree(connection: Connection) -> Sequence[Node]:
    """All nodes, each after its parent, and those of one parent by name."""
    query = select(nodes, assets.c.name.label("asset_name")).outerjoin(assets, nodes.c.asset == assets.c.id)
    below: dict[int | None, list[Node]] = {}
    for row in connection.execute(query.order_by(nodes.c.name)):
        node = Node(row.id, row.parent, row.kind, row.name, row.title, row.criticality, row.asset_name, row.name)
        below.setdefault(row.parent, []).append(node)
    found: list[Node] = []

    def walk(parent: int | None, path: str) -> None:
        for node in below.get(parent, ()):
            own = Node(**{**node.__dict__, "path": f"{path}{node.name}"})
            found.append(own)
            walk(node.id, f"{own.path}/")

    walk(None, "")
    return found
