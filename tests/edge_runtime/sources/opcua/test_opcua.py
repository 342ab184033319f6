import asyncio
import contextlib
import random
import re
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import SystemClock
from edge_runtime.decode import ProblemsError, decode_strict
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.sources.opcua.security import thumbprint
from edge_runtime.sources.opcua.source import OpcuaSettings, OpcuaSource, OpcuaValue, OpcuaWaveform
from edge_runtime.sources.opcua.values import arrivals
from edge_runtime.sources.source import Arrival, WaveformArrival
from tests.edge_runtime.sources.inbox import ListInbox, free_port, wait_until
from tests.edge_runtime.sources.opcua.opcua_server import SERVER_URI, OpcuaServer, make_certificate, when
from tests.edge_runtime.sources.raw_server import RawServer

T = 1_700_000_000  # seconds: some time in 2023
FAST = {"publishing": 0.05, "sampling": 0.01, "queue": 1000, "retry_most": 0.1, "timeout": 4.0}


def value(name, channel=None, asset="P-1", **options):
    return OpcuaValue(f"ns=2;s={name}", asset, channel or name, **options)


def source_of(url, *mapped, **options):
    values = tuple(item for item in mapped if isinstance(item, OpcuaValue))
    waveforms = tuple(item for item in mapped if isinstance(item, OpcuaWaveform))
    options = FAST | {"policy": "None"} | options
    return OpcuaSource(OpcuaSettings("line", url, values, waveforms, **options), SystemClock())


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
        assert not [t for t in threading.enumerate() if t.name == f"opcua {source.name}"]
        assert len(inbox.got) == came


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    made = {name: make_certificate(folder, name, f"urn:test:{name}") for name in ("gateway", "stranger")}
    made["ca"] = make_certificate(folder, "ca", "urn:test:ca", is_ca=True)
    made["server"] = make_certificate(folder, "server", SERVER_URI, ca=made["ca"])
    (folder / "password").write_text("secret\n")
    (folder / "password").chmod(0o600)
    (folder / "wrong").write_text("guess")
    return folder, made


@pytest.fixture(scope="module")
def server(certificates):
    """With and without security; of the clients that show a certificate only the gateway is let in."""
    _, made = certificates
    encrypted = [f"{p}_SignAndEncrypt" for p in ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")]
    with OpcuaServer(
        policies=["NoSecurity", *encrypted, "Basic256Sha256_Sign"],
        certificate=made["server"][0],
        key=made["server"][1],
        trusted=made["gateway"][0].read_bytes(),
        users={"gateway": "secret"},
    ) as running_server:
        running_server.add("x", 4.5)
        yield running_server


# ---------------------------------------------------------------- values, without a server

FLOW, SPEED = value("flow"), value("speed")


def judged(*items, now=5, at=None):
    counts = Counter()
    return arrivals(items, None, now, counts, at), counts


def data(value, source=None, server=None, status=0, kind=None):
    variant = value if isinstance(value, ua.Variant) else ua.Variant(value, kind)
    return ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=when(source), ServerTimestamp=when(server))


