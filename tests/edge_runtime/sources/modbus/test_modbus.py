import asyncio
import contextlib
import math
import random
import re
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.constants import ExcCodes

from edge_runtime.clock import SystemClock
from edge_runtime.decode import ProblemsError, decode_strict
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.sources.interface import connect, interface_address
from edge_runtime.sources.modbus.client import LostError, ModbusClient, RefusedError, SilentError, _client
from edge_runtime.sources.modbus.registers import ORDERS, registers
from edge_runtime.sources.modbus.source import ModbusSettings, ModbusSource, ModbusValue
from tests.edge_runtime.sources.inbox import ListInbox, free_port, wait_until
from tests.edge_runtime.sources.modbus.modbus_server import ModbusServer
from tests.edge_runtime.sources.raw_server import RawServer


def value(channel, address, **options):
    return ModbusValue("P-1", channel, address, **options)


def source_of(port, *values, **options):
    options = {"every": 0.02, "timeout": 1.0, "retry_most": 0.1} | options
    return ModbusSource(ModbusSettings("line", "127.0.0.1", values, port=port, **options), SystemClock())


@contextlib.contextmanager
def running(source, room=None):
    inbox = ListInbox(room)
    source.start(inbox)
    try:
        yield inbox
    finally:
        began = time.monotonic()
        source.stop()
        assert time.monotonic() - began < 20
        came = len(inbox.got)
        assert not [t for t in threading.enumerate() if t.name == f"modbus {source.name}"]
        assert len(inbox.got) == came


@pytest.fixture(scope="module")
def shared():
    with ModbusServer(units=(1, 2)) as server:
        yield server


def test_every_type_in_every_order_with_scale_and_offset(shared):
    cases = {
        f"{kind}_{order}": (kind, order, number)
        for kind, number in [
            ("int16", -1234),
            ("uint16", 54321),
            ("int32", -123456789),
            ("uint32", 4123456789),
            ("int64", -(2**52)),
            ("uint64", 2**63),
            ("float32", 3.25),
            ("float64", -1e100),
        ]
        for order in ORDERS
    }
    values = []
    for i, (name, (kind, order, number)) in enumerate(cases.items()):
        table = "input" if i % 2 else "holding"
        shared.set(4 if i % 2 else 16, 4 * i, registers(number, kind, order))
        values.append(value(name, 4 * i, table=table, type_=kind, order=order, scale=0.5, offset=2))
    with running(source_of(shared.port, *values)) as inbox:
        arrival = wait_until(lambda: inbox.arrivals)[0]
    assert arrival.asset == "P-1"
    assert arrival.values == {name: number * 0.5 + 2 for name, (_, _, number) in cases.items()}
    assert abs(arrival.time - time.time_ns()) < 60e9


def test_bits_coils_and_discrete_inputs(shared):
    shared.set(16, 150, [0b100])
    shared.set(15, 7, [True])
    shared.set(2, 9, [True])
    values = [
        value("low", 150, type_="bool", bit=0),
        value("high", 150, type_="bool", bit=2),
        value("coil", 7, table="coil"),
        value("other_coil", 8, table="coil"),
        value("contact", 9, table="discrete"),
    ]
    with running(source_of(shared.port, *values)) as inbox:
        arrival = wait_until(lambda: inbox.arrivals)[0]
    assert arrival.values == {"low": 0, "high": 1, "coil": 1, "other_coil": 0, "contact": 1}


def test_neighbours_share_a_request_and_distant_ones_do_not(shared):
    values = [
        value("a", 0),
        value("b", 3, type_="float32"),
        value("c", 40),
        value("d", 41, every=0.05),
        value("e", 2, unit=2),
    ]
    shared.requests.clear()
    with running(source_of(shared.port, *values, gap=4)) as inbox:
        wait_until(lambda: inbox.values("P-1", "d"))
    assert set(shared.requests) == {(3, 0, 5), (3, 40, 1), (3, 41, 1), (3, 2, 1)}


def test_values_of_several_machines_come_as_one_arrival_each(shared):
    shared.set(16, 160, [1, 2, 3])
    values = [ModbusValue("P-1", "x", 160), ModbusValue("P-2", "x", 161), ModbusValue("P-2", "y", 162)]
    with running(source_of(shared.port, *values)) as inbox:
        wait_until(lambda: len(inbox.got) >= 2)
    assert [(a.asset, a.values) for a in inbox.arrivals[:2]] == [("P-1", {"x": 1}), ("P-2", {"x": 2, "y": 3})]


