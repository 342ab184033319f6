"""One value in a Modbus device: where it stands, and what the bits there mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.sources.modbus.registers import ORDERS, Kind, Order, number, pattern, registers

Table = Literal["holding", "input", "coil", "discrete"]
TABLES: tuple[Table, ...] = ("holding", "input", "coil", "discrete")
BITS = ("coil", "discrete")


@dataclass(frozen=True)
class Register:
    """`count` places from `address` on; value = number × scale + offset. `invalid`: bits that mean "no value"."""

    asset: str
    channel: str
    unit: int
    table: Table
    address: int
    count: int
    kind: Kind
    bit: int
    order: Order
    scale: float
    offset: float
    invalid: tuple[int, ...]
    every: float

    @property
    def place(self) -> tuple[int, int]:
        return self.address, self.count

    def is_invalid(self, words: Sequence[int]) -> bool:
        """Whether the device says by these registers that it has no value."""
        bits, size = self._bits(words), 1 << 16 * self.count
        return any(bits == invalid % size for invalid in self.invalid)

    def is_nothing(self, words: Sequence[int]) -> bool:
        """Whether they are a NaN as devices write it that have no value: not one of a number in another order."""
        if not self.kind.startswith("float"):
            return False
        bits, ones = self._bits(words), (1 << 16 * self.count) - 1
        return bits == ones or bits & ones >> 1 == (0x7FC00000 if self.kind == "float32" else 0x7FF8 << 48)

    def value(self, words: Sequence[int]) -> float:
        """In the unit of the channel; may be NaN or infinite."""
        return self._number(self._bits(words)) * self.scale + self.offset

    def words(self, value: float) -> list[int]:
        """The registers (or bit) that mean `value`; `ValueError` if there are none."""
        wanted = (value - self.offset) / self.scale
        if self.table in BITS:
            if wanted not in (0, 1):
                raise ValueError(f"a {self.table} takes 0 or 1")
            return [int(wanted)]
        return registers(wanted, self.kind, self.order)

    def order_hint(self, words: Sequence[int]) -> str:
        """Floats read in the wrong order are NaN or of absurd size: which order would make sense?"""
        if not self.kind.startswith("float") or _plausible(self._number(self._bits(words))):
            return ""
        others = self.others(words)
        fitting = [f"{order} would give {found:.7g}" for order, found in others.items() if _plausible(found)]
        return f": is this the right order of bytes and words? {'; '.join(fitting)}" if fitting else ""

    def others(self, words: Sequence[int]) -> dict[str, float]:
        """What other orders would make of them, each as it is written in the settings."""
        if self.kind == "bool":
            return {}
        found = {self._bits(words): ""}
        for order in ORDERS:
            found.setdefault(pattern(words, order), f'order = "{order}"')
        return {told: self._number(bits) * self.scale + self.offset for bits, told in found.items() if told}

    def _bits(self, words: Sequence[int]) -> int:
        return words[0] if self.table in BITS else pattern(words, self.order)

    def _number(self, bits: int) -> float:
        return float(bits) if self.table in BITS else number(bits, self.kind, self.bit)


def _plausible(value: float) -> bool:
    return value == 0 or (math.isfinite(value) and 1e-9 < abs(value) < 1e12)
