"""An MQTT source that a test hands packets to: all that it does is real, but for the broker at the other end."""

import socket
from types import SimpleNamespace

from paho.mqtt.properties import VariableByteIntegers

from edge_runtime.mqtt.wire import Wire
from edge_runtime.sources.mqtt.source import MqttSource

QOS, DUP, RETAIN = 2, 8, 1  # bits of a PUBLISH packet's first byte


def publish(topic, payload, properties=b"", *, flags=QOS, mid=0):
    """A PUBLISH packet of MQTT 5; `properties` encoded, without their length."""
    number = mid.to_bytes(2, "big") if flags & QOS else b""
    about = VariableByteIntegers.encode(len(properties)) + properties
    rest = len(topic).to_bytes(2, "big") + topic + number + about + payload
    return bytes([0x30 | flags]) + VariableByteIntegers.encode(len(rest)) + rest


class FedSource(MqttSource):
    """`feed` packets, `work` as often as the connection's thread would; nothing happens in between.

    Connections are numbered as the source makes them: readings, then waveforms. `acknowledged` has the packet ids of
    PUBACKs, of each connection in order; `total` counts what was fed.
    """

    def start(self, inbox):
        self._pairs = []
        self.total = 0
        self.acknowledged = [[] for _ in self._readers]
        for reader in self._readers:
            reader._put, reader.connection.connected = inbox.put, True
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self._pairs.append((Wire(ours, reader.connection._deliver), theirs))

    def stop(self):
        for wire, theirs in self._pairs:
            wire.close()
            theirs.close()
        self._pairs = []
        super().stop()

    def feed(self, packet, connection=0):
        """One packet to a connection, which takes it in at once."""
        wire, theirs = self._pairs[connection]
        self.total += 1
        rest = memoryview(packet)
        while rest:
            rest = rest[theirs.send(rest) :]
            while wire.fill():
                pass
        assert not wire.for_paho, "only PUBLISH packets can be fed"

    def work(self):
        """One round of each connection: what is committed is acknowledged, what was held is handed in."""
        for reader, (wire, theirs), acknowledged in zip(self._readers, self._pairs, self.acknowledged, strict=True):
            reader._round()
            reader.connection._acknowledge(SimpleNamespace(wire=wire))
            wire.flush()
            acknowledged += _pubacks(theirs)


def _pubacks(sock):
    data = b""
    try:
        while more := sock.recv(1 << 16):
            data += more
    except BlockingIOError:
        pass
    assert len(data) % 4 == 0
    packets = [data[i : i + 4] for i in range(0, len(data), 4)]
    assert all(packet[:2] == b"\x40\x02" for packet in packets)
    return [int.from_bytes(packet[2:], "big") for packet in packets]