def test_codes_for_no_value_and_what_is_not_finite_are_refused(shared):
    shared.set(16, 170, [0x8000, 0xFFFF, 5, 0x7FC0, 0, 0x7F80, 0])
    values = [
        value("minimum", 170, type_="int16", invalid=(-32768,)),
        value("ones", 171, invalid=(0xFFFE, 0xFFFF)),
        value("good", 172, invalid=(0xFFFF,)),
        value("nan", 173, type_="float32"),
        value("infinite", 175, type_="float32"),
    ]
    source = source_of(shared.port, *values)
    with running(source) as inbox:
        wait_until(lambda: len(inbox.got) > 2)
    # what is infinite is a value, if an odd one: the twin flags it
    assert all(a.values == {"good": 5, "infinite": math.inf} for a in inbox.arrivals)
    counts = source.status().counts
    assert counts["no_value"] == 2 * counts["not_a_number"] == counts["received"] > 0


def test_an_address_that_does_not_exist_costs_nobody_else():
    values = [value(f"v{i}", i) for i in range(12)]
    with ModbusServer(holes=(5,)) as server:
        source = source_of(server.port, *values)
        with running(source) as inbox:
            wait_until(lambda: len(inbox.got) >= 5)
            status = source.status()
            requests = set(server.requests[-8:])
        assert set(inbox.arrivals[0].values) == {f"v{i}" for i in range(12) if i != 5}
        assert status.connected
        assert "1 of 12 values refused, P-1 v5: illegal address" in status.detail
        assert status.refused == ("P-1 v5: illegal address",)
        assert status.counts["illegal_address"] >= 4
        assert (3, 5, 1) in requests
        assert len(requests) <= 5  # settled: not one request a value


def test_a_gap_that_cannot_be_read_is_left_out():
    with ModbusServer(holes=(3, 4)) as server, running(source_of(server.port, value("a", 0), value("b", 6))) as inbox:
        arrival = wait_until(lambda: inbox.arrivals)[0]
        assert set(arrival.values) == {"a", "b"}


def test_it_waits_for_a_device_that_is_not_there_and_outlives_its_restart():
    port = free_port()
    source = source_of(port, value("a", 0))
    with running(source) as inbox:
        wait_until(lambda: source.status().counts["failures"] >= 2)
        status = source.status()
        assert (status.connected, status.counts["received"]) == (False, 0)
        assert "connection refused" in status.detail
        with ModbusServer(port=port):
            wait_until(lambda: inbox.got and source.status().connected)
        wait_until(lambda: not source.status().connected)
        came = len(inbox.got)
        with ModbusServer(port=port) as server:
            server.set(16, 0, [7])
            wait_until(lambda: 7 in inbox.values("P-1", "a"))
        assert len(inbox.got) > came
        assert source.status().counts["connects"] >= 2


def garbage(connection):
    noise = random.Random(3)
    while connection.recv(300):
        connection.sendall(noise.randbytes(noise.randint(1, 400)))


def trickle(connection):
    while True:
        connection.sendall(b"\0")
        time.sleep(0.005)


def flood(connection):
    while True:
        connection.sendall(bytes(65536))


def hang_up(connection):
    connection.recv(300)
    connection.shutdown(socket.SHUT_RDWR)


def silent(connection):
    while connection.recv(300):
        continue


def wrong_function(connection):
    while request := connection.recv(300):
        connection.sendall(request[:4] + struct.pack(">HBBB", 3, request[6], 1, 1) + b"\1")


def too_many(connection):
    while request := connection.recv(300):
        connection.sendall(request[:4] + struct.pack(">HBBBHHH", 9, request[6], 3, 6, 1, 2, 3))


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (garbage, "not Modbus|no answer|closed"),
        (trickle, "not Modbus"),
        (flood, "not Modbus"),
        (hang_up, "connection was closed"),
        (silent, "no answer within 0.1 s"),
        (wrong_function, "not Modbus"),
        (too_many, "not Modbus"),
    ],
)
def test_whatever_a_port_answers_it_is_told_and_outlived(serve, told):
    with RawServer(serve) as server:
        source = source_of(server.port, value("a", 0), value("b", 1), timeout=0.1)
        with running(source) as inbox:
            wait_until(lambda: server.connections >= 3)
            wait_until(lambda: re.search(told, source.status().detail))
            assert not source.status().connected
        assert inbox.got == []
        findings = source.check()
        assert len(findings) == 3
        assert not any(finding.ok for finding in findings[1:])