def test_values_of_one_machine_and_time_come_together_in_the_order_of_time():
    other = value("flow", asset="P-2")
    got, counts = judged(
        (SPEED, data(1.0, T + 1)),
        (FLOW, data(2.0, T)),
        (SPEED, data(3.0, T)),
        (other, data(4.0, T)),
        (FLOW, data(5.0, T)),
    )
    assert [(a.asset, a.time // 10**9 - T, a.values) for a in got] == [
        ("P-1", 0, {"flow": 2.0, "speed": 3.0}),
        ("P-2", 0, {"flow": 4.0}),
        ("P-1", 1, {"speed": 1.0}),
    ]
    assert counts == {"received": 4, "duplicate": 1}


def test_a_waveform_goes_before_the_values_of_its_time():
    got, _ = judged((FLOW, data(1.0, T)), (OpcuaWaveform("i=1", "P-1", "shake"), data([1.0, 2.0], T)))
    assert [type(item) for item in got] == [WaveformArrival, Arrival]


def test_times_are_the_sources_else_the_servers_else_of_receipt():
    got, counts = judged((FLOW, data(1.0, T, T + 9)), (SPEED, data(1.0, None, T + 9)), (FLOW, data(1.0)), now=77)
    assert [a.time for a in got] == [77, T * 10**9, (T + 9) * 10**9]
    assert counts == {"received": 3, "server_time": 1, "receipt_time": 1}
    got, counts = judged((FLOW, data(1.0, T)), (SPEED, data(1.0, T + 5)), at=(T + 3) * 10**9)
    assert [a.time // 10**9 - T for a in got] == [3, 5]
    no_time = ua.DataValue(ua.Variant(1.0), SourceTimestamp=ua.win_epoch_to_datetime(0))
    assert judged((FLOW, no_time), now=77)[0][0].time == 77


def test_bad_values_are_refused_by_name_and_uncertain_ones_counted():
    got, counts = judged(
        (FLOW, data(1.0, T, status=ua.StatusCodes.BadSensorFailure)),
        (FLOW, data(2.0, T, status=ua.StatusCodes.UncertainLastUsableValue)),
        (SPEED, data(3.0, T, status=0x0480)),
        (SPEED, data(3.0, T, status=0xC0000000)),
    )
    assert [a.values for a in got] == [{"flow": 2.0, "speed": 3.0}]
    assert counts["BadSensorFailure"] == counts["uncertain"] == counts["queue_overflow"] == 1
    assert sum(counts.values()) == 6


def test_what_is_no_number_or_no_waveform_is_refused():
    shake = OpcuaWaveform("i=1", "P-1", "shake", axes=3)
    for mapped, thing, reason in [
        (FLOW, "12", "not_a_number"),
        (FLOW, [1.0], "not_a_number"),
        (FLOW, float("nan"), "not_a_number"),
        (FLOW, None, "not_a_number"),
        (shake, 1.0, "not_a_waveform"),
        (shake, [1.0, 2.0], "not_a_waveform"),
        (shake, ["1", "2", "3"], "not_a_waveform"),
        (shake, ua.Variant([], ua.VariantType.Float), "not_a_waveform"),
    ]:
        got, counts = judged((mapped, data(thing, T)))
        assert (got, counts) == ([], {reason: 1}), thing
    assert judged((FLOW, data(True, T)))[0][0].values == {"flow": 1.0}
    assert judged((FLOW, data(2**63, T, kind=ua.VariantType.UInt64)))[0][0].values == {"flow": 2.0**63}


def test_the_two_layouts_of_a_waveform():
    samples = np.arange(6, dtype=np.float32).reshape(2, 3)  # two axes
    interleaved = OpcuaWaveform("i=1", "P-1", "shake", axes=2)
    by_axis = OpcuaWaveform("i=1", "P-1", "shake", axes=2, layout="axes")
    for mapped, sent in [(interleaved, samples.T), (by_axis, samples)]:
        flat = data(sent.reshape(-1).tolist(), T)
        square = data(ua.Variant(sent.tolist(), ua.VariantType.Float, sent.shape), T)
        for thing in (flat, square):
            (got,), _ = judged((mapped, thing))
            assert got.samples.dtype == np.float32
            assert np.array_equal(got.samples, samples)
    turned = data(ua.Variant(samples.tolist(), ua.VariantType.Float, samples.shape), T)
    assert judged((interleaved, turned))[1] == {"not_a_waveform": 1}


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([FLOW, SPEED, OpcuaWaveform("i=1", "P-1", "w", axes=2)]),
            ANYTHING,
            st.none() | st.datetimes(),
            st.none() | st.datetimes(),
            st.integers(0, 2**32 - 1),
        ),
        max_size=8,
    )
)
def test_whatever_a_server_sends_each_value_is_received_or_counted(items):
    class Data:
        def __init__(self, value, source, server, status):
            self.Value = type("Variant", (), {"Value": value})
            self.SourceTimestamp, self.ServerTimestamp, self.StatusCode = source, server, ua.StatusCode(status)

    got, counts = judged(*[(mapped, Data(*rest)) for mapped, *rest in items])
    accepted = {"uncertain", "queue_overflow", "server_time", "receipt_time"}
    assert sum(n for reason, n in counts.items() if reason not in accepted) == len(items)
    assert counts["received"] == sum(len(a.values) if isinstance(a, Arrival) else 1 for a in got)
    assert [a.time for a in got] == sorted(a.time for a in got)


# ---------------------------------------------------------------- with a server


