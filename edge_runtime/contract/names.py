"""Identifiers: fleets, assets, gateways. They are checked at every boundary and never used raw as a path."""

import re

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_identifier(value: str) -> bool:
    return _IDENTIFIER.fullmatch(value) is not None


def check_identifier(kind: str, value: str) -> str:
    """`value` if it is a valid identifier, else `ValueError`.

    >>> check_identifier("asset", "pump-07")
    'pump-07'
    """
    if not isinstance(value, str) or not is_identifier(value):
        raise ValueError(f"{kind} {value!r}: an identifier has 1 to 64 letters, digits, '_' or '-'")
    return value