def one_unit_answers(connection):
    """A line of units behind a gateway: unit 1 is on, unit 9 is off."""
    while request := connection.recv(12):
        transaction, _, _, unit, _, _, count = struct.unpack(">HHHBBHH", request)
        if unit == 1:
            connection.sendall(struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, 1, 3, 2 * count) + b"\0\7" * count)


def test_a_silent_unit_holds_up_the_others_only_now_and_then():
    with RawServer(one_unit_answers) as server:
        source = source_of(server.port, value("on", 0), value("off", 0, unit=9), timeout=0.1, retry_most=5)
        with running(source) as inbox:
            wait_until(lambda: source.status().counts["timeout"] >= 2)
            status = source.status()
            assert status.connected
            assert len(inbox.got) > 3
            assert status.counts["missed"] > 3
        assert inbox.values("P-1", "off") == []
        on, off = source.check()[1:]
        assert on.ok
        assert "unit 9 gave no answer" in off.detail


def test_polls_that_a_slow_device_misses_are_counted():
    def slow(connection):
        while request := connection.recv(12):
            time.sleep(0.05)
            connection.sendall(request[:4] + struct.pack(">HBBBH", 5, request[6], 3, 2, 1))

    with RawServer(slow) as server:
        source = source_of(server.port, value("a", 0), every=0.01)
        with running(source) as inbox:
            wait_until(lambda: len(inbox.got) >= 3)
        counts = source.status().counts
        assert counts["missed"] >= 2 * counts["received"]


def test_a_full_inbox_is_counted(shared):
    source = source_of(shared.port, value("a", 0))
    with running(source, room=2) as inbox:
        wait_until(lambda: source.status().counts["overflow"] >= 2)
    assert len(inbox.got) == 2


def test_a_device_that_refuses_all_for_a_while_is_asked_as_before_when_it_is_back(monkeypatch):
    """However it comes round: in the midst of a round, some of its values answer and the others do not."""
    monkeypatch.setattr("edge_runtime.sources.modbus.source.AS_BEFORE", 0.2)

    class Moody(ModbusServer):
        refuses = False

        async def _action(self, *asked):
            found = await super()._action(*asked)
            return ExcCodes.DEVICE_FAILURE if self.refuses else found

    with Moody(holes=[12]) as server:
        source = source_of(server.port, *[value(f"v{i}", i) for i in range(20)], value("w", 100), value("x", 101))
        with running(source) as inbox:
            wait_until(lambda: inbox.values("P-1", "v19"))
            server.refuses = True
            wait_until(lambda: source.status().counts["device_failure"] >= 60)
            server.refuses = False
            alone = {(3, place, 1) for place in (*range(12), *range(13, 20))}  # but for the hole

            def as_before():
                server.requests.clear()
                time.sleep(0.3)
                return server.requests and not alone & set(server.requests)

            wait_until(as_before)


def test_set_points_are_written_and_read_back(shared):
    values = [
        value("speed", 180, type_="float32", order="CDAB", scale=0.1, writable=True),
        value("count", 184, type_="int16", writable=True),
        value("valve", 100, table="coil", writable=True),
        value("level", 186),
    ]
    source = source_of(shared.port, *values)
    with pytest.raises(CommandError, match="not connected"):
        source.write("P-1", "count", 1)
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        assert source.write("P-1", "speed", 150.5) == pytest.approx(150.5)
        assert source.write("P-1", "count", -5) == source.read("P-1", "count") == -5
        assert source.write("P-1", "valve", 1) == 1
        assert source.nearest("P-1", "count", 4.6) == source.write("P-1", "count", 4.6) == 5
        assert source.nearest("P-1", "speed", 150.5) == pytest.approx(150.5)
        wait_until(lambda: 1 in inbox.values("P-1", "valve"))
        for channel, number, told in [
            ("level", 1, "may not be written"),
            ("nothing", 1, "may not be written"),
            ("count", 40_000, "does not fit into a int16"),
            ("valve", 2, "takes 0 or 1"),
            ("count", math.nan, "cannot be written"),
        ]:
            for what in (source.write, source.nearest):
                with pytest.raises(CommandError, match=told):
                    what("P-1", channel, number)
        with pytest.raises(CommandError, match="may not be written"):
            source.read("P-1", "level")
    with pytest.raises(CommandError, match="not connected"):
        source.read("P-1", "count")