def test_values_and_waveforms_come_with_the_times_of_their_source(server):
    for name in ("a1", "a2"):
        server.add(name, 0.0)
    server.add("shake", [0.0] * 6)
    shake = OpcuaWaveform("ns=2;s=shake", "P-1", "shake", axes=3)
    source = source_of(server.url, value("a1"), value("a2"), shake)
    with running(source) as inbox:
        wait_until(lambda: source.status().connected and len(inbox.got) >= 3)
        assert "no security, anonymous" in source.status().detail
        inbox.got.clear()
        server.set("shake", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], T + 1)
        for step in range(3):  # the same value again is news too
            server.set("a1", 12.5, T + step)
            server.set("a2", 7.25, T + step)
        wait_until(lambda: len(inbox.values("P-1", "a2")) >= 3 and len(inbox.got) >= 4)
        status = source.status()
    by_time = {}
    for arrival in inbox.arrivals:
        by_time.setdefault(arrival.time, {}).update(arrival.values)
    assert by_time == {(T + step) * 10**9: {"a1": 12.5, "a2": 7.25} for step in range(3)}
    (waveform,) = [item for item in inbox.got if isinstance(item, WaveformArrival)]
    assert (waveform.asset, waveform.channel, waveform.time) == ("P-1", "shake", (T + 1) * 10**9)
    assert waveform.samples.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert status.insecure is None
    assert status.counts["connects"] == 1
    assert not source.status().connected


def test_bad_values_and_nodes_that_do_not_exist_are_told(server):
    server.add("b1", 1.0)
    source = source_of(server.url, value("b1"), value("nowhere"))
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        server.set("b1", 5.0, T, status=ua.StatusCodes.BadSensorFailure)
        server.set("b1", 6.0, T + 1, status=ua.StatusCodes.UncertainLastUsableValue)
        wait_until(lambda: 6.0 in inbox.values("P-1", "b1"))
        status = source.status()
    assert 5.0 not in inbox.values("P-1", "b1")
    assert status.counts["BadSensorFailure"] == status.counts["uncertain"] == 1
    assert "1 of 2 nodes refused" in status.detail
    assert status.refused == ("ns=2;s=nowhere: BadNodeIdUnknown",)


def test_a_dead_band_is_the_servers_to_apply(server):
    server.add("d1", 0.0)
    with running(source_of(server.url, value("d1", deadband=1.0))) as inbox:
        wait_until(lambda: inbox.got)
        for step, number in enumerate([0.5, 0.9, 3.0]):
            server.set("d1", number, T + step)
        wait_until(lambda: 3.0 in inbox.values("P-1", "d1"))
    assert inbox.values("P-1", "d1") == [0.0, 3.0]


def test_a_value_that_does_not_change_is_asked_for(server):
    server.add("r1", 4.0)
    source = source_of(server.url, value("r1"), value("r1", "event"), refresh=0.1)
    with running(source) as inbox:
        # asyncua's server sets its clock once a second
        wait_until(lambda: len({arrival.time for arrival in inbox.arrivals}) >= 2)
        assert source.status().counts["refreshed"] >= 1
    times = [arrival.time for arrival in inbox.arrivals]
    assert times == sorted(times)
    assert set(inbox.values("P-1", "r1")) == {4.0}
    assert len(inbox.values("P-1", "event")) == 1  # which is told once
    source = source_of(server.url, value("r1"), refresh=0)
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        time.sleep(0.3)
        assert len(inbox.got) == 1


@pytest.mark.parametrize("time", [None, T])
def test_an_event_that_stands_does_not_happen_again_with_each_session(server, time):
    """A new life that is told anew would make the twin forget all it has learned since."""
    name = f"event_{time}"
    server.add(name, 0.0)
    server.set(name, 1.0, time)
    server.add(f"x_{name}", 4.5)
    source = source_of(server.url, value(f"x_{name}"), value(name, "event"))
    # Without a time nobody knows whether it is news at the start.
    already = [] if time is None else [1]
    with running(source) as inbox:
        for sessions in (1, 2):
            wait_until(lambda n=sessions: len(inbox.values("P-1", f"x_{name}")) >= n)
            assert inbox.values("P-1", "event") == already
            if sessions == 1:
                server.drop_sessions()
        server.set(name, 0.0, time and T + 1)
        wait_until(lambda: inbox.values("P-1", "event") == [*already, 0])
        server.set(name, 1.0, time and T + 2)
        wait_until(lambda: inbox.values("P-1", "event") == [*already, 0, 1])
        server.drop_sessions()
        wait_until(lambda: source.status().counts["connects"] >= 3)
        wait_until(lambda: source.status().counts["event_before"] >= (3 if time is None else 2))
    assert inbox.values("P-1", "event") == [*already, 0, 1]


