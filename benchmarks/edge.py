"""The processes that are measured: a gateway, and a bare paho subscriber that only counts.

python -m benchmarks.edge gateway CONFIG PROGRESS
python -m benchmarks.edge subscriber PORT PROGRESS

Progress: messages done with (acknowledged after their commit; counted), messages received, observations advanced.
They say "ready" once they are subscribed, and end when their standard input does.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from benchmarks.load import Progress

EVERY = 0.005  # seconds between two looks at the counts


def gateway(config: Path, progress: Progress) -> None:
    from edge_runtime.gateway.config import read_config
    from edge_runtime.gateway.gateway import Gateway
    from edge_runtime.sources.mqtt.source import MqttSource

    began = time.monotonic()
    running = Gateway(read_config(config))
    running.start()
    progress[3] = int((time.monotonic() - began) * 1e6)
    (source,) = running.sources
    assert isinstance(source, MqttSource)
    while not source.subscribed:
        time.sleep(0.01)
    over = until_told()
    twins = running.engine.twins.values()
    while not over.is_set() and not running.wait(EVERY):
        received = sum(reader.counts["received"] for reader in source._readers)
        progress[0] = received - source.waiting
        progress[1] = received
        progress[2] = sum(kind.counts["observations"] for kind in twins)
    running.stop()
    if running.failure is not None:
        raise running.failure


def subscriber(port: int, progress: Progress) -> None:
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    count = 0
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)

    def on_message(*_: object) -> None:
        nonlocal count
        count += 1

    client.on_connect = lambda c, *_: c.subscribe("plant/+/readings", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    subscribed.wait(10)
    over = until_told()
    while not over.wait(EVERY):
        progress[0] = progress[1] = count
    client.disconnect()
    client.loop_stop()


def until_told() -> threading.Event:
    """Say "ready"; set when standard input ends."""
    over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    print("ready", flush=True)
    return over


def main() -> None:
    what, where, path = sys.argv[1:]
    if what == "gateway":
        gateway(Path(where), Progress(path))
    else:
        subscriber(int(where), Progress(path))


if __name__ == "__main__":
    main()
