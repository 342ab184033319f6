"""CPU time of receiving one MQTT message: a bare paho subscriber that only counts, and the gateway's source.

python -m benchmarks.mqtt_source [--rate N] [--seconds S] [--runs N] [--json FILE]

Each subscriber is a process of its own on one core; the broker (iotcore) and a paced publisher, QoS 1, share another.
The source decodes JSON of some 200 bytes, and a second thread acknowledges what has come, every 4 ms, as the journal
does after a commit; both threads are counted. paho acknowledges by itself and decodes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import measure
from edge_runtime.clock import SystemClock
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.simulate.publisher import Message, Publisher, encode
from edge_runtime.sources.mqtt.source import MqttSettings, MqttSource
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.source import Arrival
from edge_runtime.tls import Tls

UNDER_TEST, OTHERS = {0}, {1}
KINDS = ("paho", "source")
WARM = 0.2  # share of the messages that is not counted


def message(number: int) -> Message:
    channels = {f"sensor_{i:02d}": 100.25 + i for i in range(8)}
    body = json.dumps({"time": 1_767_434_400_000_000_000 + number, **channels}).encode()
    return encode(f"plant/machine-{number % 100}/readings", body)


def settings(port: int, folder: str | None) -> dict[str, Any]:
    """Of a connection; `folder` with certificates: TLS."""
    if folder is None:
        return {"url": f"mqtt://127.0.0.1:{port}"}
    path = Path(folder)
    return {"url": f"mqtts://localhost:{port}", "tls": Tls(path / "ca.pem", path / "gw.pem", path / "gw.key")}


def publish(port: int, folder: str | None, rate: float, seconds: float) -> None:
    """A process: send when told, at `rate`."""
    publisher = Publisher(BrokerSettings(name="load", **settings(port, folder)), "load")
    messages = [message(i) for i in range(int(rate * seconds))]
    publisher.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began, sent = time.monotonic(), 0
    while sent < len(messages):
        due = min(len(messages), int((time.monotonic() - began) * rate))
        publisher.send(messages[sent:due])
        sent = due
        time.sleep(0.001)
    publisher.finish()
    publisher.stop()


@contextmanager
def paho(port: int, folder: str | None) -> Iterator[Callable[[], int]]:
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    count, subscribed = 0, threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    if folder is not None:
        client.tls_set_context(settings(port, folder)["tls"].context())

    def on_message(*_: object) -> None:
        nonlocal count
        count += 1

    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe("plant/+/readings", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("localhost" if folder else "127.0.0.1", port)
    client.loop_start()
    subscribed.wait(10)
    yield lambda: count
    client.disconnect()
    client.loop_stop()


class Box:
    def __init__(self) -> None:
        self.waiting: deque[Arrival] = deque()
        self.count = 0

    def put(self, arrival: Any) -> bool:
        self.waiting.append(arrival)
        return True


@contextmanager
def source(port: int, folder: str | None) -> Iterator[Callable[[], int]]:
    topics = (MqttTopic("plant/{asset}/readings"),)
    subject, box = (
        MqttSource(MqttSettings(name="s", topics=topics, **settings(port, folder)), "gw", SystemClock()),
        Box(),
    )
    over = threading.Event()

    def journal() -> None:
        while not over.wait(0.004):
            receipts = [box.waiting.popleft().receipt for _ in range(len(box.waiting))]
            if receipts:
                subject.acknowledge(receipts)
                box.count += len(receipts)

    subject.start(box)
    thread = threading.Thread(target=journal)
    thread.start()
    while not subject.subscribed:
        time.sleep(0.01)
    yield lambda: box.count
    over.set()
    thread.join()
    subject.stop()


def subscribe(kind: str, port: int, folder: str | None, total: int) -> None:
    """A process: count `total` messages, print CPU µs a message of all but the first."""
    with (paho if kind == "paho" else source)(port, folder) as count:
        print("ready", flush=True)
        while count() < total * WARM:
            time.sleep(0.01)
        before, cpu, last, moved = count(), time.process_time(), 0, time.monotonic()
        while count() < total and time.monotonic() - moved < 5:
            time.sleep(0.02)
            if count() != last:
                last, moved = count(), time.monotonic()
        cost = (time.process_time() - cpu) / max(1, count() - before)
        print(json.dumps({"cost": cost * 1e6, "lost": total - count()}), flush=True)


def one_run(kind: str, port: int, folder: str | None, rate: float, seconds: float) -> dict[str, Any]:
    with (
        _child(UNDER_TEST, "subscribe", kind, port, folder, rate, seconds) as subscriber,
        _child(OTHERS, "publish", kind, port, folder, rate, seconds) as publisher,
    ):
        for child in (subscriber, publisher):
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        assert publisher.stdin is not None
        assert subscriber.stdout is not None
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        found: dict[str, Any] = json.loads(subscriber.stdout.readline())
        return found


@contextmanager
def _child(cores: set[int], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.mqtt_source", "--child", json.dumps(arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, cores if cores <= os.sched_getaffinity(0) else os.sched_getaffinity(0))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(rate: float, seconds: float, runs: int, with_tls: bool = True) -> list[dict[str, Any]]:
    """A row for plain MQTT and one for TLS, each with medians."""
    from tests.edge_runtime.broker import running  # here, because the children need neither this nor pytest
    from tests.edge_runtime.certificates import Authority

    rows = []
    with tempfile.TemporaryDirectory() as place:
        authority = Authority(Path(place) / "ca")
        authority.issue("gw")
        connections = [(None, None), (str(authority.folder), (authority.ca, *authority.issue("localhost")))]
        for folder, tls in connections if with_tls else connections[:1]:
            with running("iotcore", Path(place) / f"broker{len(rows)}", tls=tls) as broker:
                if broker.process is not None:
                    os.sched_setaffinity(broker.process.pid, OTHERS & os.sched_getaffinity(0) or UNDER_TEST)
                found = {
                    kind: [one_run(kind, broker.port, folder, rate, seconds) for _ in range(runs)] for kind in KINDS
                }
            row: dict[str, Any] = {"connection": "TLS" if folder else "plain"}
            for kind in KINDS:
                costs = [each["cost"] for each in found[kind]]
                row[kind] = statistics.median(costs)
                row[f"{kind}_spread"] = [min(costs), max(costs)]
                row[f"{kind}_lost"] = sum(each["lost"] for each in found[kind])
            rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5000, help="messages a second (default 5000)")
    parser.add_argument("--seconds", type=float, default=5, help="of each run (default 5)")
    parser.add_argument("--runs", type=int, default=3, help="of each subscriber (default 3)")
    parser.add_argument("--plain", action="store_true", help="without TLS")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        what, kind, port, folder, rate, seconds = json.loads(options.child)
        if what == "publish":
            publish(port, folder, rate, seconds)
        else:
            subscribe(kind, port, folder, int(rate * seconds))
        return
    rows = run(options.rate, options.seconds, options.runs, not options.plain)
    head = ["connection", "paho, counts", "source", "ratio", "lost"]
    cells = [
        [
            row["connection"],
            *(
                f"{row[kind]:.1f} µs ({row[f'{kind}_spread'][0]:.1f} … {row[f'{kind}_spread'][1]:.1f})"
                for kind in KINDS
            ),
            f"{row['paho'] / row['source']:.1f}",
            f"{row['paho_lost'] + row['source_lost']}",
        ]
        for row in rows
    ]
    print(f"CPU time of one message, {options.rate:,.0f} a second, median of {options.runs} runs (least … most)\n")
    print(measure.table(head, cells))
    if options.json:
        options.json.write_text(json.dumps({"about": measure.about("paho.mqtt"), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
