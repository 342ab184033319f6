"""Plain values (of JSON, of TOML) into frozen dataclasses, checked by their type hints.

`decode` is for what programs write: fields the dataclass does not have are ignored, so an older reader can read what a
newer writer of the same format wrote, and the first error ends it. `decode_strict` is for what people write: unknown
keys are errors, and all errors are told at once.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Point:
...     x: Annotated[float, Between(0, 10)]
...     label: str = ""
>>> decode(Point, {"x": 1, "colour": "red"}, "point")
Point(x=1.0, label='')
>>> decode(Point, {"x": "left"}, "point")
Traceback (most recent call last):
ValueError: point.x: expected a number, got 'left'
>>> decode_strict(Point, {"x": 11, "lable": "red"}, "point", Path())
Traceback (most recent call last):
edge_runtime.decode.ProblemsError: point.lable is no key of point: did you mean 'label'?
point.x: expected a number from 0 to 10, got 11
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path (text)"}
_EXAMPLES = {str: '"…"', int: "…", float: "…", bool: "true", Path: '"…"'}
_BAD = object()  # stands for a value whose problem has been told


class ProblemsError(ValueError):
    """All that is wrong with what somebody wrote."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True)
class Between:
    """A rule for `Annotated`: a number from `low` to `high`, both allowed. A rule says what it expected, or None."""

    low: float
    high: float = math.inf

    def __call__(self, value: Any) -> str | None:
        if self.low <= value <= self.high:
            return None
        return f"a number from {plain(self.low)}" + (f" to {plain(self.high)}" if self.high < math.inf else " up")


@dataclasses.dataclass(frozen=True)
class Example:
    """For `Annotated`: what to write where the value is missing, as it stands in the file."""

    text: str


def decode(kind: type[T], value: Any, where: str) -> T:
    """`value` as a `kind`; `ValueError` names the place `where.…` and what was expected there."""
    return typing.cast(T, _Decoder(None).decode(kind, value, where))


def decode_strict(kind: type[T], value: Any, where: str, folder: Path) -> T:
    """The same for what people write: `ProblemsError` tells all. A `Path` is relative to `folder`.

    A `ValueError` of a dataclass's own `__post_init__` is told with its place. A field `class_` is the key `class`.
    What a dataclass has under `INSTEAD` is told to who writes a key that many expect, and that is not there on purpose.
    """
    decoder = _Decoder(folder)
    decoded = decoder.decode(kind, value, where)
    if decoder.problems:
        raise ProblemsError(decoder.problems)
    return typing.cast(T, decoded)


def plain(number: float) -> str:
    """A number as people write it in a file: whole ones without an exponent, large ones in groups as TOML allows.

    >>> plain(0.05), plain(65535), plain(1 << 20), plain(1e9)
    ('0.05', '65535', '1_048_576', '1_000_000_000')
    """
    if float(number).is_integer() and abs(number) < 1 << 63:
        return f"{int(number):_}" if abs(number) >= 100_000 else str(int(number))
    return f"{number:g}"


def suggest(name: str, known: Sequence[str]) -> str:
    """The way out for a name that is none of `known`.

    >>> suggest("prot", ["host", "port"]), suggest("xyz", ["host", "port"])
    ("did you mean 'port'?", 'there are host, port')
    """
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}" if known else "there are none"


