"""What stands in an MQTT payload: one JSON object, or one bare number, into values of channels and a time.

Nothing here trusts what came. What cannot be used is a `Refusal`, whose reason is one of

    too_large       longer than `max_bytes`
    not_utf8        text in another encoding
    not_json        not JSON; NaN and Infinity are not JSON
    not_object      JSON, but no object (or none under `values_key`)
    no_value        the object has no member `value_key`
    too_deep        nested so deep that it can only be meant to harm
    too_many_keys   more than MOST_KEYS members
    not_a_number    a bare payload that is no finite number
    bad_time        a time that cannot be understood, lies outside the years 1823 to 2116, or is none where cycles count
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_runtime.timestamps import parse_times

MOST_KEYS = 1000
TimeUnit = Literal["ns", "us", "ms", "s", "cycle"]
_FACTORS = {"ns": 1, "us": 1000, "ms": 1_000_000, "s": 1_000_000_000, "cycle": 1_000_000_000}
_LIMIT = 2**62  # nanos
_SPACE = " \t\r\n"
_LONG = 4000  # digits of a whole number that Python 3.10 and later convert in no time


class Refusal(Exception):  # noqa: N818  it is no error: somebody sent what we cannot use
    """`reason` is a word for counters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Rename:
    """The channel that a key of a JSON payload means; its reading is value × scale + offset."""

    channel: str
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.scale == 0:
            raise ValueError(f"channel '{self.channel}': scale = 0 makes every reading {self.offset:g}: leave it out")

    def __call__(self, value: Any) -> Any:
        if (self.scale == 1 and self.offset == 0) or type(value) not in (int, float):
            return value  # what is no number the intake refuses, by channel
        try:
            return float(value) * self.scale + self.offset
        except OverflowError:  # a whole number beyond float64
            return (math.inf if value > 0 else -math.inf) * self.scale


def load(payload: bytes) -> Any:
    """The JSON value in `payload`, or a `Refusal`."""
    try:
        text = payload.decode().strip(_SPACE)
    except UnicodeDecodeError:
        raise Refusal("not_utf8") from None
    try:
        value, end = (_DECODER if len(text) < _LONG else _CAREFUL).raw_decode(text)
    except ValueError:
        raise Refusal("not_json") from None
    except RecursionError:
        raise Refusal("too_deep") from None
    if end != len(text):
        raise Refusal("not_json")
    return value


def load_object(payload: bytes) -> dict[str, Any]:
    value = load(payload)
    if type(value) is not dict:
        raise Refusal("not_object")
    if len(value) > MOST_KEYS:
        raise Refusal("too_many_keys")
    return value


def load_number(payload: bytes) -> float:
    """A bare number as text: the payload of topics that carry one channel each."""
    try:
        value = float(payload) if len(payload) < 64 else math.nan
    except ValueError:  # of decoding, too
        value = math.nan
    if not math.isfinite(value):
        raise Refusal("not_a_number")
    return value


def rename_all(values: Mapping[str, Any], renames: Mapping[str, Rename]) -> dict[str, Any]:
    """Channels by their names in the class; keys that are not in `renames` stay as they are."""
    renamed = {}
    for key, value in values.items():
        rename = renames.get(key)
        if rename is None:
            renamed[key] = value
        else:
            renamed[rename.channel] = rename(value)
    return renamed


class Times:
    """Times as devices write them, into nanos: numbers in `unit`, or ISO 8601 text.

    >>> Times("ms")(1767434400250), Times("s")("2026-01-03T11:00:00.25+01:00"), Times("cycle")(12)
    (1767434400250000000, 1767434400250000000, 12000000000)
    """

    def __init__(self, unit: TimeUnit) -> None:
        self.unit = unit
        self._factor = _FACTORS[unit]
        self._seconds: dict[str, int] = {}  # text up to the second → nanos: thousands of messages share it

    def __call__(self, value: Any) -> int:
        kind = type(value)
        if kind is int:
            nanos: int = value * self._factor
        elif kind is float:
            try:
                whole = int(value)
            except (OverflowError, ValueError):
                raise Refusal("bad_time") from None
            nanos = whole * self._factor + round((value - whole) * self._factor)
        elif kind is str and self.unit != "cycle":
            nanos = self._text(value)
        else:
            raise Refusal("bad_time")
        if not -_LIMIT < nanos < _LIMIT:
            raise Refusal("bad_time")
        return nanos

    def _text(self, text: str) -> int:
        second, rest = text[:19], text[19:]
        nanos = self._seconds.get(second)
        if nanos is not None:
            if rest in ("Z", ""):
                return nanos
            digits = rest[1:-1]
            if rest[0] == "." and rest[-1] == "Z" and len(digits) < 10 and digits.isascii() and digits.isdigit():
                return nanos + int(digits.ljust(9, "0"))
        times, usable = parse_times([text[:64]], "s")
        if not usable[0] or len(text) > 64:
            raise Refusal("bad_time")
        times_of_second, is_second = parse_times([second], "s")
        if is_second[0] and len(second) == 19:
            if len(self._seconds) > 1000:
                self._seconds.clear()
            self._seconds[second] = int(times_of_second[0])
        return int(times[0])


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _int(text: str) -> int | float:
    return int(text) if len(text) < _LONG else math.copysign(math.inf, -1 if text[0] == "-" else 1)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_int)

Decode = Callable[[bytes], tuple["int | None", dict[str, Any]]]  # payload → time, values


def json_decoder(
    time_key: str,
    times: Times,
    values_key: str | None,
    value_key: str,
    channel: str | None,
    renames: Mapping[str, Rename],
) -> Decode:
    """For topics whose payload is one object. With a `channel`, the object holds its value under `value_key`."""

    def decode(payload: bytes) -> tuple[int | None, dict[str, Any]]:
        found = load_object(payload)
        stamp = found.pop(time_key, None)
        time = None if stamp is None else times(stamp)
        if channel is not None:
            if value_key not in found:
                raise Refusal("no_value")
            found = {channel: found[value_key]}
        elif values_key is not None:
            found = found.get(values_key)  # type: ignore[assignment]
            if type(found) is not dict:
                raise Refusal("not_object")
            if len(found) > MOST_KEYS:
                raise Refusal("too_many_keys")
        return time, rename_all(found, renames) if renames else found

    return decode


def number_decoder(channel: str, renames: Mapping[str, Rename]) -> Decode:
    """For topics whose payload is one bare number, of `channel`."""
    rename = renames.get(channel, Rename(channel))

    def decode(payload: bytes) -> tuple[int | None, dict[str, Any]]:
        return None, {rename.channel: rename(load_number(payload))}

    return decode
