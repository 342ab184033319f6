"""Queries of the hot paths: compiled once for each database, run as the driver takes them.

Measured on SQLite, µs a query: 38 by SQLAlchemy's Core, which looks the statement up in its cache and looks after each
result; 13 this way; 1 by the driver alone. A thousand values of an IN are one parameter here, and a thousand there.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, UpdateBase, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import Executable


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column` is one of the list that is given under `name`."""
    return column.bool_op("IN")(_Values(bindparam(name, type_=ARRAY(column.type))))


class _Values(ColumnElement[Any]):
    inherit_cache = True

    def __init__(self, given: BindParameter[Any]) -> None:
        self.given, self.type = given, given.type


@compiles(_Values, "sqlite")
def _sqlite(element: _Values, compiler: Any, **more: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.given, **more)}))"


@compiles(_Values, "postgresql")
def _postgresql(element: _Values, compiler: Any, **more: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.given, **more)}))"


class Prepared:
    """`statement` ready to be run. Rows come as the driver gives them: JSON as text from SQLite, see `read_json`."""

    def __init__(self, statement: Executable) -> None:
        assert not isinstance(statement, UpdateBase), "for what only reads"
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any], tuple[str, ...] | None]] = {}

    def __call__(self, connection: Connection, **values: Any) -> list[Any]:
        """All rows, of the `values` that the statement names; lists for `among`."""
        dialect = connection.dialect
        known = self._compiled.get(dialect.name)
        if known is None:
            compiled: Any = self._statement.compile(dialect=dialect)  # type: ignore[attr-defined]
            order = None if compiled.positiontup is None else tuple(compiled.positiontup)
            known = self._compiled[dialect.name] = compiled.string, dict(compiled.params), order
        sql, constants, order = known
        given = {**constants, **values}
        if order is None:
            return list(connection.exec_driver_sql(sql, given).fetchall())
        row = [json.dumps(value) if isinstance(value, list) else value for value in map(given.__getitem__, order)]
        return list(connection.exec_driver_sql(sql, tuple(row)).fetchall())


def read_json(value: Any) -> Any:
    """Of a column of type Json, as a driver gave it."""
    return json.loads(value) if isinstance(value, str) else value
