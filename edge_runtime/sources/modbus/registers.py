"""Numbers in Modbus registers: words of 16 bits, each big-endian on the wire.

A number of 32 or 64 bits may stand in them in four orders, named after how the bytes A (most significant) to D follow:

| order | bytes of a word | words |
| --- | --- | --- |
| ABCD | as they are | most significant first: what the standard says |
| BADC | swapped | most significant first |
| CDAB | as they are | least significant first |
| DCBA | swapped | least significant first |
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Literal

Kind = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Order = Literal["ABCD", "BADC", "CDAB", "DCBA"]
ORDERS: tuple[Order, ...] = ("ABCD", "BADC", "CDAB", "DCBA")
_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


def words(kind: Kind) -> int:
    """How many registers a number of this kind takes.

    >>> words("uint16"), words("float32"), words("int64")
    (1, 2, 4)
    """
    return 1 if kind == "bool" else struct.calcsize(_FORMATS[kind]) // 2


def pattern(registers: Sequence[int], order: Order = "ABCD") -> int:
    """The bits of a number, as an unsigned whole number.

    >>> hex(pattern([0x1122, 0x3344])), hex(pattern([0x4433, 0x2211], "DCBA"))
    ('0x11223344', '0x11223344')
    """
    in_order = reversed(registers) if order in ("CDAB", "DCBA") else registers
    bits = 0
    for word in in_order:
        bits = bits << 16 | (word if order in ("ABCD", "CDAB") else (word & 0xFF) << 8 | word >> 8)
    return bits


def number(bits: int, kind: Kind, bit: int = 0) -> float:
    """The number these bits mean; of a bool, bit `bit`, 0 being the least significant."""
    if kind == "bool":
        return float(bits >> bit & 1)
    value: float = struct.unpack(_FORMATS[kind], bits.to_bytes(2 * words(kind), "big"))[0]
    return value


def registers(value: float, kind: Kind, order: Order = "ABCD") -> list[int]:
    """The registers that mean `value`; `ValueError` if the kind cannot. Whole numbers are rounded to the nearest.

    >>> [hex(word) for word in registers(-2.0, "int32")]
    ['0xffff', '0xfffe']
    >>> registers(70_000, "uint16")
    Traceback (most recent call last):
    ValueError: 70000 does not fit into a uint16
    """
    if kind == "bool" or not math.isfinite(value):
        raise ValueError(f"{value:g} cannot be written as {kind}")
    try:
        packed = struct.pack(_FORMATS[kind], value if kind.startswith("float") else round(value))
    except (struct.error, OverflowError):
        raise ValueError(f"{value:.9g} does not fit into a {kind}") from None
    found = [high << 8 | low if order in ("ABCD", "CDAB") else low << 8 | high for high, low in _pairs(packed)]
    return found[::-1] if order in ("CDAB", "DCBA") else found


def _pairs(packed: bytes) -> list[tuple[int, int]]:
    return list(zip(packed[::2], packed[1::2], strict=True))
