"""The commands together, as systemd and an engineer use them: run, status, stop."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.cli import main
from tests.edge_runtime.broker import free_port, running, until
from tests.edge_runtime.gateway.plant import GATEWAY, MQTT, write_plant


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with running("iotcore", tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        yield listener


@pytest.fixture
def path(tmp_path, broker):
    text = (GATEWAY + MQTT).replace("port = 0", f"port = {free_port()}")
    return write_plant(tmp_path / "etc", text, link=broker.url, plant=broker.url)


@pytest.fixture
def service(path, systemd, tmp_path):
    """The command, started as the unit does."""
    environment = os.environ | {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "1000000"}
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "edge_runtime.cli", "run", str(path)]
        process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def publish(broker, messages):
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def status(path, capsys):
    assert main(["status", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_service_from_its_start_to_its_end(service, systemd, path, broker, tmp_path, capsys):
    assert systemd.recv(1000).decode().startswith("READY=1")
    assert systemd.recv(1000) == b"WATCHDOG=1"
    until(lambda: all(source["connected"] for source in status(path, capsys)["sources"]), what="the source connecting")
    times = (f"2026-01-03T10:0{minute}:30Z" for minute in range(5))
    payloads = [json.dumps({"time": time, "flow": 100, "speed": 1500}) for time in times]
    publish(broker, [("plant/p-1/readings", payload) for payload in payloads])
    until(lambda: status(path, capsys)["bundles"][0]["observations"] > 0, what="an observation")
    told = status(path, capsys)
    assert told["gateway"] == "gw-7"
    assert told["bundles"][0]["machines"] == 2
    assert told["sources"][0]["counts"]["received"] == 5
    until(lambda: status(path, capsys)["journal"]["commits"] > 0, what="its commit")
    assert main(["status", str(path)]) == 0
    assert "tiny  model" in capsys.readouterr().out
    listening = psutil.Process(service.pid).net_connections(kind="inet")
    assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert (tmp_path / "etc" / "data").stat().st_mode & 0o777 == 0o700

    service.send_signal(signal.SIGTERM)
    assert service.wait(20) == 0, (tmp_path / "log").read_text()
    told = b""
    while not told.startswith(b"STOPPING=1"):
        told = systemd.recv(1000)
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(json.loads(line)["level"] in ("info", "warning") for line in lines)
    told = [json.loads(line)["message"] for line in lines]
    assert "stopping: SIGTERM" in told
    assert told[-1] == "stopped: what was accepted is on the disk"


def test_a_configuration_that_cannot_run_ends_with_its_reason(path):
    (path.parent / "machines.csv").write_text("asset,class\np-1,tinny\n")
    command = [sys.executable, "-m", "edge_runtime.cli", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("overhaul-edge: ")
    assert "class 'tinny' of 'p-1' has no bundle" in done.stderr
    shutil.rmtree(path.parent / "data", ignore_errors=True)
    (path.parent / "data").write_text("a file, where the folder should be")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be made (File exists): name a folder of this user's own" in done.stderr
