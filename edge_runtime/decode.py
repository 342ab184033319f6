"""Plain JSON values into frozen dataclasses, checked by their type hints.

Fields the dataclass does not have are ignored: an older reader can read what a newer writer of the same format wrote.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Point:
...     x: float
...     label: str = ""
>>> decode(Point, {"x": 1, "colour": "red"}, "point")
Point(x=1.0, label='')
>>> decode(Point, {"x": "left"}, "point")
Traceback (most recent call last):
ValueError: point.x: expected a number, got 'left'
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def decode(kind: type[T], value: Any, where: str) -> T:
    """`value` as a `kind`; `ValueError` names the place `where.…` and what was expected there."""
    return typing.cast(T, _decode(kind, value, where))


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):  # only `X | None` is used
        return None if value is None else _decode(arguments[0], value, where)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)
    if origin is tuple:
        return _list(arguments, value, where)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _wrong("an object", value, where)
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(_NAMES[kind], value, where)
    return value


def _object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong("an object", value, where)
    hints = typing.get_type_hints(kind)
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = _decode(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{field.name} is missing")
    return kind(**given)


def _list(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong("a list", value, where)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong(f"a list of {len(kinds)}", value, where)
    return tuple(_decode(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True)))


def _wrong(expected: str, value: Any, where: str) -> ValueError:
    shown = repr(value)
    return ValueError(f"{where}: expected {expected}, got {shown if len(shown) < 60 else shown[:57] + '…'}")
