"""The socket under paho, buffered both ways, which takes published messages out before paho sees them.

Why: paho 2.1 and 2.2 need 23 µs of pure Python to decode one PUBLISH packet (half of it to make an object for MQTT 5
properties that are not there), a recv() for each field, and a select() and a send() for each message. Cutting the
packets here, from one large recv(), takes 1 µs; see benchmarks/mqtt_source.py. All else (CONNECT, SUBSCRIBE, PING, TLS,
everything that is sent) stays with paho. How MQTT 5 frames a packet is fixed by its standard, sections 2.1 and 3.3.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client

_AT_ONCE = 65_536  # bytes a recv() asks for
_ROUNDS = 16  # recv() calls before others have their turn
_MOST_OUT = 4 << 20  # bytes that wait to be sent; then paho keeps its packets
_MALFORMED = -2
_WAIT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# first byte of the packet, topic, packet id (0 for QoS 0), encoded properties, payload
Deliver = Callable[[int, bytes, int, bytes, bytes], None]


class WireClient(Client):
    """A paho client whose socket is a `Wire`.

    `_create_socket` is private, but overriding it fails softly: if a later paho drops it, `wire` stays None, and paho
    connects and reads for itself and calls `on_message`.
    """

    address: tuple[str, int]
    context: ssl.SSLContext | None = None
    deliver: Deliver
    acked: Callable[[int], None] | None = None
    wire: Wire | None = None

    def _create_socket(self) -> Any:
        sock = socket.create_connection(self.address, self.connect_timeout)
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_hostname=self.address[0])
        self.wire = Wire(sock, self.deliver, self.acked)
        return self.wire


class Wire:
    """All of it belongs to one thread. `deliver` gets PUBLISH packets in the order they came and must not raise.

    `acked` gets the ids of PUBACK packets, if whoever publishes does so past paho; else they are paho's.
    """

    def __init__(self, sock: socket.socket, deliver: Deliver, acked: Callable[[int], None] | None = None) -> None:
        self._sock = sock
        self._deliver = deliver
        self._acked = acked
        self._parts: list[bytes] = []  # of a packet that is not complete yet
        self._have = 0  # bytes in them
        self._need = 2
        self._control = bytearray()  # other packets, for paho to read
        self._out = bytearray()
        self._ended: OSError | None = None
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # packets are joined here

    # What paho calls.

    def recv(self, size: int) -> bytes:
        if not self._control:
            if self._ended is None:
                raise BlockingIOError
            raise self._ended
        taken = bytes(self._control[:size])
        del self._control[:size]
        return taken

    def pending(self) -> int:
        return len(self._control)

    def send(self, data: bytes | bytearray) -> int:
        if len(self._out) > _MOST_OUT:
            raise BlockingIOError
        self._out += data
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def close(self) -> None:
        """After sending what waits, as far as that goes at once: a DISCONNECT packet."""
        if self._ended is None:
            self.flush()
        self._sock.close()

    # What the thread of the connection calls.

    @property
    def for_paho(self) -> bool:
        """Whether paho has something to read: a packet, or that the connection ended."""
        return bool(self._control) or self._ended is not None

    @property
    def ended(self) -> OSError | None:
        """Why the connection ended, as far as the socket knows."""
        return self._ended

    @property
    def unsent(self) -> int:
        return len(self._out)

    def fill(self) -> bool:
        """Take in what has come and deliver it; True if there may be more."""
        for _ in range(_ROUNDS):
            try:
                data = self._sock.recv(_AT_ONCE)
            except _WAIT:
                return False
            except OSError as error:
                self._ended = error
                return False
            if not data:
                self._ended = ConnectionResetError("the broker closed the connection")
                return False
            if self._is_tcp:
                # Brokers hold a small packet back until TCP has acknowledged the one before (Nagle), which would wait
                # for our next PUBACKs. Measured at 5,000 messages/s: readings came 3 ms later (median), 30 ms (p99).
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # Linux forgets it by and by
            self._take(data)
            # A short read has emptied the socket; TLS hands out one record at a time.
            if len(data) < _AT_ONCE and not isinstance(self._sock, ssl.SSLSocket):
                return False
        return True

    def flush(self) -> bool:
        """Send what waits; True if all of it went."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except _WAIT:
                return False
            except OSError as error:
                self._ended = error
                self._out.clear()
                return True
            del self._out[:sent]
        return True

    def _take(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, end, deliver = 0, len(data), self._deliver
        self._need = 2
        while at + 2 <= end:
            length, start = data[at + 1], at + 2
            if length > 127:
                length, start = _varint(data, at + 1, end)
                if length < 0:
                    if length == _MALFORMED:
                        self._ended = ConnectionError("the broker sent what is not MQTT")
                        return
                    self._need = end - at + 1  # not all of its bytes are here
                    break
            stop = start + length
            if stop > end:
                self._need = stop - at
                break
            first = data[at]
            if first == 0x40 and length > 1 and self._acked is not None:
                self._acked(data[start] << 8 | data[start + 1])
            elif first & 0xF0 != 0x30 or not _publish(first, data, start, stop, deliver):
                self._control += data[at:stop]  # a malformed PUBLISH too: paho ends the connection, as it must
            at = stop
        if at < end:
            self._parts.append(data[at:])
            self._have = end - at


def _publish(first: int, data: bytes, start: int, stop: int, deliver: Deliver) -> bool:
    """Deliver the PUBLISH packet whose body is data[start:stop]; False if it is malformed."""
    if stop - start < 3:
        return False
    at = start + 2 + (data[start] << 8 | data[start + 1])
    topic = data[start + 2 : at]
    mid = 0
    if first & 6:
        if at + 2 > stop:
            return False
        mid = data[at] << 8 | data[at + 1]
        at += 2
    if at >= stop:
        return False
    length = data[at]
    at += 1
    if length:
        if length > 127:
            length, at = _varint(data, at - 1, stop)
        if length < 0 or at + length > stop:
            return False
        deliver(first, topic, mid, data[at : at + length], data[at + length : stop])
    else:
        deliver(first, topic, mid, b"", data[at:stop])
    return True


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The variable byte integer at `at`, and where it ends; −1 if it is not all there before `end`."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= end:
            return -1, at
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    return _MALFORMED, at