def test_while_the_inbox_is_full_the_server_queues(server):
    server.add("q1", 0.0)
    source = source_of(server.url, value("q1"))
    with running(source, room=1) as inbox:
        wait_until(lambda: inbox.got)
        for step in range(1, 30):
            server.set("q1", float(step), T + step)
        wait_until(lambda: source.status().counts["overflow"])
        inbox.room = None
        wait_until(lambda: len(inbox.got) >= 30)
    assert inbox.values("P-1", "q1") == list(range(30))


def test_a_namespace_may_be_named_instead_of_counted(server):
    server.add("named", 4.5, writable=True, unit="rpm")
    values = [
        OpcuaValue("nsu=urn:test:nodes;s=named", "P-1", "named", writable=True),
        OpcuaValue("nsu=urn:test:gone;s=named", "P-1", "gone"),
    ]
    source = source_of(server.url, *values, refresh=0.2)
    with running(source) as inbox:
        wait_until(lambda: inbox.values("P-1", "named"))
        assert source.status().refused == ("nsu=urn:test:gone;s=named: BadNodeIdUnknown",)
        assert source.write("P-1", "named", 5.5) == source.read("P-1", "named") == server.get("named") == 5.5
        wait_until(lambda: source.status().counts["refreshed"] and 5.5 in inbox.values("P-1", "named"))
    _, good, gone = source.check()
    assert (good.ok, good.detail) == (True, "5.5 rpm" + good.detail[7:])
    assert not gone.ok


def test_set_points_are_written_in_the_nodes_type_and_read_back(server):
    kinds = {"w_double": ("Double", 1.5), "w_int": ("Int16", -5), "w_byte": ("Byte", 200), "w_bool": ("Boolean", 1)}
    for name, (kind, _) in kinds.items():
        initial = False if kind == "Boolean" else 0
        server.add(name, initial, writable=True, kind=getattr(ua.VariantType, kind))
    server.add("w_fixed", 0.0)
    server.add("w_text", "x", writable=True)
    names = [*kinds, "w_fixed", "w_text", "nowhere"]
    source = source_of(server.url, *[value(name, writable=True) for name in names], value("b", "read_only"))
    with pytest.raises(CommandError, match="does not run"):
        source.write("P-1", "w_int", 1)
    with running(source) as inbox:
        wait_until(lambda: source.status().connected)
        for name, (kind, wanted) in kinds.items():
            assert source.write("P-1", name, wanted) == source.read("P-1", name) == wanted
            assert server.get(name) == wanted
            assert type(server.get(name)) is {"Double": float, "Boolean": bool}.get(kind, int)
        assert source.nearest("P-1", "w_int", 4.6) == source.write("P-1", "w_int", 4.6) == 5
        assert source.nearest("P-1", "w_double", 4.6) == 4.6
        with pytest.raises(CommandError, match="does not fit into a Byte"):
            source.nearest("P-1", "w_byte", 255.5)
        wait_until(lambda: -5 in inbox.values("P-1", "w_int"))
        for channel, number, told in [
            ("read_only", 1, "may not be written"),
            ("w_fixed", 1, "BadUserAccessDenied|BadNotWritable"),
            ("w_text", 1, "holds no number"),
            ("nowhere", 1, "BadNodeIdUnknown"),
            ("w_int", 40_000, "does not fit into a Int16"),
            ("w_byte", -1, "does not fit into a Byte"),
            ("w_bool", 2, "takes 0 or 1"),
            ("w_double", float("nan"), "no set-point"),
        ]:
            with pytest.raises(CommandError, match=told):
                source.write("P-1", channel, number)
        with pytest.raises(CommandError, match="may not be written"):
            source.read("P-1", "read_only")
    with pytest.raises(CommandError):
        source.write("P-1", "w_int", 1)
    with pytest.raises(CommandError):
        source.read("P-1", "w_int")


