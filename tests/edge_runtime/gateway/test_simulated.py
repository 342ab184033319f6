"""One command simulates machines and says how to read them; what it says is put into a gateway.toml and checked."""

import re
import subprocess
import sys

import pytest

from edge_runtime.cli import main
from edge_runtime.gateway.check import check
from edge_runtime.sources.mqtt import check as mqtt_check
from tests.edge_runtime.broker import running
from tests.edge_runtime.gateway.plant import GATEWAY, write_plant

TABLE = "asset,time,flow,speed\n" + "".join(
    f"p-{machine},2026-01-03T10:0{minute}:00Z,{100 + machine + minute},1500\n"
    for minute in range(3)
    for machine in (1, 2)
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with running("iotcore", tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def simulate(tmp_path):
    """Start a simulator; what it prints before it plays, with names of its own instead of its comments."""
    (tmp_path / "table.csv").write_text(TABLE)
    started = []

    def simulate(protocol, *options):
        command = [
            sys.executable,
            "-m",
            "edge_runtime.cli",
            "simulate",
            protocol,
            str(tmp_path / "table.csv"),
            *options,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip() == "]" or re.match(r"(values|topics) = .*\]$", line.strip()):
                break
        assert lines, process.stderr.read()
        return "".join(lines)

    yield simulate
    for process in started:
        process.terminate()
        process.wait(20)
        process.stdout.close()
        process.stderr.close()


def test_what_a_server_says_of_itself_can_be_read(simulate, broker, tmp_path):
    said = simulate("modbus", "--port", "0", "--speed", "0.001")
    path = write_plant(tmp_path / "etc", GATEWAY, link=broker.url)
    path.write_text(path.read_text() + said)
    lines = check(path)
    assert [line for line in lines if line.result == "FAIL"] == []
    assert [line.what for line in lines if line.part == "mapping"] == ["tiny.shake"]  # no waveform is in the table
    assert sum(line.part.startswith("source ") for line in lines) >= 4  # two channels of two machines


def test_what_a_publisher_says_of_itself_can_be_read(simulate, broker, tmp_path, monkeypatch):
    monkeypatch.setattr(mqtt_check, "LISTEN", 0.05)
    said = simulate("mqtt", "--url", broker.url, "--rate", "100")
    path = write_plant(tmp_path / "etc", GATEWAY, link=broker.url)
    path.write_text(path.read_text() + said)
    assert [line for line in check(path) if line.result == "FAIL"] == []


@pytest.mark.parametrize("protocol", ["mqtt", "modbus", "opcua"])
def test_each_simulator_explains_itself(protocol, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["simulate", protocol, "--help"])
    assert stop.value.code == 0
    assert f"usage: overhaul-edge simulate {protocol}" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["simulate", "modbus", str(tmp_path / "nowhere.csv"), "--port", "0"]) == 1
    assert "nowhere.csv" in capsys.readouterr().err
