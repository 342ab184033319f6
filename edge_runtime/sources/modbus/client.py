"""One connection to a Modbus TCP device: pymodbus's client on a socket of ours, with its doubts made certain.

pymodbus (3.9 to 3.16 were read) may reconnect by itself on another interface, wait for ever while garbage trickles in
(3.9), and take the late answer to one request for that to the next (3.9). Here a request has a deadline, and a
connection on which one was missed or not understood is closed.
"""

from __future__ import annotations

import importlib.util
import inspect
import socket
from collections.abc import Sequence
from typing import Any

from edge_runtime.clock import Clock
from edge_runtime.errors import EdgeError
from edge_runtime.sources.interface import connect
from edge_runtime.sources.modbus.register import BITS, Table

MOST_REGISTERS = 125  # in one request, says the standard
MOST_BITS = 2000
_LONGEST = 4096  # bytes; an answer has at most 260
_READ = {
    "holding": ("read_holding_registers", 3),
    "input": ("read_input_registers", 4),
    "coil": ("read_coils", 1),
    "discrete": ("read_discrete_inputs", 2),
}
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target silent",
}
MAY_BE_ONE = ("illegal address", "illegal value", "device failure")  # the fault of one place of many asked for


class RefusedError(Exception):
    """The device answered that it will not; `reason` is the exception's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SilentError(Exception):
    """No answer in time. The connection is closed."""


class LostError(Exception):
    """The connection cannot be made, was lost, or carries something else than Modbus. It is closed."""


class ModbusClient:
    """For one thread at a time, but `interrupt`."""

    def __init__(
        self, host: str, port: int, timeout: float, clock: Clock, interface: str | None, source_address: str | None
    ) -> None:
        self.bound = ""
        self._where = (host, port)
        self._timeout = timeout
        self._clock = clock
        self._bind_to = (interface, source_address)
        self._client: Any = None
        self._socket: socket.socket | None = None
        self._interrupted = False

    @property
    def is_open(self) -> bool:
        return self._client is not None and self._client.socket is not None

    def open(self) -> None:
        self.close()
        host, port = self._where
        try:
            made, self.bound = connect(host, port, self._timeout, *self._bind_to, made=self._made)
        except OSError as error:
            raise LostError(_told(error, self._timeout)) from error
        self._client = _client(made, host, port, self._clock, self._timeout)
        if self._interrupted:
            self.close()
            raise LostError("interrupted")

    def close(self) -> None:
        client, self._client, self._socket = self._client, None, None
        if client is not None:
            client.close()

    def interrupt(self) -> None:
        """From another thread, for good: whoever waits here stops waiting."""
        self._interrupted = True
        waiting = self._socket
        if waiting is not None:
            try:
                waiting.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already

    def read(self, table: Table, unit: int, address: int, count: int) -> list[int]:
        """`count` registers, or bits as 0 and 1."""
        name, function = _READ[table]
        answer = self._ask(function, name, unit, address, count=count)
        found = [int(bit) for bit in answer.bits[:count]] if table in BITS else answer.registers
        if len(found) != count:
            self.close()
            raise LostError(f"asked for {count} {table} values at {address}, got {len(found)}: this is not Modbus")
        return list(found)

    def write(self, table: Table, unit: int, address: int, words: Sequence[int]) -> None:
        """One coil, or as many holding registers as there are `words`."""
        if table == "coil":
            self._ask(5, "write_coil", unit, address, bool(words[0]))
        elif len(words) == 1:
            self._ask(6, "write_register", unit, address, words[0])
        else:
            self._ask(16, "write_registers", unit, address, list(words))

    def _made(self, made: socket.socket) -> None:
        self._socket = made

    def _ask(self, function: int, name: str, unit: int, *arguments: Any, **options: Any) -> Any:
        client = self._client
        if client is None or client.socket is None:
            raise LostError("not connected")
        method = getattr(client, name)
        unit_key = "device_id" if "device_id" in inspect.signature(method).parameters else "slave"  # before 3.10
        client.begin()
        try:
            answer = method(*arguments, **options, **{unit_key: unit})
        except Exception as error:  # garbage makes pymodbus raise all kinds
            closed = client.socket is None
            self.close()
            if client.late and not client.heard:
                raise SilentError(f"unit {unit} gave no answer within {self._timeout:g} s") from error
            raise LostError("the connection was closed" if closed else _not_modbus(client.heard)) from error
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise RefusedError(_EXCEPTIONS.get(code, f"exception {code}"))
        if answer.function_code != function:
            self.close()
            raise LostError(f"asked with function {function}, answered with {answer.function_code}: this is not Modbus")
        return answer


def require_pymodbus() -> None:
    """`EdgeError` if it is missing."""
    if importlib.util.find_spec("pymodbus") is None:
        raise EdgeError("Modbus needs pymodbus: pip install 'overhaul[modbus]'")


def _client(made: socket.socket, host: str, port: int, clock: Clock, timeout: float) -> Any:
    """pymodbus's client, held to the one socket it is given."""
    from pymodbus.client import ModbusTcpClient
    from pymodbus.exceptions import ConnectionException

    class Client(ModbusTcpClient):  # type: ignore[misc, unused-ignore]
        heard = 0  # bytes of the answer to the present request
        late = False
        _deadline = 0

        def begin(self) -> None:
            self.heard, self.late = 0, False
            self._deadline = clock.monotonic() + round(timeout * 1e9)

        def connect(self) -> bool:
            return self.socket is not None

        def close(self) -> None:
            made, self.socket = self.socket, None
            if made is not None:
                made.close()

        def recv(self, size: int | None) -> bytes:
            left = (self._deadline - clock.monotonic()) / 1e9
            if self.socket is None:
                raise ConnectionException("not connected")
            try:
                self.socket.settimeout(max(left, 1e-3))
                data = self.socket.recv(4096 if size is None else size) if left > 0 else b""
            except TimeoutError:
                data = b""
            except OSError as error:
                self.close()
                raise ConnectionException(str(error)) from error
            else:
                if left > 0 and not data:
                    self.close()
                    raise ConnectionException("closed by the other side")
            self.late = not data
            self.heard += len(data)
            if self.heard > _LONGEST:
                raise ConnectionException("too long for an answer")
            return data

    client = Client(host, port=port, timeout=timeout, retries=0)
    client.socket = made
    return client


def _not_modbus(heard: int) -> str:
    return f"{heard} bytes came that are no answer: this is not Modbus TCP, or not as it should be"


def _told(error: OSError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no connection within {timeout:g} s: is the device on, and the address right?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there; is the port right?"
    if isinstance(error, socket.gaierror):
        return f"the name is unknown ({error.strerror})"
    return error.strerror or str(error)
