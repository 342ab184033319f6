"""What `[[source]] type = "modbus"` may say.

    [[source]]
    type = "modbus"
    name = "drives"
    host = "192.168.0.20"
    interface = "eth1"     # leave by this network interface only
    insecure = true        # Modbus has no security: say that you know
    every = 1.0            # s
    values = [
      { asset = "P-1", channel = "speed", address = 100, type = "uint16", scale = 0.1, invalid = [0xFFFF] },
      { asset = "P-1", channel = "flow", table = "input", address = 0, type = "float32", order = "CDAB" },
      { asset = "P-1", channel = "running", table = "discrete", address = 3 },
    ]

Addresses count from 0, as on the wire: what a manual calls 40101 is `table = "holding"`, `address = 100`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between, Example
from edge_runtime.sources.backoff import MOST
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.modbus.client import require_pymodbus
from edge_runtime.sources.modbus.register import BITS, Register, Table
from edge_runtime.sources.modbus.registers import Kind, Order, words


def _identifier(value: str) -> str | None:
    return None if is_identifier(value) else "an identifier of 1 to 64 letters, digits, '_' or '-'"


@dataclass(frozen=True)
class ModbusValue:
    """One channel of one machine: value = number × scale + offset.

    `type`: of registers; one bit of a register is `type = "bool"` with `bit` 0 … 15, 0 being the least significant.
    `invalid`: what the device sends when it has no value, as it stands in the registers, like 0x8000. `unit`, `every`
    and `order` left out: as the source has it.
    """

    asset: Annotated[str, _identifier, Example('"P-1"')]
    channel: Annotated[str, Example('"flow"')]
    address: Annotated[int, Between(0, 65535)]
    table: Table = "holding"
    type_: Kind | None = None
    bit: Annotated[int, Between(0, 15)] | None = None
    order: Order | None = None
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[int, ...] = ()
    unit: Annotated[int, Between(0, 255)] | None = None
    every: Annotated[float, Between(0.01, 86400)] | None = None
    writable: bool = False

    def __post_init__(self) -> None:
        is_bit = self.table in BITS
        if is_bit and self.type_ not in (None, "bool"):
            raise ValueError(f"type = {self.type_!r}: a {self.table} is one bit; leave type out, or read a register")
        if is_bit and self.bit is not None:
            raise ValueError(f"bit = {self.bit}: a {self.table} has no bits to choose from; leave bit out")
        if not is_bit and (self.type_ == "bool") != (self.bit is not None):
            raise ValueError('one bit of a register is type = "bool" together with bit = 0 … 15: write both or neither')
        if self.channel == "event":
            raise ValueError('channel = "event": a register that is polled would tell one event again and again')
        if self.scale == 0:
            raise ValueError("scale = 0 makes every value the same: write the factor from number to value")
        size = 1 << 16 * self.count
        for number in self.invalid:
            if not -size // 2 <= number < size:
                raise ValueError(f"invalid = {number}: a {self.kind} in the registers is at most {size - 1:#x}")
        if self.address + self.count > 65536:
            raise ValueError(f"address = {self.address}: a {self.kind} has {self.count} registers, the last is 65535")
        if self.writable and (self.table in ("input", "discrete") or (not is_bit and self.kind == "bool")):
            raise ValueError(
                "writable = true: only coils and whole holding registers can be written; a bit of a register cannot, "
                "without touching its neighbours"
            )

    @property
    def kind(self) -> Kind:
        return self.type_ or ("bool" if self.table in BITS else "uint16")

    @property
    def count(self) -> int:
        """Registers, or bits of coils and discrete inputs, that it takes."""
        return 1 if self.table in BITS else words(self.kind)


@dataclass(frozen=True)
class ModbusSettings:
    """`gap`: so many registers of no interest are read along if that saves a request. Durations in seconds."""

    name: Annotated[str, Example('"drives"')]
    host: Annotated[str, Example('"192.168.0.20"')]
    values: tuple[ModbusValue, ...]
    port: Annotated[int, Between(1, 65535)] = 502
    interface: str | None = None
    source_address: str | None = None
    unit: Annotated[int, Between(0, 255)] = 1
    order: Order = "ABCD"
    every: Annotated[float, Between(0.01, 86400)] = 1.0
    gap: Annotated[int, Between(0, 124)] = 8
    timeout: Annotated[float, Between(0.05, 60)] = 3.0
    retry_most: Annotated[float, Between(0.1, 3600)] = MOST  # longest wait between two attempts to connect
    insecure: bool = False

    def __post_init__(self) -> None:
        require_pymodbus()
        if not self.values:
            raise ValueError('values is empty: write values = [{ asset = "P-1", channel = "flow", address = 0 }]')
        (asset, channel), times = Counter((value.asset, value.channel) for value in self.values).most_common(1)[0]
        if times > 1:
            raise ValueError(f"values has asset '{asset}', channel '{channel}' {times} times: keep one")
        if self.interface and self.source_address:
            raise ValueError("interface and source_address are two ways to say one thing: keep one of them")
        if not self.host or re.search(r"[/\s]|^[^:]*:[^:]*$", self.host):
            raise ValueError(f"host = {self.host!r}: expected a name or an address alone, and port = 502")
        if not is_loopback(self.host) and not self.insecure:
            raise ValueError(
                f"host = {self.host!r}: Modbus TCP has no security, whoever is in that network can read and forge it; "
                "if that is known and accepted, write insecure = true"
            )

    def register(self, value: ModbusValue) -> Register:
        """`value` with what it left to the source."""
        return Register(
            asset=value.asset,
            channel=value.channel,
            unit=self.unit if value.unit is None else value.unit,
            table=value.table,
            address=value.address,
            count=value.count,
            kind=value.kind,
            bit=value.bit or 0,
            order=value.order or self.order,
            scale=value.scale,
            offset=value.offset,
            invalid=value.invalid,
            every=self.every if value.every is None else value.every,
        )
