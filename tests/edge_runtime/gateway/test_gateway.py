"""The whole gateway against a real broker and a hub that commits before it acknowledges."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.errors import EdgeError, JournalError
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from tests.contracts.test_gateway_needs import HEAVY, OURS
from tests.edge_runtime.broker import broker, iotcore, until  # noqa: F401
from tests.edge_runtime.gateway.plant import GATEWAY, MQTT, write_plant
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.tiny import tiny_bundle

ROOT = Path(__file__).parents[3]
MINUTE = 60_000_000_000
# On a busy computer the link is not always healthy; tests do not wait a minute for a block of backfill.
TEXT = (GATEWAY + MQTT).replace("[link]\n", "[link]\nblock_every = 0.5\nbackfill_every = 1\n")


@pytest.fixture
def hub(iotcore, tmp_path):  # noqa: F811
    with Hub(iotcore.url, tmp_path / "hub") as started:
        yield started


@pytest.fixture
def config(iotcore, tmp_path):  # noqa: F811
    return write_plant(tmp_path / "gateway", TEXT, link=iotcore.url, plant=iotcore.url)


@pytest.fixture
def plant(iotcore):  # noqa: F811
    """Publishes readings of minutes, counted from a fixed one that has just passed."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.connect("127.0.0.1", iotcore.port)
    client.loop_start()
    yield Publisher(client)
    client.disconnect()
    client.loop_stop()


