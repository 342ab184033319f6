"""A gateway under load that is killed again and again: the processes, and what the centre must have in the end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import numpy as np
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.bundle import Bundle
from edge_runtime.contract.event import Event
from tests.edge_runtime.broker import until
from tests.edge_runtime.hub import ROOT
from tests.edge_runtime.tiny import tiny_bundle

MACHINES = 20
TERM = 0  # of machines whose table names none
LIFE = 9  # observations: with each new life the alarm is cleared, and raised again
START = 1_767_225_600_000_000_000  # 2026-01-01
STEP = 1_000_000_000  # between a machine's observations, at the source
CONFIG = """
[gateway]
id = "gw-7"
site = "north"
data = "data"
machines = "machines.csv"

[bundles]
tiny = "bundle"

[journal]
checkpoint_every = 1

[link]
url = "{centre}"
block_every = 0.05
ack_timeout = 1

[http]
enabled = false

[[source]]
type = "mqtt"
name = "plant"
url = "{plant}"
topics = [{{ topic = "plant/{{asset}}/readings" }}]
"""


class Gateway:
    """The command `overhaul-edge run` as a process, on a disk that stays."""

    def __init__(self, folder, *, plant, centre):
        tiny_bundle(
            folder / "bundle", time={"unit": "s", "interval": 60, "tick": 600, "max_gap": 86400, "assemble": False}
        )
        self.assets = [f"m-{i}" for i in range(MACHINES)]
        (folder / "machines.csv").write_text("".join(["asset,class\n", *(f"{asset},tiny\n" for asset in self.assets)]))
        self.folder, self.path = folder, folder / "gateway.toml"
        self.path.write_text(CONFIG.format(plant=plant.url, centre=centre.url))
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "edge_runtime.cli", "run", str(self.path)]
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        return self

    def kill(self):
        """SIGKILL."""
        if self.process is not None:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            self.process.kill()
            self.process.wait()
            self.process = None

    def end(self):
        """SIGTERM, and wait for it to leave a checkpoint."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, (self.folder / "log").read_text()[-2000:]
        self.process = None


class Plant:
    """Publishes readings of all machines in turn, at `rate` messages a second, until `stop`; QoS 1.

    `sent` maps each machine to its (time, readings, event), in order.
    """

    def __init__(self, broker, assets, rate):
        self.sent = {asset: [] for asset in assets}
        self._rate, self._halt = rate, threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "plant", protocol=MQTTv5)
        self._client.max_inflight_messages_set(100)
        self._client.on_publish = lambda *_: self._waiting.pop()
        self._waiting = []  # one item for each reading that the broker has not taken yet
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._publish, daemon=True)  # a test that fails must end
        self._thread.start()

    def stop(self):
        """Returns when the broker has all of it."""
        self._halt.set()
        self._thread.join()
        until(lambda: not self._waiting, what="the broker taking the last reading")
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def total(self):
        return sum(map(len, self.sent.values()))

    def _publish(self):
        random, began, count = np.random.default_rng(0), time.monotonic(), 0
        while not self._halt.is_set():
            for asset, sent in self.sent.items():
                readings = np.round(random.normal(100, 10, 2), 3).tolist()
                new = len(sent) % LIFE == 0
                sent.append((START + len(sent) * STEP, readings, float(Event.NEW_LIFE if new else Event.NONE)))
                values = {"time": sent[-1][0], "flow": readings[0], "speed": readings[1]} | (
                    {"event": 1} if new else {}
                )
                self._waiting.append(None)
                self._client.publish(f"plant/{asset}/readings", json.dumps(values), 1)
                count += 1
            time.sleep(max(0.0, began + count / self._rate - time.monotonic()))


def uninterrupted(folder, history):
    """What a gateway that never stops says of `history` (asset → [(time, readings, event)]), one machine at a time.

    As the stand-in hub keeps it: prognoses and states, (asset, term, number) → bytes; keys of alarms.
    """
    bundle = Bundle.load(folder / "bundle")
    prognoses, alarms, states = {}, set(), {}
    for asset, observations in history.items():
        fleet, level = bundle.fleet([asset]), 0.0
        for number, (at, readings, event) in enumerate(observations, start=1):
            key = asset, TERM, number
            outputs, _ = fleet.advance(
                slice(0, 1), np.array([at]), np.array([readings], np.float32), np.array([event], np.float32)
            )
            names = sorted(name for name in outputs if not name.endswith(".features"))
            prognoses[key] = b"".join(outputs[name][0].tobytes() for name in names)
            if outputs["alarm"][0] != level:
                alarms.add(key)
                level = outputs["alarm"][0]
        states[key] = fleet.state[0].tobytes()
    return prognoses, alarms, states


def by_machine(batches, assets):
    """Journalled batches as a history for `uninterrupted`."""
    history = defaultdict(list)
    for batch in batches:
        for row, at, readings, event in zip(batch.rows, batch.time, batch.readings, batch.event, strict=True):
            history[assets[row]].append((int(at), readings.tolist(), float(event)))
    return dict(history)
