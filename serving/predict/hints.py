"""Ways out of what is often done: another spelling of a unit, times in milliseconds."""

from __future__ import annotations

from edge_runtime.contract.text import short

_SAME = {
    "celsius": "c",
    "fahrenheit": "f",
    "rankine": "r",
    "u/min": "rpm",
    "1/min": "rpm",
    "min-1": "rpm",
    "r/min": "rpm",
    "rev/min": "rpm",
    "lpm": "l/min",
    "percent": "%",
    "pct": "%",
    "amp": "a",
    "ampere": "a",
    "day": "d",
    "days": "d",
}
_SIGNS = str.maketrans({"²": "2", "³": "3", "⁻": "-", "¹": "1", "°": None, "^": None, " ": None, ".": None, "º": None})
_FINER = ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))


def unit_hint(given: str, declared: str) -> str:
    """What to do about readings in `given` of a channel in `declared`.

    >>> unit_hint("C", "°C")
    "if 'C' is only another spelling, write '°C'; else convert the readings"
    >>> unit_hint("m3/h", "L/min")
    'convert the readings'
    """
    if _plain(given) != _plain(declared):
        return "convert the readings"
    return f"if {short(given, 40)!r} is only another spelling, write {declared!r}; else convert the readings"


def time_hint(value: object) -> str:
    """For a number that is no time in seconds, but one of our days in a finer unit; else nothing.

    >>> time_hint(1767434400000), time_hint(12)
    ('; are these milliseconds? divide by 1,000', '')
    """
    if isinstance(value, int | float):
        for factor, name in _FINER:
            if 1e9 <= abs(value) / factor < 5e9:  # 2001 to 2128
                return f"; are these {name}? divide by {factor:,.0f}"
    return ""


def _plain(unit: str) -> str:
    text = unit[:40].translate(_SIGNS).casefold().removeprefix("deg")
    return _SAME.get(text, text)
