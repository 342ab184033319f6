"""Writing a set-point over MQTT, and waiting for what is read back."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from edge_runtime.contract.names import is_identifier
from edge_runtime.contract.text import dump
from edge_runtime.decode import Between
from edge_runtime.errors import CommandError, CommandUnsureError
from edge_runtime.sources.mqtt.payload import Refusal, load, load_number
from edge_runtime.sources.mqtt.reader import Reader
from edge_runtime.sources.mqtt.template import Template
from edge_runtime.sources.source import Arrival


@dataclass(frozen=True)
class MqttCommand:
    """Where set-points are sent, and where what became of them can be read.

    The message is a bare number, or with format "json" an object with the number under `value_key`. It expires after
    `timeout` seconds: a device that was away does not obey an old command. What is read back comes

    * on `response_topic`, with the correlation data of the command (MQTT 5 request and response), if it is given,
    * else on `read_back`, a template, in the same format,
    * else as the channel's own reading.

    A response counts at once. Of readings, the first that agrees with what was written, or else the last one before
    `timeout`.
    """

    topic: str
    format: Literal["value", "json"] = "value"
    value_key: str = "value"
    read_back: str | None = None
    response_topic: str | None = None
    timeout: Annotated[float, Between(0.1, 120)] = 5.0

    def __post_init__(self) -> None:
        for name, text in (("topic", self.topic), ("read_back", self.read_back)):
            if text is None:
                continue
            template = Template(text)
            if not (template.has("asset") and template.has("channel")):
                raise ValueError(f"{name} {text!r}: expected the levels {{asset}} and {{channel}} in it")
        if "+" in self.topic or "#" in self.topic:
            raise ValueError(f"topic {self.topic!r}: a message goes to one topic, without + and #")
        if self.response_topic is not None and ("{" in Template(self.response_topic).filter.replace("+", "{")):
            raise ValueError(f"response_topic {self.response_topic!r}: expected one topic, without + and {{}}")
        if self.response_topic is not None and self.read_back is not None:
            raise ValueError("response_topic and read_back are both given: keep one")

    @cached_property
    def answers(self) -> tuple[Template, ...]:
        """What has to be subscribed to besides readings."""
        return tuple(Template(text) for text in (self.read_back, self.response_topic) if text is not None)


class ReadBack:
    """Waits for a value in one thread, which others bring: the first that agrees with `wanted`, or else the last."""

    def __init__(self, wanted: float, any_will_do: bool = False) -> None:
        self.wanted, self.any_will_do = wanted, any_will_do
        self.seen: float | None = None
        self._done = threading.Event()

    def take(self, value: Any) -> None:
        if type(value) in (int, float):
            try:
                self.seen = float(value)
            except OverflowError:  # a whole number beyond float64
                return
            if self.any_will_do or math.isclose(self.seen, self.wanted, rel_tol=1e-6, abs_tol=1e-9):
                self._done.set()

    def wait(self, seconds: float) -> float | None:
        """None if nothing came."""
        self._done.wait(seconds)
        return self.seen


class _Waiter:
    """Picks what is read back out of all messages."""

    def __init__(self, command: MqttCommand, asset: str, channel: str, value: float) -> None:
        self.command, self.asset, self.channel = command, asset, channel
        self.correlation = os.urandom(16)
        self.read_back = ReadBack(value, any_will_do=command.response_topic is not None)
        self._topic = (
            command.response_topic.encode()
            if command.response_topic is not None
            else Template(command.read_back).fill(asset=asset, channel=channel).encode()
            if command.read_back is not None
            else None
        )

    def see(self, topic: bytes, properties: bytes, payload: bytes, arrival: Arrival | None) -> None:
        if self._topic is None:
            self.read_back.take(arrival.values.get(self.channel) if arrival and arrival.asset == self.asset else None)
        elif topic == self._topic and (self.command.response_topic is None or self._is_ours(properties)):
            self.read_back.take(_value_in(payload, self.command.value_key))

    def _is_ours(self, properties: bytes) -> bool:
        found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        try:
            found.unpack(VariableByteIntegers.encode(len(properties)) + properties)  # type: ignore[no-untyped-call]
        except Exception:  # paho raises whatever a malformed packet leads to
            return False
        return bool(getattr(found, "CorrelationData", b"") == self.correlation)


def write_setpoint(reader: Reader, command: MqttCommand, asset: str, channel: str, value: float) -> float:
    """Send it, wait, return what is read back; `CommandError` if nothing is."""
    if not (is_identifier(asset) and is_identifier(channel)):
        raise CommandError(f"asset {asset!r}, channel {channel!r}: identifiers have letters, digits, '_' and '-'")
    waiter = _Waiter(command, asset, channel, value)
    topic = Template(command.topic).fill(asset=asset, channel=channel)
    payload = repr(float(value)).encode() if command.format == "value" else dump({command.value_key: float(value)})
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = math.ceil(command.timeout)
    if command.response_topic is not None:
        properties.ResponseTopic, properties.CorrelationData = command.response_topic, waiter.correlation
    reader.listeners.append(waiter.see)
    try:
        if not reader.connection.publish(topic, payload, qos=1, properties=properties):
            raise CommandError(f"{asset} {channel} is not written: {reader.connection.detail}")
        seen = waiter.read_back.wait(command.timeout)
    finally:
        reader.listeners.remove(waiter.see)
    if seen is None:
        where = command.response_topic or command.read_back or "its readings"
        raise CommandUnsureError(f"{asset} {channel} = {value:g} was sent to {topic}; nothing came back on {where}")
    return seen


def _value_in(payload: bytes, key: str) -> Any:
    """A bare number, or the member `key` of an object; None if there is neither."""
    try:
        return load_number(payload)
    except Refusal:
        pass
    try:
        found = load(payload)
    except Refusal:
        return None
    return found.get(key) if type(found) is dict else None