@pytest.mark.parametrize("lost", ["write", "read"])
def test_a_write_that_is_not_answered_may_have_been_carried_out(server, lost):
    server.add(f"unsure_{lost}", 0.0, writable=True)
    source = source_of(server.url, value(f"unsure_{lost}", writable=True))
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        really = getattr(source._client.uaclient, lost)

        async def answer_lost(asked):
            if lost == "write" or server.get(f"unsure_{lost}") == 7:
                await really(asked)
                raise ConnectionError("the connection was lost")
            return await really(asked)

        setattr(source._client.uaclient, lost, answer_lost)
        with pytest.raises(CommandUnsureError, match="was sent: the connection was lost"):
            source.write("P-1", f"unsure_{lost}", 7)
        assert server.get(f"unsure_{lost}") == 7


def test_check_tells_value_unit_range_and_rights_of_each_node(server, tmp_path):
    server.add("c_good", 12.5, unit="L/min", extent=(0.0, 400.0))
    server.add("c_far", 7000.0, extent=(0.0, 400.0))
    server.add("c_text", "twelve")
    server.add("c_array", [1.0, 2.0, 3.0, 4.0])
    mapped = [
        value("c_good"),
        value("c_far"),
        value("c_text"),
        value("c_array"),
        value("nowhere"),
        value("c_good", "fixed", writable=True),
        OpcuaWaveform("ns=2;s=c_array", "P-1", "shake", axes=2),
        OpcuaWaveform("ns=2;s=c_array", "P-1", "odd", axes=3),
    ]
    connection, good, far, text, array, nowhere, fixed, shake, odd = source_of(server.url, *mapped).check()
    assert [f.ok for f in (connection, good, shake)] == [True] * 3
    assert good.what == "line: P-1 c_good (ns=2;s=c_good)"
    assert "12.5 L/min (0 … 400 by the server)" in good.detail
    assert "outside of its range" in far.detail
    assert "holds a str: expected a number" in text.detail
    assert "an array is for `waveforms`" in array.detail
    assert "the server has no such node" in nowhere.detail
    assert "lets this user not write it" in fixed.detail
    assert "2 axes × 2 samples" in shake.detail
    assert "an array of 4" in odd.detail
    assert not any(f.ok for f in (far, text, array, nowhere, fixed, odd))
    (finding,) = source_of(f"opc.tcp://127.0.0.1:{free_port()}", *mapped).check()
    assert "connection refused" in finding.detail
    secret = tmp_path / "password"
    secret.write_text("secret")
    secret.chmod(0o644)
    told = source_of(server.url, value("c_good"), user="gateway", password_file=secret).check()
    assert any(f"chmod 600 {secret}" in finding.detail for finding in told)


def test_check_warns_of_values_that_have_not_come_or_are_old(server):
    now = time.time()
    for name, changes in {
        "w_none": {"status": ua.StatusCodes.BadWaitingForInitialData},
        "w_old": {"time": now - 96.4 * 86_400},
        "w_ahead": {"time": now + 1000},
        "w_quiet": {"time": now - 600},
        "w_bad": {"status": ua.StatusCodes.BadSensorFailure},
    }.items():
        server.add(name, 1.0)
        server.set(name, 1.0, **({"time": now} | changes))
    names = ("w_none", "w_old", "w_ahead", "w_quiet", "w_bad")
    _, none, old, ahead, quiet, bad = source_of(server.url, *map(value, names)).check()
    assert [f.ok for f in (none, old, ahead, quiet, bad)] == [True, True, True, True, False]
    assert [f.warn for f in (none, old, ahead, quiet, bad)] == [True, True, True, False, False]
    assert none.detail == "BadWaitingForInitialData: the server has got no value yet"
    assert "unchanged for 96 days: does the machine run" in old.detail
    assert "ahead of this computer's clock" in ahead.detail
    assert re.search(r"unchanged for \d+ s$", quiet.detail)


def test_sessions_that_the_server_drops_are_made_anew_and_nothing_is_left_of_them(server):
    server.add("s1", 0.0)
    source = source_of(server.url, value("s1"), timeout=0.3)
    with running(source) as inbox:
        wait_until(lambda: inbox.got)
        tasks = []
        for turn in range(1, 3):
            server.drop_sessions()
            wait_until(lambda turn=turn: source.status().counts["connects"] > turn)
            server.set("s1", float(turn), T + turn)
            wait_until(lambda turn=turn: turn in inbox.values("P-1", "s1"))
            tasks.append(len(source._loop.call(all_tasks(), 5)))
        assert source.status().counts["disconnects"] == 2
    assert tasks[0] == tasks[-1]


