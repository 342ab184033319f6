import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_runtime.errors import EdgeError
from edge_runtime.simulate.modbus import ModbusSimulator
from edge_runtime.sources.modbus.source import ModbusSettings, ModbusSource
from tests.edge_runtime.simulate.playing import TABLE, serving, source_of, table
from tests.edge_runtime.sources.inbox import ListInbox, wait_until


@contextlib.contextmanager
def reading(toml, tmp_path, **changes):
    source, inbox = source_of(toml, ModbusSettings, ModbusSource, tmp_path, **({"every": 0.02} | changes)), ListInbox()
    source.start(inbox)
    try:
        yield source, inbox
    finally:
        source.stop()


def latest(inbox, asset):
    values = [a.values for a in inbox.arrivals if a.asset == asset]
    return values[-1] if values else None


def test_the_toml_that_is_printed_reads_what_is_played(tmp_path):
    recording, begin = table(tmp_path), threading.Event()
    simulator = ModbusSimulator(recording, "127.0.0.1", 0)
    with serving(simulator, recording, begin), reading(simulator.toml(), tmp_path) as (source, inbox):
        wait_until(lambda: source.status().counts["not_a_number"])  # nothing is there before it is played
        assert inbox.got == []
        begin.set()
        wait_until(lambda: latest(inbox, "P-1") == {"flow": 1.75, "speed": 101, "age": 2})
        wait_until(lambda: latest(inbox, "P-2") == {"speed": 201})
        assert all(finding.ok for finding in source.check() if "P-1" in finding.what)


def test_what_a_client_writes_stays(tmp_path):
    recording, begin = table(tmp_path), threading.Event()
    simulator = ModbusSimulator(recording, "127.0.0.1", 0, ["speed"])
    with serving(simulator, recording, begin), reading(simulator.toml(), tmp_path) as (source, inbox):
        wait_until(lambda: source.status().connected)
        assert source.write("P-2", "speed", 55.5) == 55.5
        begin.set()
        wait_until(lambda: latest(inbox, "P-1") == {"flow": 1.75, "speed": 101, "age": 2})
        inbox.got.clear()
        wait_until(lambda: latest(inbox, "P-2"))
        assert latest(inbox, "P-2") == {"speed": 55.5}
    with pytest.raises(EdgeError, match=r"no such channel, only flow, speed"):
        ModbusSimulator(recording, "127.0.0.1", 0, ["valve"])


def test_many_machines_take_several_units(tmp_path):
    text = "asset,time,x,y,z\n" + "".join(f"M{i},2026-01-01T00:00:00Z,{i},1,2\n" for i in range(11_000))
    recording = table(tmp_path, text)
    simulator = ModbusSimulator(recording, "127.0.0.1", 0)
    places = {simulator.place(asset, channel) for asset in recording.assets for channel in "xyz"}
    assert len(places) == 33_000
    assert {unit for unit, _ in places} == {1, 2}
    assert max(address for _, address in places) <= 65_534
    with serving(simulator, recording):
        unit, address = simulator.place("M10999", "x")
        toml = f"""
            [[source]]
            type = "modbus"
            name = "x"
            host = "127.0.0.1"
            port = {simulator.port}
            unit = {unit}
            values = [{{ asset = "M", channel = "x", table = "input", type = "float32", address = {address} }}]
        """
        with reading(toml, tmp_path) as (_, inbox):
            wait_until(lambda: latest(inbox, "M") == {"x": 10_999})


def test_the_command_prints_its_toml_and_ends_on_interrupt(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    command = [sys.executable, "-W", "error", "-m", "edge_runtime.cli", "simulate", "modbus", "table.csv"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [*command, "--port", "0", "--speed", "1000"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = iter(process.stdout.readline, "]\n")
            toml = "".join([*lines, "]"])
            with reading(toml, tmp_path) as (_, inbox):
                wait_until(lambda: latest(inbox, "P-1") == {"flow": 1.75, "speed": 101, "age": 2})
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert re.fullmatch(r"Modbus carries no times.* 1 s of real time.*\nfinished: 4 observations.*\nstopped\n", errors)
    assert process.returncode == 0
