"""Trying an MQTT source once: what `overhaul-edge check` says about it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.sources.mqtt.reader import Reader
from edge_runtime.sources.mqtt.topic import MqttTopic
from edge_runtime.sources.source import Arrival, Finding, Reading, WaveformArrival

PATIENCE = 20.0  # s for all connections together
LISTEN = 3.0  # s in which messages should come
_FEW = 6  # assets or channels named


class Seen:
    """The inbox of a trial: it keeps what the first few messages were about, and the last value of each channel."""

    def __init__(self) -> None:
        self.messages = 0
        self.assets: dict[str, None] = {}
        self.channels: dict[str, None] = {}
        self.values: dict[tuple[str, str], float] = {}

    def put(self, arrival: Arrival | WaveformArrival) -> bool:
        self.messages += 1
        if self.messages <= 1000:
            self.assets[arrival.asset] = None
            names = [arrival.channel] if isinstance(arrival, WaveformArrival) else list(arrival.values)
            self.channels.update(dict.fromkeys(names[:100]))
            if isinstance(arrival, Arrival):
                numbers = {(arrival.asset, n): v for n, v in arrival.values.items() if isinstance(v, int | float)}
                self.values |= dict(itertools.islice(numbers.items(), 100))
        return True


def check_readers(settings: BrokerSettings, qos: int, readers: Sequence[tuple[MqttTopic, Reader]]) -> list[Finding]:
    """Connect each of `readers`, made for one topic each, and listen for a moment."""
    tried = [(topic, reader, Seen()) for topic, reader in readers]
    try:
        for _, reader, seen in tried:
            reader.start(seen)
        first = readers[0][1].connection
        deadline = time.monotonic() + PATIENCE
        while not (first.subscribed or first.counts["disconnects"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not first.connected:
            return [Finding(f"broker {settings.url}", False, first.detail)]
        findings = [_about_broker(settings, first.server, qos)]
        deadline = time.monotonic() + LISTEN
        while not all(reader.counts["received"] for _, reader, _ in tried) and time.monotonic() < deadline:
            time.sleep(0.01)
        for topic, reader, seen in tried:
            findings += _about_topic(topic, reader, seen, qos)
        return findings
    finally:
        for _, reader, _ in tried:
            reader.connection.stop()


def _about_broker(settings: BrokerSettings, said: dict[str, object], qos: int) -> Finding:
    limits = {
        "receive maximum": said.get("ReceiveMaximum", 65_535),
        "largest packet": said.get("MaximumPacketSize", "no limit told"),
        "retained messages": "yes" if said.get("RetainAvailable", 1) else "no",
    }
    text = "connected; " + ", ".join(f"{name} {value}" for name, value in limits.items())
    if int(str(said.get("MaximumQoS", 2))) < qos:
        return Finding(
            f"broker {settings.url}", False, f"{text}; it has no QoS {qos}: write qos = 0, and lose messages"
        )
    if settings.weakness:
        text += f"; {settings.weakness}"
    return Finding(f"broker {settings.url}", True, text)


def _about_topic(topic: MqttTopic, reader: Reader, seen: Seen, qos: int) -> list[Finding]:
    granted = ", ".join(reader.connection.granted.values())
    what = f"topic {topic.topic}"
    if granted != f"Granted QoS {qos}":
        way_out = "check the broker's access list" if granted else "the broker does not answer"
        return [Finding(what, False, f"{granted or 'nothing granted'}, wanted QoS {qos}: {way_out}")]
    received = reader.counts["received"]
    if not received:
        told = f"{granted}; no message within {LISTEN:g} s: does anything publish there, and is the topic spelt right?"
        return [Finding(what, True, told, warn=True)]
    refused = ""
    if reader.refused:
        refused = f"{received - seen.messages} of {received} messages refused, the last one as {reader.refused[-1]}"
        if reader.refused[-1].startswith("retained:"):  # the broker's memory of the last one, which may be days old
            refused += "; write retained = true if it counts as a new one"
        elif not seen.messages:
            return [Finding(what, False, refused)]
    told = f"{granted}; messages of {_few(seen.assets)} with {_few(seen.channels)}" if seen.messages else granted
    readings = tuple(Reading(*of, value, "unit and template", named=True) for of, value in seen.values.items())
    return [Finding(what, True, f"{told}; {refused}" if refused else told, bool(refused), readings)]


def _few(names: dict[str, None]) -> str:
    shown = [ascii(name)[1:-1] for name in list(names)[:_FEW]]
    return ", ".join(shown) + (f" and {len(names) - _FEW} others" if len(names) > _FEW else "")