async def all_tasks():
    return asyncio.all_tasks()


def test_it_waits_for_a_server_that_is_not_there_and_outlives_its_restart():
    server = OpcuaServer()
    with server:
        server.add("x", 1.0)
    source = source_of(server.url, value("x"))
    with running(source) as inbox:
        wait_until(lambda: source.status().counts["failures"] >= 2)
        assert "connection refused" in source.status().detail
        for turn in (1, 2):
            with server:
                wait_until(lambda: source.status().connected)
                server.set("x", turn + 0.5, T + turn)
                wait_until(lambda turn=turn: turn + 0.5 in inbox.values("P-1", "x"))
            wait_until(lambda: not source.status().connected)
        assert source.status().counts["connects"] == 2


def garbage(connection):
    noise = random.Random(5)
    while connection.recv(1000):
        connection.sendall(noise.randbytes(noise.randint(1, 400)))


def acknowledge_and_garbage(connection):
    connection.recv(1000)
    connection.sendall(b"ACKF" + struct.pack("<6I", 28, 0, 65536, 65536, 0, 0))
    noise = random.Random(5)
    while connection.recv(1000):
        body = noise.randbytes(100)
        connection.sendall(b"OPNF" + struct.pack("<I", 8 + len(body)) + body)


def promise_much(connection):
    connection.recv(1000)
    connection.sendall(b"ACKF" + struct.pack("<I", 2**32 - 1) + bytes(1000))
    connection.recv(1000)


def silent(connection):
    while connection.recv(1000):
        continue


def hang_up(connection):
    connection.recv(10)


def refuse(connection):
    connection.recv(1000)
    text = b"no"
    connection.sendall(b"ERRF" + struct.pack("<IIi", 16 + len(text), 0x80820000, len(text)) + text)


@pytest.mark.parametrize("serve", [garbage, acknowledge_and_garbage, promise_much, silent, hang_up, refuse])
def test_whatever_a_port_answers_it_is_told_and_outlived(serve):
    with RawServer(serve) as raw:
        source = source_of(f"opc.tcp://127.0.0.1:{raw.port}", value("x"), timeout=0.2)
        with running(source) as inbox:
            wait_until(lambda: raw.connections >= 2 and source.status().counts["failures"] >= 2)
            status = source.status()
            assert not status.connected
            assert status.detail not in ("", "connecting")
        assert inbox.got == []
        (finding,) = source.check()
        assert not finding.ok
        assert finding.detail


# ---------------------------------------------------------------- security


def secure(certificates, own="gateway", trusted="server", password="password", **options):
    folder, made = certificates
    files = {"certificate": made[own][0], "key": made[own][1], "server_certificate": made[trusted][0]}
    return {"policy": "Basic256Sha256", "user": "gateway", "password_file": folder / password} | files | options


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"])
def test_encrypted_with_certificates_and_password(server, certificates, policy):
    source = source_of(server.url, value("x"), **secure(certificates, policy=policy))
    with running(source) as inbox:
        wait_until(lambda: inbox.got and source.status().connected)
        assert f"{policy} SignAndEncrypt, user gateway" in source.status().detail
        assert source.status().insecure is None
    assert inbox.arrivals[0].values == {"x": 4.5}


def test_signed_only(server, certificates):
    options = secure(certificates, mode="Sign", user=None, password_file=None)
    with running(source_of(server.url, value("x"), **options)) as inbox:
        wait_until(lambda: inbox.got)
    assert inbox.arrivals[0].values == {"x": 4.5}


def test_a_server_whose_certificate_was_issued_by_a_trusted_ca(server, certificates):
    connection, x = source_of(server.url, value("x"), **secure(certificates, trusted="ca")).check()
    assert connection.ok
    assert x.ok
    named = server.url.replace("127.0.0.1", "localhost")
    (connection,) = source_of(named, value("x"), **secure(certificates, trusted="ca")).check()
    assert "issued for another host than localhost" in connection.detail


