"""A publisher that costs next to nothing: MQTT 5 packets made beforehand; only time and packet id are filled in.

As a process, `python -m benchmarks.load`, it reads one `Plan` as JSON, says "ready", begins when it is told a line, and
at the end says how many messages it sent and how late it was at worst. QoS 1; what the broker confirms is counted.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

UNCONFIRMED = 800  # messages that the broker may owe us an answer for
BURST = 64  # messages in one write
_COUNT = struct.Struct("<q")


@dataclass(frozen=True)
class Stream:
    """Readings of `machines` machines, one after the other, `topic` with {asset}; `bodies` are the JSON members after
    the time, taken in turn. `events`: every other message of a machine has event 1."""

    machines: tuple[str, ...]
    bodies: tuple[str, ...]
    rate: float  # messages a second; with `ahead` only what the times in the messages say
    time_factor: int = 1  # times are nanos of this clock over this
    events: bool = False
    topic: str = "plant/{asset}/readings"


@dataclass(frozen=True)
class Plan:
    """Sends `streams` to a broker for `seconds`. With `progress`, a file of `Progress`, as fast as its reader takes it:
    never more than `ahead` messages in advance. Otherwise at the rates."""

    port: int
    streams: tuple[Stream, ...]
    seconds: float
    progress: str | None = None
    ahead: int = 2000


class Progress:
    """Counts that one process writes and others read, in a small file."""

    def __init__(self, path: Path | str, counts: int = 4, *, make: bool = False) -> None:
        if make:
            Path(path).write_bytes(bytes(_COUNT.size * counts))
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNT.size * counts)

    def __getitem__(self, index: int) -> int:
        return int(_COUNT.unpack_from(self._map, index * _COUNT.size)[0])

    def __setitem__(self, index: int, value: int) -> None:
        _COUNT.pack_into(self._map, index * _COUNT.size, value)


class Publisher:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"load-{os.getpid()}".encode()
        variable = b"\0\4MQTT\5\2\xff\xff\0" + struct.pack(">H", len(name)) + name  # clean start
        self.socket.sendall(bytes((0x10, len(variable))) + variable)
        answer = self.socket.recv(1024)
        if answer[0] != 0x20 or answer[3] != 0:
            raise RuntimeError(f"the broker refuses the publisher: {answer!r}")
        self.sent = self.confirmed = 0
        self._rest = b""

    def send(self, packets: list[bytes]) -> None:
        data = memoryview(b"".join(packets))
        self.sent += len(packets)
        self.socket.setblocking(False)
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                self.read(0.05)
        self.read(0)
        while self.sent - self.confirmed > UNCONFIRMED:
            self.read(1)

    def read(self, wait: float) -> None:
        """Count the broker's confirmations."""
        if wait and not select.select([self.socket], [], [], wait)[0]:
            return
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return
        if not data:
            raise RuntimeError("the broker has closed the publisher's connection")
        data = self._rest + data
        at = 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            self.confirmed += data[at] >> 4 == 4
            at += 2 + data[at + 1]
        self._rest = data[at:]


def packets(stream: Stream) -> list[tuple[bytes, bytes, bytes]]:
    """For each body and machine: what comes before the packet id, between it and the time, and after it."""
    made = []
    for body in stream.bodies:
        for asset in stream.machines:
            topic = stream.topic.format(asset=asset).encode()
            tail = f",{body}}}".encode()
            between = b'\0{"time":'
            length = 2 + len(topic) + 2 + len(between) + _digits(stream) + len(tail)
            head = b"\x32" + _varint(length) + struct.pack(">H", len(topic)) + topic
            made.append((head, between, tail))
    return made


def _digits(stream: Stream) -> int:
    return len(str(time.time_ns() // stream.time_factor))


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


class _Sending:
    """One stream under way."""

    def __init__(self, stream: Stream, start: int) -> None:
        self.stream, self.start = stream, start
        self.period = 1e9 / stream.rate
        self.packets = packets(stream)
        self.count = 0

    def due(self, now: int) -> int:
        """How many are to be sent by now and are not."""
        return int((now - self.start) / self.period) + 1 - self.count

    def take(self, most: int, pid: int) -> list[bytes]:
        taken = []
        factor, kinds = self.stream.time_factor, len(self.packets)
        for i in range(self.count, self.count + most):
            head, between, tail = self.packets[i % kinds]
            # The time is the intended one, whatever the publisher is doing at that moment.
            at = (self.start + int(i * self.period)) // factor
            if self.stream.events and (i // len(self.stream.machines)) % 2:
                tail = tail.replace(b'"event":0', b'"event":1')
            taken.append(b"".join((head, struct.pack(">H", (pid + i) % 65_535 + 1), between, b"%d" % at, tail)))
        self.count += most
        return taken


def run(plan: Plan) -> dict[str, Any]:
    """Send everything; what was sent, and how late at worst (ms)."""
    publisher = Publisher(plan.port)
    progress = None if plan.progress is None else Progress(plan.progress)
    start = time.time_ns()
    streams = [_Sending(stream, start) for stream in plan.streams]
    end = start + int(plan.seconds * 1e9)
    late = 0.0
    while (now := time.time_ns()) < end:
        sent = 0
        for sending in streams:
            if progress is None:
                most = sending.due(now)
                if most > 0:
                    late = max(late, (now - start) - (sending.count * sending.period))
            else:
                most = plan.ahead - (publisher.sent - progress[0])
            most = min(most, BURST)
            if most > 0:
                publisher.send(sending.take(most, publisher.sent))
                sent += most
        if not sent:
            publisher.read(0.0005)
    while publisher.confirmed < publisher.sent and time.time_ns() < end + 10e9:
        publisher.read(0.1)
    return {"sent": publisher.sent, "confirmed": publisher.confirmed, "late_ms": late / 1e6}


def read_plan(text: str) -> Plan:
    value = json.loads(text)
    streams = tuple(
        Stream(**one | {"machines": tuple(one["machines"]), "bodies": tuple(one["bodies"])}) for one in value["streams"]
    )
    return Plan(**value | {"streams": streams})


def plan_json(plan: Plan) -> str:
    return json.dumps(dataclasses.asdict(plan))


def bodies_of(channels: list[str], rows: np.ndarray[Any, Any], digits: int = 5) -> tuple[str, ...]:
    """JSON members of the readings in `rows` f32[n, C]; NaN is left out."""
    return tuple(
        ",".join(
            f'"{name}":{float(f"%.{digits}g" % value)!r}'
            for name, value in zip(channels, row, strict=True)
            if value == value
        )
        for row in rows
    )


def main() -> None:
    plan = read_plan(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(run(plan)), flush=True)


if __name__ == "__main__":
    main()