def test_a_write_that_the_device_refuses_is_an_error():
    with ModbusServer(size=16) as server:
        source = source_of(server.port, value("a", 0), value("far", 500, writable=True))
        with running(source) as inbox:
            wait_until(lambda: inbox.got)
            with pytest.raises(CommandError, match="illegal address") as told:
                source.write("P-1", "far", 1)
            assert not isinstance(told.value, CommandUnsureError)


def test_a_write_that_is_not_answered_may_have_been_carried_out():
    class Mute(ModbusServer):
        async def _action(self, *asked):
            if asked[-1] is not None:
                await asyncio.sleep(0.6)
            return await super()._action(*asked)

    with Mute(size=16) as server:
        source = source_of(server.port, value("a", 0, writable=True), timeout=0.3)
        with running(source) as inbox:
            wait_until(lambda: inbox.got)
            with pytest.raises(CommandUnsureError, match="was sent: unit 1 gave no answer"):
                source.write("P-1", "a", 7)
            wait_until(lambda: 7 in inbox.values("P-1", "a"))


def test_check_tries_each_value_and_says_what_it_saw(shared):
    shared.set(16, 190, [*registers(21.5, "float32", "CDAB"), 0xFFFF])
    values = [
        value("swapped", 190, type_="float32"),
        value("right", 190, type_="float32", order="CDAB"),
        value("absent", 5000),
        value("invalid", 192, invalid=(0xFFFF,)),
    ]
    connection, swapped, right, absent, invalid = source_of(shared.port, *values).check()
    assert connection.ok
    assert 'order = "CDAB" would give 21.5' in swapped.detail
    assert (right.ok, right.detail) == (True, "21.5 (registers 0x0000 0x41AC)")
    assert not absent.ok
    assert "addresses count from 0" in absent.detail
    assert "no value now" in invalid.detail
    assert [f.ok for f in source_of(free_port(), *values).check()] == [False]


def test_check_warns_of_a_nan_that_means_no_value_and_asks_about_the_order_of_others_only(shared):
    shared.set(16, 170, [0x7FC0, 0, 0xFFFF, 0xFFFF, 0xFFC0, 0, 0x0000, 0x41AC, 0x0000, 0xC07F])
    values = [value(f"v{at}", at, type_="float32") for at in range(170, 178, 2)]
    values.append(value("swapped", 178, type_="float32", order="DCBA"))  # another device's order: the same NaN
    values.append(value("double", 170, type_="float64"))
    _, nan, ones, negative, tiny, swapped, double = source_of(shared.port, *values).check()
    for finding in (nan, ones, negative, swapped):
        assert (finding.ok, finding.warn) == (True, True)
        assert finding.detail.startswith("no value (NaN, registers 0x")
        assert "order" not in finding.detail
    assert tiny.warn
    assert "is this the right order" in tiny.detail
    assert double.warn
    shared.set(16, 170, [0x41AC, 0x7F81])  # a NaN in the order asked for, a number in another
    assert not source_of(shared.port, value("x", 170, type_="float32", order="CDAB")).check()[1].ok


def test_it_leaves_by_the_interface_that_is_named(shared):
    source = source_of(shared.port, value("a", 0), interface="lo")
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        assert (
            "by interface lo" in source.status().detail or "from 127.0.0.1, the address of lo" in source.status().detail
        )
    with running(source_of(shared.port, value("a", 0), source_address="127.0.0.1")) as inbox:
        wait_until(lambda: inbox.got)
    (finding,) = source_of(shared.port, value("a", 0), interface="eth77").check()
    assert "there is no interface eth77: this computer has lo" in finding.detail
    (finding,) = source_of(shared.port, value("a", 0), source_address="192.0.2.1").check()
    assert "192.0.2.1 is not an address of this computer" in finding.detail


def test_without_the_right_to_bind_to_an_interface_its_address_will_do(shared, monkeypatch):
    def forbidden(self, *arguments):
        if arguments[1] == socket.SO_BINDTODEVICE:
            raise PermissionError(1, "Operation not permitted")
        return original(self, *arguments)

    original = socket.socket.setsockopt
    monkeypatch.setattr(socket.socket, "setsockopt", forbidden)
    made, bound = connect("127.0.0.1", shared.port, 5, interface="lo")
    made.close()
    assert bound.startswith("from 127.0.0.1, the address of lo")
    assert interface_address("eth77") is None
    with pytest.raises(PermissionError, match="needs CAP_NET_RAW"):
        connect("127.0.0.1", shared.port, 5, interface="eth77")


