"""The condition of everything in the plant: of machines from their twins, of what is above them from its children.

A condition is a number from 1 (as new) to 0 (failed). Of an asset it is its health, but no more than its alarm level
allows (level 1: 0.75, 2: 0.5, 3: 0.25). A child's trouble, 1 − condition, reaches its parent by its criticality: A
wholly, B to 60 %, C to 30 %. The parent is as bad as the worst that reaches it, its own trouble included: two children
half worn out are not one that has failed, so troubles are not added up.

What is not known is not good: a node of which nothing is known has condition None, and counts how many assets below it
are silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from serving.database.tables import assets, latest
from serving.registry.hierarchy import Node, read_tree

REACH: Mapping[str, float] = {"A": 1.0, "B": 0.6, "C": 0.3}
MOST_AT_LEVEL = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Condition:
    """`because`: path of the asset that makes it what it is. Nothing is known of `silent` of the `assets` below."""

    value: float | None = None
    alarm: int = 0
    because: str | None = None
    assets: int = 0
    silent: int = 0


def of_asset(path: str, health: float | None, alarm: int | None) -> Condition:
    """That of a machine whose newest prognosis says so; a health that is not finite is not known.

    >>> of_asset("north/l1/p1", 0.9, 2).value
    0.5
    """
    level = min(max(alarm or 0, 0), 3)
    if health is None or not math.isfinite(health):
        return Condition(alarm=level, assets=1, silent=1)
    return Condition(min(max(health, 0.0), 1.0, MOST_AT_LEVEL[level]), level, path, assets=1)


def combine(own: Condition | None, children: Iterable[tuple[str, Condition]]) -> Condition:
    """The condition of a node that is itself an asset or not, above `children`: (criticality, condition) of each.

    >>> combine(None, [("A", of_asset("p1", 0.8, 0)), ("C", of_asset("p2", 0.0, 0))]).value
    0.7
    """
    reaching = [own] if own is not None else []
    for criticality, child in children:
        value = None if child.value is None else round(1.0 - REACH[criticality] * (1.0 - child.value), 6)
        reaching.append(Condition(value, child.alarm, child.because, child.assets, child.silent))
    known = [(condition.value, condition.because) for condition in reaching if condition.value is not None]
    worst, because = min(known, key=lambda pair: pair[0], default=(None, None))
    return Condition(
        worst,
        max((condition.alarm for condition in reaching), default=0),
        because,
        sum(condition.assets for condition in reaching),
        sum(condition.silent for condition in reaching),
    )


def conditions(connection: Connection, heard_since: int | None = None) -> list[tuple[Node, Condition]]:
    """All nodes of the tree with their conditions, each after its parent.

    Assets whose newest prognosis was received (`t_rx`) before `heard_since`, UTC nanos, count as silent.
    """
    tree = read_tree(connection)
    query = select(assets.c.name, latest.c.health, latest.c.alarm).join(latest, latest.c.asset == assets.c.id)
    if heard_since is not None:
        query = query.where(latest.c.t_rx >= heard_since)
    told = {name: (health, alarm) for name, health, alarm in connection.execute(query)}
    return list(zip(tree, _from_below(tree, told), strict=True))


def _from_below(tree: Sequence[Node], told: Mapping[str, tuple[float | None, int | None]]) -> list[Condition]:
    below: dict[int, list[tuple[str, Condition]]] = {}
    found: list[Condition] = []
    for node in reversed(tree):
        own = None if node.asset is None else of_asset(node.path, *told.get(node.asset, (None, None)))
        condition = combine(own, below.get(node.id, ()))
        found.append(condition)
        if node.parent is not None:
            below.setdefault(node.parent, []).append((node.criticality, condition))
    return found[::-1]
