"""Where machines stand, and who may see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, String, and_, cast, or_, select

from serving.database.tables import assets, gateways, nodes


@dataclass(frozen=True)
class Place:
    """`path` from the plant on; the rest as in `hierarchy.Node`."""

    path: str
    kind: str
    title: str
    criticality: str


def visible(plants: Iterable[str]) -> ColumnElement[bool]:
    """Whether a row of `assets` belongs to one of `plants`: it stands there, or nowhere and its gateway is there."""
    names = sorted(plants)
    roots = and_(nodes.c.parent.is_(None), nodes.c.name.in_(names))
    placed = select(nodes.c.asset).where(nodes.c.asset.is_not(None))
    sites = select(gateways.c.id).where(gateways.c.site.in_(names))
    return or_(assets.c.id.in_(_below(roots)), and_(assets.c.id.not_in(placed), assets.c.gateway.in_(sites)))


def standing_below(node: int) -> ColumnElement[bool]:
    """Whether a row of `assets` stands at or below a node."""
    return assets.c.id.in_(_below(nodes.c.id == node))


def read_places(connection: Connection, wanted: Iterable[int]) -> dict[int, Place]:
    """Of assets, by id; those that stand nowhere are left out."""
    ids = sorted(wanted)
    own = {row.asset: row for row in connection.execute(select(nodes).where(nodes.c.asset.in_(ids)))}
    first = select(
        nodes.c.asset.label("asset"), nodes.c.parent.label("parent"), cast(nodes.c.name, String).label("path")
    )
    up = first.where(nodes.c.asset.in_(ids)).cte("up", recursive=True)
    above = select(up.c.asset, nodes.c.parent, (nodes.c.name + "/" + up.c.path).label("path"))
    up = up.union_all(above.join(nodes, nodes.c.id == up.c.parent))
    paths = connection.execute(select(up.c.asset, up.c.path).where(up.c.parent.is_(None)))
    return {
        asset: Place(path, own[asset].kind, own[asset].title, own[asset].criticality) for asset, path in paths.tuples()
    }


def _below(start: ColumnElement[bool]) -> Select[tuple[int]]:
    """Assets at or below nodes."""
    tree = select(nodes.c.id, nodes.c.asset).where(start).cte(recursive=True)
    tree = tree.union_all(select(nodes.c.id, nodes.c.asset).join(tree, nodes.c.parent == tree.c.id))
    return select(tree.c.asset).where(tree.c.asset.is_not(None))