def test_a_connection_that_hangs_does_not_hold_up_the_stop():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        taken = []
        for _ in range(4):  # the queue is full: who connects now waits
            taken.append(made := socket.socket())
            made.setblocking(False)
            made.connect_ex(("127.0.0.1", port))
        source = source_of(port, value("a", 0), timeout=60)
        with running(source):  # looks at the time of stop
            time.sleep(0.2)
        for made in taken:
            made.close()


class _Noise:
    """A socket on which chunks come, and then nothing."""

    def __init__(self, chunks):
        self.chunks = list(chunks)

    def settimeout(self, seconds):
        assert seconds > 0

    def send(self, data):
        return len(data)

    def recv(self, size):
        if not self.chunks:
            raise TimeoutError
        return self.chunks.pop(0)[:size]

    def close(self):
        pass


def frames(function):
    """Something like an answer, or not."""
    body = st.binary(max_size=20)
    like = st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.integers(0, 12),
        st.integers(0, 2),
        st.sampled_from([function, function | 0x80, 1, 4]),
    ).map(lambda parts: struct.pack(">HHHBB", *parts))
    return st.one_of(body, st.builds(bytes.__add__, like, body))


@given(st.data())
def test_no_bytes_make_the_client_raise_anything_else(data):
    table, function = data.draw(st.sampled_from([("holding", 3), ("coil", 1)]))
    client = ModbusClient("127.0.0.1", 502, 0.5, SystemClock(), None, None)
    client._client = _client(_Noise(data.draw(st.lists(frames(function), max_size=5))), "", 502, SystemClock(), 0.5)
    try:
        found = client.read(table, 1, 0, 2)
    except RefusedError:
        assert client.is_open
    except (LostError, SilentError):
        assert not client.is_open
    else:
        assert len(found) == 2
        assert all(0 <= word < 65536 for word in found)


GOOD = {"asset": "P-1", "channel": "flow", "address": 0}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": []}, "values is empty"),
        ({"values": [GOOD, GOOD]}, "asset 'P-1', channel 'flow' 2 times"),
        ({"host": "10.0.0.1"}, "write insecure = true"),
        ({"host": "tcp://plc"}, "a name or an address alone"),
        ({"host": "plc:5020"}, "a name or an address alone, and port = 502"),
        ({"host": "fe80::1"}, "write insecure = true"),
        ({"interface": "a", "source_address": "b"}, "keep one of them"),
        ({"gap": 125}, "expected a number from 0 to 124"),
        ({"values": [GOOD | {"address": 65536}]}, r"values\[0\].address: expected a number from 0 to 65535"),
        ({"values": [GOOD | {"address": 65535, "type": "float32"}]}, "the last is 65535"),
        ({"values": [GOOD | {"type": "float16"}]}, "did you mean 'float"),
        ({"values": [GOOD | {"type": "bool"}]}, "write both or neither"),
        ({"values": [GOOD | {"bit": 3}]}, "write both or neither"),
        ({"values": [GOOD | {"table": "coil", "type": "int16"}]}, "a coil is one bit"),
        ({"values": [GOOD | {"table": "discrete", "bit": 1}]}, "leave bit out"),
        ({"values": [GOOD | {"table": "input", "writable": True}]}, "only coils and whole holding registers"),
        ({"values": [GOOD | {"type": "bool", "bit": 1, "writable": True}]}, "only coils and whole holding registers"),
        ({"values": [GOOD | {"channel": "event"}]}, "again and again"),
        ({"values": [GOOD | {"invalid": [0x10000]}]}, "a uint16 in the registers is at most 0xffff"),
        ({"values": [GOOD | {"scale": 0}]}, "scale = 0 makes every value the same"),
        ({"values": [GOOD | {"order": "ACBD"}]}, "expected one of 'ABCD'"),
        ({"values": [GOOD | {"asset": "P 1"}]}, "expected an identifier"),
    ],
)
def test_settings_say_what_is_wrong_with_them(changes, told):
    with pytest.raises(ProblemsError, match=told):
        decode_strict(ModbusSettings, {"name": "x", "host": "127.0.0.1", "values": [GOOD]} | changes, "source", Path())


def test_what_can_be_read_and_forged_is_shown():
    settings = ModbusSettings("x", "10.0.0.1", (value("a", 0),), insecure=True)
    assert "read and forge" in ModbusSource(settings, SystemClock()).status().insecure
    assert source_of(502, value("a", 0)).status().insecure is None