def test_a_server_that_is_not_trusted_is_refused_and_its_thumbprint_told(server, certificates):
    source = source_of(server.url, value("x"), **secure(certificates, trusted="stranger"))
    with running(source) as inbox:
        wait_until(lambda: source.status().counts["failures"] >= 2)
        status = source.status()
        assert not status.connected
        assert "not trusted" in status.detail
        assert thumbprint(certificates[1]["server"][0].read_bytes()) in status.detail
    assert inbox.got == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"own": "stranger"}, "the server refuses the gateway's certificate|BadCertificateUntrusted"),
        ({"password": "wrong"}, "the server refuses user 'gateway'"),
        ({"mode": "Sign", "policy": "Aes128Sha256RsaOaep", "user": None, "password_file": None}, "does not offer"),
        ({"certificate": Path("/nowhere.der")}, "certificate: /nowhere.der cannot be read"),
    ],
)
def test_what_a_secured_server_does_not_accept_is_told(server, certificates, changes, told):
    (finding,) = source_of(server.url, value("x"), **secure(certificates, **changes)).check()
    assert not finding.ok
    assert re.search(told, finding.detail), finding.detail


def test_files_that_are_no_certificates_are_told(server, certificates):
    folder, _ = certificates
    for key in ("certificate", "key", "server_certificate"):
        options = secure(certificates) | {key: folder / "wrong"}
        (finding,) = source_of(server.url, value("x"), **options).check()
        assert not finding.ok
        assert finding.detail


class Later:
    """A clock that runs ahead."""

    def utc(self):
        return time.time_ns() + 60 * 86_400 * 10**9

    def monotonic(self):
        return time.monotonic_ns()


def test_a_certificate_that_has_expired_is_refused(server, certificates):
    settings = source_of(server.url, value("x"), **secure(certificates)).settings
    (finding,) = OpcuaSource(settings, Later()).check()
    assert "renew it, or set the clock" in finding.detail


# ---------------------------------------------------------------- settings

WRONG_NODES = ("ns=2", "ns=x;s=a", "ns=70000;i=1", "ns=2;i=one", "i=4294967296", "ns=2;g=none", "nsu=;s=a", "s=")
NODE = {"node": "ns=2;s=x", "asset": "P-1", "channel": "flow"}
PLAIN = {"name": "x", "url": "opc.tcp://127.0.0.1:4840", "policy": "None", "values": [NODE]}
FILES = {"policy": "Basic256Sha256", "certificate": "a", "key": "b", "server_certificate": "c"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": []}, "values is empty"),
        ({"values": [NODE, NODE]}, "mapped 2 times"),
        ({"waveforms": [NODE]}, "mapped 2 times"),
        ({"values": [NODE | {"node": "flow"}]}, "a node id like"),
        *[({"values": [NODE | {"node": node}]}, "a node id like") for node in WRONG_NODES],
        ({"values": [NODE | {"deadband": -1}]}, "expected a number from 0 up"),
        ({"url": "http://127.0.0.1"}, 'expected "opc.tcp://host:port"'),
        ({"url": "opc.tcp://127.0.0.1"}, 'expected "opc.tcp://host:port"'),
        ({"url": "opc.tcp://127.0.0.1:99999"}, 'expected "opc.tcp://host:port"'),
        ({"url": "opc.tcp://me:secret@127.0.0.1:4840"}, "write user and password_file"),
        ({"url": "opc.tcp://10.0.0.1:4840"}, "insecure = true"),
        ({"policy": "Basic256Sha256"}, "certificate is missing"),
        (FILES | {"policy": "None"}, "uses no certificate"),
        (FILES | {"policy": "Basic256"}, "did you mean 'Basic256Sha256'"),
        ({"user": "me"}, "go together"),
        (FILES | {"user": "me", "password_file": "p", "mode": "Sign"}, "does not encrypt the password"),
    ],
)
def test_settings_say_what_is_wrong_with_them(changes, told):
    with pytest.raises(ProblemsError, match=told):
        decode_strict(OpcuaSettings, PLAIN | changes, "source", Path())


def test_what_can_be_read_or_forged_is_shown():
    plain = decode_strict(OpcuaSettings, PLAIN | {"url": "opc.tcp://10.0.0.1:4840", "insecure": True}, "x", Path())
    signed = decode_strict(OpcuaSettings, PLAIN | FILES | {"url": "opc.tcp://plc:4840", "mode": "Sign"}, "x", Path("/"))
    assert signed.key == Path("/b")
    assert "read and forge" in OpcuaSource(plain, SystemClock()).status().insecure
    assert "can read it" in OpcuaSource(signed, SystemClock()).status().insecure
