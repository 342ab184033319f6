"""One machine's history a page at a time, thinned if that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, select, tuple_

from serving.database.queries import END, Observed, Reader, Summarised
from serving.database.tables import models, observations, prognoses, summaries
from serving.database.tables.history import OUTPUTS

TABLES: Mapping[str, Table] = {"prognoses": prognoses, "observations": observations, "summaries": summaries}
_KEYS = ("t", "term", "number", "t_rx", "model")
Place = tuple[int, int, int]  # t, term, number


@dataclass(frozen=True)
class Window:
    """From `start` (included) to `end` (not), nanos; at most one row in `step` nanos, at most `limit` rows.

    `after`: the last row of the page before. Without it and `start`: the newest rows.
    """

    start: int | None = None
    end: int | None = None
    step: int | None = None
    limit: int = 2000
    after: Place | None = None


@dataclass(frozen=True, eq=False)
class Page:
    """`keys`: columns of the rows, of prognoses all there are; `spans`: the rest of observations and summaries.

    `model`: of each row, the place in `models`. `next`: how to go on, None at the end.
    """

    kind: str
    keys: Mapping[str, Sequence[Any]]
    spans: Sequence[Observed | Summarised]
    models: list[str]
    model: list[int]
    next: str | None
    earlier: bool


def read_page(connection: Connection, kind: str, asset: int, window: Window) -> Page:
    """Of `kind` "prognoses", "observations" or "summaries"; rows in order of time."""
    table = TABLES[kind]
    forward = window.start is not None or window.after is not None
    query = _query(table, asset, window)
    place = [table.c[name] for name in ("t", "term", "number")]
    order = place if forward else [column.desc() for column in place]
    found: list[Row[Any]] = list(connection.execute(query.order_by(*order).limit(window.limit + 1)))
    more = len(found) > window.limit
    found = found[: window.limit]
    if not forward:
        found.reverse()
    names = _KEYS + ((*OUTPUTS, "alarm") if table is prognoses else ())
    keys = {name: [row._mapping[name] for row in found] for name in names}  # row.t is something else
    ids = list(dict.fromkeys(keys["model"]))
    known = dict(connection.execute(select(models.c.id, models.c.model_id).where(models.c.id.in_(ids))).tuples().all())
    onward = "_".join(str(keys[name][-1]) for name in _KEYS[:3]) if more and forward else None
    return Page(
        kind,
        keys,
        _spans(connection, kind, found),
        [known[each] for each in ids],
        [ids.index(each) for each in keys["model"]],
        onward,
        more and not forward,
    )


def _query(table: Table, asset: int, window: Window) -> Select[Any]:
    own = table.c
    where: list[ColumnElement[bool]] = [own.asset == asset]
    start, after = window.start, window.after
    if after is not None and window.step is not None:  # the whole step that the page before ended in is told
        following = min(after[0] - after[0] % window.step + window.step, END)
        start, after = following if start is None else max(start, following), None
    if start is not None:
        where.append(own.t >= start)
    if window.end is not None:
        where.append(own.t < window.end)
    if after is not None:
        where.append(tuple_(own.t, own.term, own.number) > after)
    # Without the bytes of prognoses: nobody asked for them, and they are most of a row.
    unwanted = ("rest", "layout", "asset") if table is prognoses else ()
    columns = [each for each in own if each.name not in unwanted]
    if window.step is None:
        return select(*columns).where(*where)
    first = [own.t.desc(), own.term.desc(), own.number.desc()]
    if "alarm" in own:
        first.insert(0, func.coalesce(own.alarm, 0).desc())
    place = func.row_number().over(partition_by=own.t - own.t % window.step, order_by=first)
    ranked = select(own.t, own.term, own.number, place.label("place")).where(*where).subquery()
    same = (ranked.c.t == own.t) & (ranked.c.term == own.term) & (ranked.c.number == own.number)
    return select(*columns).join(ranked, same).where(own.asset == asset, ranked.c.place == 1)


def _spans(connection: Connection, kind: str, found: Sequence[Row[Any]]) -> list[Observed | Summarised]:
    if kind == "prognoses":
        return []
    read = Reader(connection, "observation" if kind == "observations" else "summary", "body")
    spans: list[list[Row[Any]]] = []
    for row in found:
        if not spans or (spans[-1][-1].layout, spans[-1][-1].model) != (row.layout, row.model):
            spans.append([])
        spans[-1].append(row)
    return [read.observed(span) if kind == "observations" else read.summarised(span) for span in spans]
