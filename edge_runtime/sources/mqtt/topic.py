"""What stands on which MQTT topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between
from edge_runtime.sources.mqtt.payload import Decode, Rename, Times, TimeUnit, json_decoder, number_decoder
from edge_runtime.sources.mqtt.template import Template

_MOST_BYTES = {"json": 65_536, "value": 65_536, "waveform": 16 << 20}


@dataclass(frozen=True)
class MqttTopic:
    """Topics of one shape.

    `topic` has a level {asset}, unless all of it is about one `asset`. Format "json": one object of readings, or with a
    level {channel} (or a `channel`) an object with the reading under `value_key`; "value": a bare number. The time
    stands under `time_key`, as ISO 8601 text or a number in `time_unit`; readings may stand in an object of their own
    under `values_key`. `rename`: key → channel, scale, offset. `max_bytes` of a payload: 64 KiB, for waveforms 16 MiB.
    Format "waveform": see `waveform`; asset and channel may be named by user properties. `retained`: take what the
    broker kept, which may be old, too.
    """

    topic: str
    format: Literal["json", "value", "waveform"] = "json"
    asset: str | None = None
    channel: str | None = None
    time_key: str = "time"
    time_unit: TimeUnit = "ns"
    values_key: str | None = None
    value_key: str = "value"
    rename: Mapping[str, Rename] = field(default_factory=dict)
    retained: bool = False
    max_bytes: Annotated[int, Between(1, 32 << 20)] | None = None

    def __post_init__(self) -> None:
        template = self.template
        for name, given in (("asset", self.asset), ("channel", self.channel)):
            if template.has(name) and given is not None:
                raise ValueError(f"topic {self.topic!r} has {{{name}}}, and {name} = {given!r} is given: keep one")
        if not template.has("asset") and self.asset is None and self.format != "waveform":
            raise ValueError(f"topic {self.topic!r} names no machine: put in a level {{asset}}, or write asset = …")
        if self.asset is not None and not is_identifier(self.asset):
            raise ValueError(f"asset = {self.asset!r}: expected 1 to 64 letters, digits, '_' or '-'")
        if self.format == "value" and not template.has("channel") and self.channel is None:
            raise ValueError(f"topic {self.topic!r} carries a bare number: put in a level {{channel}}, or channel = …")

    @cached_property
    def template(self) -> Template:
        return Template(self.topic)

    @property
    def most_bytes(self) -> int:
        return self.max_bytes or _MOST_BYTES[self.format]

    def decoder(self, channel: str | None) -> Decode:
        """For topics of this shape; those of one channel each read it from the topic."""
        if self.format == "value":
            return number_decoder(channel or "", self.rename)
        times = Times(self.time_unit)
        return json_decoder(self.time_key, times, self.values_key, self.value_key, channel, self.rename)
