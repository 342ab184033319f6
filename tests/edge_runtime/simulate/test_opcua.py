import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_runtime.errors import EdgeError
from edge_runtime.simulate.modbus import ModbusSimulator
from edge_runtime.simulate.opcua import URI, OpcuaSimulator, ServerSecurity
from edge_runtime.sources.opcua.library import OpcuaError
from edge_runtime.sources.opcua.security import check_key
from edge_runtime.sources.opcua.source import OpcuaSettings, OpcuaSource
from edge_runtime.sources.replay.recording import Recording, Side
from edge_runtime.sources.source import WaveformArrival
from tests.edge_runtime.certificates import Authority
from tests.edge_runtime.simulate.playing import TABLE, serving, source_of, table
from tests.edge_runtime.sources.inbox import ListInbox, wait_until
from tests.edge_runtime.sources.opcua.opcua_server import make_certificate

FAST = {"publishing": 0.05, "sampling": 0.01, "queue": 100, "retry_most": 0.2}


@contextlib.contextmanager
def reading(toml, tmp_path, **changes):
    source, inbox = source_of(toml, OpcuaSettings, OpcuaSource, tmp_path, **(FAST | changes)), ListInbox()
    source.start(inbox)
    try:
        yield source, inbox
    finally:
        source.stop()


def by_time(inbox):
    found = {}
    for arrival in inbox.arrivals:
        found.setdefault((arrival.asset, arrival.time), {}).update(arrival.values)
    return found


def test_the_toml_that_is_printed_reads_what_is_played(tmp_path):
    """Observations, times, events, a waveform; and a set-point that stays."""
    plain = table(tmp_path)
    samples = np.arange(6, dtype=np.float32)
    columns = {"asset": ["P-1"], "time": pa.array([plain.last], pa.timestamp("ns", "UTC"))}
    columns["samples"] = pa.array([samples], pa.list_(pa.float32(), 6))
    pq.write_table(pa.table(columns), tmp_path / "table.shake.parquet")
    side = Side("shake", tmp_path / "table.shake.parquet", 2)
    recording, begin = Recording(plain.path, "s", [side]), threading.Event()
    simulator = OpcuaSimulator(recording, "127.0.0.1", 0, ["speed"], [side])
    with serving(simulator, recording, begin, keep_times=True), reading(simulator.toml(), tmp_path) as (source, inbox):
        wait_until(lambda: source.status().connected)
        wait_until(lambda: source.status().counts["BadWaitingForInitialData"] >= 6)
        assert source.write("P-2", "speed", 55.5) == 55.5
        wait_until(lambda: inbox.values("P-2", "speed") == [55.5])
        inbox.got.clear()
        begin.set()
        wait_until(lambda: 2 in inbox.values("P-1", "age") and len(inbox.values("P-2", "event")) == 2)
        (waveform,) = wait_until(lambda: [item for item in inbox.got if isinstance(item, WaveformArrival)])
    first, last = recording.first, recording.last
    assert by_time(inbox) == {
        ("P-1", first): {"flow": 1.5, "speed": 100, "age": 1, "event": 0},
        ("P-2", first): {"flow": 2.5, "event": 0},
        ("P-1", last): {"flow": 1.75, "speed": 101, "age": 2, "event": 1},
        ("P-2", last): {"event": 0},  # its speed is what was written
    }
    assert (waveform.asset, waveform.channel, waveform.time) == ("P-1", "shake", last)
    assert waveform.samples.tolist() == samples.reshape(2, 3).tolist()


def test_the_command_serves_with_security_if_asked_to(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "password").write_text("secret\n")
    server = make_certificate(tmp_path, "server", URI)
    gateway = make_certificate(tmp_path, "gateway", "urn:test:gateway")
    stranger = make_certificate(tmp_path, "stranger", "urn:test:stranger")
    named_otherwise = server[1].rename(tmp_path / "server.key")
    arguments = ["--port", "0", "--speed", "1000", "--policy", "Basic256Sha256", "--user", "gw"]
    arguments += [
        "--certificate",
        server[0],
        "--key",
        named_otherwise,
        "--trusted",
        gateway[0],
        "--password-file",
        "password",
    ]
    command = [sys.executable, "-W", "error", "-m", "edge_runtime.cli", "simulate", "opcua", "table.csv", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            toml = "".join([*iter(process.stdout.readline, "]\n"), "]"])
            with reading(toml, tmp_path) as (source, inbox):
                wait_until(lambda: inbox.values("P-1", "flow") and inbox.values("P-2", "flow"))
                assert "Basic256Sha256 SignAndEncrypt, user gw" in source.status().detail
            other = {"certificate": str(stranger[0]), "key": str(stranger[1])}
            with reading(toml, tmp_path, **other) as (source, inbox):
                wait_until(lambda: source.status().counts["failures"])
                assert "refuses the gateway's certificate" in source.status().detail
                assert inbox.got == []
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "stopped" in errors
    assert process.returncode == 0


def test_what_cannot_be_simulated_is_told(tmp_path):
    recording = table(tmp_path)
    with pytest.raises(EdgeError, match="no such channel, only flow, speed"):
        OpcuaSimulator(recording, "127.0.0.1", 0, ["valve"])
    open_to_all = OpcuaSimulator(recording, "0.0.0.0", 4840)
    assert "insecure = true" in open_to_all.toml()
    assert isinstance(ServerSecurity("Basic256Sha256", tmp_path, tmp_path), ServerSecurity)


def test_a_key_that_opc_ua_cannot_use_is_told(tmp_path):
    _, elliptic = Authority(tmp_path).issue("server")
    check_key(make_certificate(tmp_path, "good", URI)[1].read_bytes(), "key")
    for content, said in ((elliptic.read_bytes(), "key: OPC UA needs an RSA key"), (b"\0garbage", "no private key")):
        with pytest.raises(OpcuaError, match=said):
            check_key(content, "key")


@pytest.mark.parametrize("simulator", [OpcuaSimulator, ModbusSimulator])
def test_a_port_that_is_taken_is_told(tmp_path, simulator):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgeError, match=f"cannot listen at port {port} of 127.0.0.1 .*choose another by --port"):
            asyncio.run(simulator(table(tmp_path), "127.0.0.1", port).start())
