"""Numbers, shares and units as the report writes them."""

from __future__ import annotations

LIFE_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "cycle": "cycles"}
UNITS_OF_TIME = ((86400, "d", "day"), (3600, "h", "hour"), (60, "min", "minute"), (1, "s", "second"))
UNKNOWN = "not known"


def number(value: float | None, digits: int = 3) -> str:
    """So many digits, whole numbers in full.

    >>> number(1234.5), number(10.06), number(30.0), number(0.00296), number(2.55e33), number(None)
    ('1,234', '10.1', '30', '0.00296', '2.55e+33', 'not known')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """Whole percents, but never 0 % or 100 % for what is not quite.

    >>> percent(0.934), percent(0.9996), percent(1.0), percent(0.0004)
    ('93 %', '> 99 %', '100 %', '< 1 %')
    """
    if value is None:
        return UNKNOWN
    if 0.995 <= value < 1:
        return "> 99 %"
    return "< 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


def count(n: int, one: str, many: str | None = None) -> str:
    """
    >>> count(1, "machine"), count(1200, "machine"), count(2, "life", "lives")
    ('1 machine', '1,200 machines', '2 lives')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def every(interval: float, unit: str) -> str:
    """How often, from an interval in the class's time unit.

    >>> every(1200, "s"), every(14400, "s"), every(1, "s"), every(1, "cycle"), every(86400, "s")
    ('every 20 min', 'every 4 h', 'every second', 'every cycle', 'every day')
    """
    one = unit
    if unit == "s":
        size, unit, one = next((each for each in UNITS_OF_TIME if interval >= each[0]), UNITS_OF_TIME[-1])
        interval /= size
    return f"every {one}" if interval == 1 else f"every {interval:g} {unit}"


def seen(value: float | str) -> str:
    """A value as measured, to four digits; infinities are words already.

    >>> seen(518.67), seen(0.0), seen(11000.0), seen("inf")
    ('518.7', '0', '11,000', 'inf')
    """
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