class Publisher:
    def __init__(self, client):
        self.client = client
        self.start = time.time_ns() // MINUTE * MINUTE - 100 * MINUTE

    def send(self, asset, minutes):
        for minute in minutes:
            body = {"time": self.start + minute * MINUTE + MINUTE // 2, "flow": float(minute), "speed": 1.0}
            self.client.publish(f"plant/{asset}/readings", json.dumps(body), 1).wait_for_publish(20)


def started(path, **options):
    gateway = Gateway(read_config(path), **options)
    gateway.start()
    until(lambda: all(source.subscribed for source in gateway.sources))
    return gateway


def numbers(hub, kind, asset):
    return sorted(number for name, _, number in hub.rows(kind) if name == asset)


def test_from_sensor_to_centre_and_on_after_a_restart(config, hub, plant):
    gateway = started(config)
    plant.send("p-1", range(6))
    until(lambda: numbers(hub, "prognosis", "p-1") == [1, 2, 3, 4, 5])
    until(lambda: numbers(hub, "alarm", "p-1") == [2, 4])
    status = gateway.status()
    assert (status.bundles[0].observations, status.bundles[0].alarms) == (5, {"2": 1})
    assert status.link.healthy
    gateway.stop()
    until(lambda: hub.statuses()[-1]["state"] == "offline")

    again = started(config)
    assert again.resumed.entries == 0, "an orderly stop leaves a checkpoint"
    plant.send("p-1", range(6, 9))
    until(lambda: numbers(hub, "observation", "p-1") == list(range(1, 9)))
    until(lambda: [event["code"] for event in hub.told("event")] == ["restarted", "restarted"])
    again.stop()
    assert hub.count("conflict") == hub.count("repeated") == 0
    assert numbers(hub, "state", "p-1")[-1] in (5, 8)


def test_a_newer_bundle_in_the_folder_is_taken_up(config, hub, plant):
    gateway = started(config)
    plant.send("p-1", range(4))
    until(lambda: gateway.engine.twins["tiny"].fleet.number[0] == 3)
    tiny_bundle(config.parent / "bundles" / "tiny", title="Next")
    gateway.swap()
    until(lambda: any(event["code"] == "bundle" for event in hub.told("event")))
    plant.send("p-1", range(4, 7))
    until(lambda: numbers(hub, "prognosis", "p-1") == list(range(1, 7)))
    models = {message["model_id"] for message in hub.messages("prognosis")}
    assert len(models) == 2
    assert gateway.status().bundles[0].model_id in models
    gateway.stop()


def test_the_centre_asks_for_states(config, hub, plant):
    gateway = started(config)
    plant.send("p-1", range(3))
    plant.send("p-2", range(3))
    until(lambda: gateway.engine.twins["tiny"].fleet.number.tolist() == [2, 2])
    request = json.dumps({"schema": "1.0", "id": "r1", "what": "state", "assets": ["p-2"]})
    plant.client.publish("overhaul/1/north/gw-7/down/request", request, 1)
    until(lambda: hub.rows("state"))
    assert [key[0] for key in hub.rows("state")] == ["p-2"]
    gateway.stop()


def test_what_cannot_start_leaves_nothing_behind(config):
    before = set(threading.enumerate())
    held = started(config)
    second = Gateway(read_config(config))
    with pytest.raises(JournalError, match="in use by another gateway"):
        second.start()
    held.stop()
    (config.parent / "bundles" / "tiny" / "twin.onnx").write_bytes(b"")
    with pytest.raises(EdgeError, match="truncated or altered"):
        Gateway(read_config(config)).start()
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert names.isdisjoint(["engine", "bundles", "journal", "http"])


def test_a_journal_that_cannot_go_on_ends_the_gateway(config, plant, monkeypatch):
    gateway = started(config)

    def broken(*_):
        raise JournalError("the disk is gone")

    monkeypatch.setattr(gateway.journal, "submit", broken)
    plant.send("p-1", [0])
    assert gateway.wait(20), "it is over"
    assert isinstance(gateway.failure, JournalError)
    gateway.stop()


def test_commands_that_cannot_work_are_told_at_the_start(config, caplog):
    (config.parent / "centre.pem").write_text("A" * 43 + "=")
    allow = 'allow = [{ asset = "p-1", channel = "speed", low = 0, high = 1 }]'
    config.write_text(f'{config.read_text()}\n[commands]\nenabled = true\npublic_key = "centre.pem"\n{allow}\n')
    gateway = Gateway(read_config(config))
    gateway.start()
    gateway.stop()
    told = [record.getMessage() for record in caplog.records if "[commands] allow cannot work" in record.getMessage()]
    assert len(told) == 1
    assert "source 'plant' does not say how it is written" in told[0]


# As a process.


def run(path, code="from edge_runtime.cli import main; import sys; sys.exit(main(['run', sys.argv[1]]))"):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def process(config):
    started = []

    def start(*arguments):
        started.append(run(config, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stderr.close()


def test_from_start_to_prognosis_in_seconds_and_a_clean_end(process, hub, plant):
    began = time.monotonic()
    gateway = process()
    until(lambda: hub.statuses())
    # Again and again, for the broker tells nobody before there is a subscription. The second observation is an alarm.
    until(lambda: plant.send("p-1", range(4)) or hub.rows("alarm"))
    seconds = time.monotonic() - began
    listening = [c for c in psutil.Process(gateway.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}, "nothing listens for others"
    assert not [c for c in psutil.Process(gateway.pid).net_connections("udp") if not c.raddr]
    gateway.send_signal(signal.SIGHUP)
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(20) == 0
    assert seconds < 20, f"first prognosis after {seconds:.1f} s"
    until(lambda: hub.statuses()[-1]["state"] == "offline")


def test_a_failure_ends_the_process_with_an_error(process):
    code = """
import sys
from edge_runtime.cli import main
from edge_runtime.errors import JournalError
from edge_runtime.gateway.engine import Engine
def fail(self):
    raise JournalError("the disk is gone")
Engine.run = fail
sys.exit(main(["run", sys.argv[1]]))
"""
    gateway = process(code)
    assert gateway.wait(20) == 1
    assert "the disk is gone" in gateway.stderr.read()


def test_a_running_gateway_has_loaded_nothing_heavy(process, hub, plant):
    """What must not be there cannot be imported at all."""
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*HEAVY, *OURS, "pandas", "matplotlib", "tensorflow")!r}:
            raise ImportError(name + " has no place on a gateway")
sys.meta_path.insert(0, Refuse())
from edge_runtime.cli import main
sys.exit(main(["run", sys.argv[1]]))
"""
    gateway = process(code)
    until(lambda: hub.statuses())
    until(lambda: plant.send("p-1", range(4)) or hub.rows("alarm"))
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(20) == 0


def test_killed_under_load_nothing_is_lost_and_nothing_comes_twice(process, hub, plant):
    """The long version, with the broker killed too, is `test_kills`."""
    gateway = process()

    def subscribed():
        plant.send("p-1", range(2))
        plant.send("p-2", range(2))
        return numbers(hub, "observation", "p-1") == numbers(hub, "observation", "p-2") == [1]

    until(subscribed)
    for minute in range(2, 12):
        plant.send("p-1", [minute])
        plant.send("p-2", [minute])
        if minute in (3, 7):
            gateway.kill()
            gateway.wait()
            gateway = process()
    expected = list(range(1, 12))
    until(lambda: numbers(hub, "prognosis", "p-1") == numbers(hub, "prognosis", "p-2") == expected)
    assert numbers(hub, "observation", "p-1") == expected
    assert numbers(hub, "alarm", "p-1") == [2, 4]
    assert hub.count("conflict") == 0
