"""A Modbus TCP server that plays a file of observations at a chosen speed.

Each channel of each machine is a float32 in two input registers; channels named by --writable stand in holding
registers, and keep what a client has written."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.simulate.player import (
    add_playing,
    open_recording,
    play_and_stay,
    quoted,
    require_port,
    run_until_interrupted,
)
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.modbus.client import require_pymodbus
from edge_runtime.sources.modbus.registers import registers
from edge_runtime.sources.replay.recording import Block, Recording, Row

_INPUT, _HOLDING = 4, 16  # function codes by which pymodbus's server knows its tables
_UNIT_SIZE = 32_000  # values of one unit; each takes two of its 65,536 registers
_NO_VALUE = [0x7FC0, 0]  # NaN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_playing(parser, 5020)
    parser.add_argument("--writable", action="append", default=[], metavar="CHANNEL", help="may be given several times")


def run(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    run_until_interrupted(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    recording = open_recording(options)
    simulator = ModbusSimulator(recording, options.host, options.port, options.writable)
    await simulator.start()
    try:
        print(simulator.toml(), flush=True)
        print(about_time(recording, options), file=sys.stderr, flush=True)
        await play_and_stay(recording, options, simulator.show)
    finally:
        await simulator.stop()


def about_time(recording: Recording, options: argparse.Namespace) -> str:
    """What somebody has to know who waits for an observation."""
    step = recording.step / 1e9
    takes = f"over {step:g} s, as this file has them, takes {step:g} s" if options.unit == "s" else "takes its interval"
    return (
        "Modbus carries no times: a reading is of the moment at which it is polled, whatever --speed, so an "
        f"observation {takes} of real time; for another speed: simulate mqtt or opcua, or a source of type replay"
    )


class ModbusSimulator:
    """`port` 0 becomes the one that was found free. Events are not played: a polled register would repeat them."""

    def __init__(self, recording: Recording, host: str, port: int, writable: Sequence[str] = ()) -> None:
        require_pymodbus()
        unknown = [channel for channel in writable if channel not in recording.channels]
        if unknown:
            raise EdgeError(
                f"--writable {unknown[0]}: {recording.path} has no such channel, only {', '.join(recording.channels)}"
            )
        self.host, self.port = host, port
        self._channels = (*recording.channels, *(name for name in recording.extras if name != "event"))
        self._writable = set(writable)
        self._assets = {asset: i for i, asset in enumerate(recording.assets)}
        self._per_unit = max(1, _UNIT_SIZE // len(self._channels))  # machines
        self._played: dict[tuple[str, str], list[int]] = {}  # what stands in the writable registers if nobody wrote
        self._server: Any = None

    async def start(self) -> None:
        require_port(self.host, self.port)
        units = range(1, 2 + (len(self._assets) - 1) // self._per_unit)
        if len(units) > 247:
            raise EdgeError(f"{len(self._assets):,} machines are too many for the 247 units of one Modbus server")
        self._server = _server(units, self.host, self.port)
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]
        for asset in self._assets:
            for channel in self._channels:
                await self._set(asset, channel, _NO_VALUE)

    async def stop(self) -> None:
        await self._server.shutdown()

    async def show(self, item: Row | Block) -> None:
        if isinstance(item, Row):
            for channel in self._channels:
                value = item.values.get(channel, math.nan)
                words = registers(value, "float32") if math.isfinite(value) else _NO_VALUE
                await self._set(item.asset, channel, words)

    def place(self, asset: str, channel: str) -> tuple[int, int]:
        """Unit and address."""
        machine, column = self._assets[asset], self._channels.index(channel)
        return 1 + machine // self._per_unit, 2 * (machine % self._per_unit * len(self._channels) + column)

    def toml(self) -> str:
        """A [[source]] of gateway.toml that reads all of it."""
        lines = [
            "[[source]]",
            'type = "modbus"',
            'name = "simulated-modbus"',
            f"host = {quoted(self.host)}",
            f"port = {self.port}",
            *([] if is_loopback(self.host) else ["insecure = true"]),
            "values = [",
        ]
        for asset in self._assets:
            for channel in self._channels:
                unit, address = self.place(asset, channel)
                may_write = channel in self._writable
                line = f'  {{ asset = {quoted(asset)}, channel = {quoted(channel)}, type = "float32", '
                line += f'table = "{"holding" if may_write else "input"}", unit = {unit}, address = {address}'
                lines.append(line + (", writable = true },") if may_write else line + " },")
        return "\n".join([*lines, "]"])

    async def _set(self, asset: str, channel: str, words: list[int]) -> None:
        unit, address = self.place(asset, channel)
        if channel not in self._writable:
            await self._server.async_setValues(unit, _INPUT, address, words)
            return
        there = list(await self._server.async_getValues(unit, 3, address, 2))
        if there == self._played.get((asset, channel), there):  # otherwise somebody wrote: the machine obeys
            self._played[asset, channel] = words
            await self._server.async_setValues(unit, _HOLDING, address, words)


def _server(units: Iterable[int], host: str, port: int) -> Any:
    from pymodbus.server import ModbusTcpServer

    if not hasattr(ModbusTcpServer, "async_setValues"):
        raise EdgeError("the simulator needs pymodbus 3.13 or later: pip install --upgrade pymodbus")
    return ModbusTcpServer([_device(unit) for unit in units], address=(host, port))


def _device(unit: int) -> Any:
    from pymodbus.simulator import DataType, SimData, SimDevice

    def table(kind: Any, value: Any) -> list[Any]:
        return [SimData(0, count=2 * _UNIT_SIZE, values=value, datatype=kind)]

    bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
    return SimDevice(unit, (bits, bits, table(DataType.REGISTERS, 0), table(DataType.REGISTERS, 0)))