def shown(value: Any) -> str:
    """`repr`, cut to what fits a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of more than 4,300 digits; deep nesting
        return f"a {type(value).__name__} too large to show"
    return text if len(text) < 60 else text[:57] + "…"


class _Decoder:
    """`folder` None: lenient, the first problem is raised."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def problem(self, text: str) -> Any:
        if self.folder is None:
            raise ValueError(text)
        self.problems.append(text)
        return _BAD

    def wrong(self, expected: str, value: Any, where: str) -> Any:
        return self.problem(f"{where}: expected {expected}, got {shown(value)}")

    def decode(self, kind: Any, value: Any, where: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return value
        if origin is Annotated:
            return self.annotated(arguments, value, where)
        if origin in (types.UnionType, typing.Union):  # only `X | None` is used
            return None if value is None else self.decode(arguments[0], value, where)
        if origin is Literal:
            return self.choice(arguments, value, where)
        if dataclasses.is_dataclass(kind):
            return self.object(kind, value, where)
        if origin is tuple:
            return self.list(arguments, value, where)
        if origin is Mapping:
            return self.mapping(arguments[1], value, where)
        if origin is Counter:
            return Counter(self.mapping(int, value, where))
        return self.scalar(kind, value, where)

    def scalar(self, kind: Any, value: Any, where: str) -> Any:
        if kind is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                return self.wrong("a number", value, where)
        if kind is Path and type(value) is str and value and "\0" not in value:
            return (self.folder or Path()) / value
        if type(value) is not kind:
            return self.wrong(_NAMES[kind] + self.plainly(kind, value), value, where)
        if self.folder is not None and kind is float and not math.isfinite(value):
            return self.wrong("a finite number", value, where)
        return value

    def plainly(self, kind: Any, value: Any) -> str:
        """For who writes "5 s" or "1 GB"."""
        looks_so = kind in (int, float) and isinstance(value, str) and value.strip()[:1] in tuple("+-.0123456789")
        return " without quotes and unit (seconds, bytes)" if self.folder is not None and looks_so else ""

    def annotated(self, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
        decoded = self.decode(arguments[0], value, where)
        if decoded is _BAD or decoded is None:
            return decoded
        for rule in arguments[1:]:
            expected = None if isinstance(rule, Example) else rule(decoded)
            if expected is not None:
                return self.wrong(expected, value, where)
        return decoded

    def choice(self, choices: tuple[Any, ...], value: Any, where: str) -> Any:
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return value
        listed = ", ".join(repr(choice) for choice in choices)
        names = [choice for choice in choices if isinstance(choice, str)]
        close = difflib.get_close_matches(value, names, 1) if isinstance(value, str) else []
        hint = f": did you mean '{close[0]}'?" if close else ""
        return self.problem(f"{where}: expected one of {listed}, got {shown(value)}{hint}")

    def object(self, kind: Any, value: Any, where: str) -> Any:
        hints = _hints(kind)
        fields = {field.name.rstrip("_"): field for field in dataclasses.fields(kind) if field.init}
        if not isinstance(value, dict):
            return self.wrong(self.table([key for key, field in fields.items() if _required(field)]), value, where)
        before = len(self.problems)
        if self.folder is not None:
            for key in value:
                if key not in fields:
                    instead = getattr(kind, "INSTEAD", {}).get(key) or suggest(str(key), list(fields))
                    self.problem(f"{where}.{key} is no key of {where}: {instead}")
        given = {}
        for key, field in fields.items():
            if key in value:
                given[field.name] = self.decode(hints[field.name], value[key], f"{where}.{key}")
            elif _required(field):
                self.problem(f"{where}.{key} is missing" + self.way_out(key, hints[field.name]))
        if len(self.problems) > before:
            return _BAD
        try:
            return kind(**given)
        except ValueError as error:
            return self.problem(f"{where}: {error}")

    def way_out(self, key: str, kind: Any) -> str:
        if self.folder is None:
            return ""
        arguments = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
        examples = [argument.text for argument in arguments[1:] if isinstance(argument, Example)]
        if typing.get_origin(arguments[0]) is Literal:
            examples.append(" or ".join(f'"{choice}"' for choice in typing.get_args(arguments[0])))
        fallback = f"{_EXAMPLES[arguments[0]]} ({_NAMES[arguments[0]]})" if arguments[0] in _EXAMPLES else "…"
        return f": write {key} = {examples[0] if examples else fallback}"

    def table(self, keys: Sequence[str] = ("name",)) -> str:
        """What is expected where something with `keys` belongs."""
        within = ", ".join(f"{key} = …" for key in keys) or "…"
        return "an object" if self.folder is None else f"a table, {{ {within} }}"

    def list(self, kinds: tuple[Any, ...], value: Any, where: str) -> Any:
        if not isinstance(value, list):
            return self.wrong("a list" if self.folder is None else "a list, [ … ]", value, where)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            return self.wrong(f"a list of {len(kinds)}", value, where)
        return tuple(
            self.decode(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True))
        )

    def mapping(self, kind: Any, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            return self.wrong(self.table(), value, where)
        return {key: self.decode(kind, item, f"{where}.{key}") for key, item in value.items()}


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)  # parses them anew each time: 300 µs for an alarm
