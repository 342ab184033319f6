"""What is wrong with the form of a request, for people: the part, the value, the rule and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edge_runtime.contract.text import short
from edge_runtime.decode import shown, suggest
from serving.errors import RequestError

_SHAPES = {"list_type": "a list […]", "dict_type": "an object {…}", "model_type": "an object {…}"}
_SHAPES |= {"model_attributes_type": "an object {…}", "string_type": "text", "bool_type": "true or false"}
_PATTERNS = {
    r"^[A-Za-z0-9_-]{1,64}$": "1 to 64 letters, digits, _ or -",
    r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$": "one line of text",
}
_NUMBERS = ("float_type", "int_type")


def form_problem(error: ValidationError, form: type[BaseModel] | None) -> RequestError:
    """One of them, and how many more there are: first a name that is unknown, for another one may be missing by it."""
    found: list[Any] = list(error.errors(include_url=False))
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    where = _place(first["loc"])
    more = len(found) - 1
    others = f" ({more} more problem{'s' if more > 1 else ''})" if more else ""
    code = "malformed" if first["type"] == "json_invalid" else "form"
    said = short(f"{where or 'the body'}: {_said(first, form)}", 400)
    return RequestError(code, said + others, short(where, 200))


def _said(problem: Any, form: type[BaseModel] | None) -> str:
    kind, value, rule = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"there is no such member: {suggest(str(problem['loc'][-1])[:80], _names(form, problem['loc'][:-1]))}"
    if kind == "missing":
        return "this is missing, and required"
    if kind == "json_invalid":
        return "it is empty: send JSON" if not value else str(problem["msg"])
    if kind == "finite_number":
        return "NaN and infinity are no numbers: send null for a reading that was not received"
    if kind in _NUMBERS:
        return f"{_seen(value)} is {_kind(value)}: {_as_number(value)}"
    if kind in _SHAPES:
        return f"{_seen(value)} is {_kind(value)}: expected {_SHAPES[kind]}"
    if kind == "string_too_short":
        return f"{_seen(value)} is too short: write {rule['min_length']} characters or more"
    if kind == "string_too_long":
        return f"it has {len(value):,} characters: at most {rule['max_length']:,} are taken"
    if kind == "string_pattern_mismatch" and rule["pattern"] in _PATTERNS:
        return f"{_seen(value)}: expected {_PATTERNS[rule['pattern']]}"
    return f"{problem['msg']}; got {_seen(value)}"


def _as_number(value: Any) -> str:
    try:
        float(value)
    except (TypeError, ValueError):
        return "expected a number"
    return f"expected a number, without quotes: {value[:40]}" if isinstance(value, str) else "expected a number"


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "a truth", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "nothing")


def _seen(value: Any) -> str:
    """As JSON has it; long lists and objects only by what they are."""
    if isinstance(value, list | dict):
        return "[…]" if isinstance(value, list) else "{…}"
    if isinstance(value, str):
        return shown(value[:80])
    return (
        {True: "true", False: "false"}[value] if isinstance(value, bool) else "null" if value is None else shown(value)
    )


def _names(form: type[BaseModel] | None, path: Sequence[str | int]) -> list[str]:
    """The members of the part of `form` that `path` leads to."""
    for part in path:
        if form is None:
            break
        if isinstance(part, str):
            field = next((each for name, each in form.model_fields.items() if (each.alias or name) == part), None)
            form = None if field is None else _form_in(field.annotation)
    return [] if form is None else [field.alias or name for name, field in form.model_fields.items()]


def _form_in(annotation: Any) -> type[BaseModel] | None:
    """list[Observation] | None → Observation"""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _form_in(each)) is not None), None)


def _place(path: Sequence[str | int]) -> str:
    """("columns", "time", 3, "str") → columns.time[3]: which of the forms of a time was tried is not told."""
    parts = list(path)
    if "time" in parts:
        at = parts.index("time") + 1
        parts[at:] = [part for part in parts[at:] if isinstance(part, int)]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
