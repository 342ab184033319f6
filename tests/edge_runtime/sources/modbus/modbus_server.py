"""pymodbus's own server in a thread, with four tables whose registers a test may set."""

import asyncio
import struct
import threading

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_runtime.sources.loop import LoopThread


class ModbusServer:
    """`holes`: addresses of the register tables that do not exist. `requests`: (function, address, count)."""

    def __init__(self, port=0, size=200, holes=(), units=(1,), writable=True):
        self.requests = []
        self.holes = set(holes)
        self.port = port
        self._size, self._units, self._writable = size, units, writable
        self._loop = LoopThread("modbus server under test")
        self._ready = threading.Event()

    def __enter__(self):
        self._ready.clear()
        self._loop.start(self._serve)
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.stop()

    def set(self, function, address, values, unit=1):
        self._loop.call(self._server.async_setValues(unit, function, address, values), 10)

    def holding(self, address, kind, value):
        packed = struct.pack(">" + kind, value)
        self.set(16, address, list(struct.unpack(f">{len(packed) // 2}H", packed)))

    async def _serve(self):
        def bits():
            return [SimData(0, count=self._size // 16 * 16, values=False, datatype=DataType.BITS)]

        def registers():
            return [SimData(0, count=self._size, values=0, datatype=DataType.REGISTERS)]

        devices = [
            SimDevice(unit, simdata=(bits(), bits(), registers(), registers()), action=self._action)
            for unit in self._units
        ]
        server = ModbusTcpServer(devices, address=("127.0.0.1", self.port))
        await server.serve_forever(background=True)
        self.port = server.transport.sockets[0].getsockname()[1]
        self._server = server
        self._ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            await server.shutdown()

    async def _action(self, function, _start, address, count, _registers, values):
        if values is None:
            self.requests.append((function, address, count))
        if function in (3, 4) and self.holes & set(range(address, address + count)):
            return ExcCodes.ILLEGAL_ADDRESS
        return None
