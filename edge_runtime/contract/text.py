"""JSON as the contract speaks it: UTF-8, finite numbers, whole numbers of 64 bits, no lone surrogates, no NUL."""

from __future__ import annotations

import json
import math
from typing import Any

from edge_runtime.errors import MajorError, WireError

SCHEMA = "1.0"  # of every message: a new minor adds fields that old readers may ignore, a new major does not
MAJOR = 1


def dump(value: Any) -> bytes:
    """Compact JSON; `ValueError` for NaN and infinities, which are null here."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def load(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`, whose length the caller has bounded; nothing but `WireError` is raised."""
    try:
        text = data.decode()
        value = json.loads(text, parse_constant=_float, parse_float=_float, parse_int=_int)
        if "\\u" in text:  # escapes can spell what UTF-8 cannot, and NUL, which databases refuse
            spelled = json.dumps(value, ensure_ascii=False).encode()
            if b"\\u0000" in spelled.replace(b"\\\\", b""):
                raise ValueError("NUL in a text")
    except (ValueError, RecursionError) as error:
        raise WireError("json", f"{what} is not the JSON of the contract ({short(str(error))})") from None
    if not isinstance(value, dict):
        raise WireError("json", f"{what} is a {type(value).__name__}: it must be a JSON object")
    return value


def check_schema(value: dict[str, Any], what: str) -> None:
    """`MajorError` when `value` says it is of another major version; `WireError` when it says none."""
    schema = value.get("schema")
    major, _, minor = schema.partition(".") if isinstance(schema, str) and len(schema) < 16 else ("", "", "")
    if not (_is_number(major) and _is_number(minor)):
        raise WireError("schema", f"{what} has schema {short(repr(schema))}: expected one such as '{SCHEMA}'")
    if major != str(MAJOR):
        raise MajorError("major", f"{what} has schema {schema}; this version of overhaul reads {MAJOR}.x: update it")


def short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _int(text: str) -> int:
    number = int(text) if len(text) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:30]} needs more than 64 bits")
    return number
