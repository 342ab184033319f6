"""The section [link] of gateway.toml: how the centre is reached, and how much goes there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_runtime.contract.waveform import HEADROOM
from edge_runtime.decode import Between, Example
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.upstream.blocks import BlockSettings
from edge_runtime.upstream.pump import SECOND, Bounds
from edge_runtime.upstream.raw import RawSettings
from edge_runtime.upstream.summary import SummarySettings


@dataclass(frozen=True, kw_only=True)
class LinkSettings(BrokerSettings):
    """Durations in seconds, sizes in bytes.

    `delivery` "hub": a message is kept until the centre says that it has committed it. "broker": only until the broker
    has it; what a broker holds in memory is lost when it is killed. Packets are never above `maximum_packet`, or less
    if the broker says so; 128 KiB is what the large clouds take.

    Rows wait for others for `block_every`; while the centre is away, blocks are larger and fewer. `window` messages and
    `window_bytes` of each lane may be without an answer of the centre, `bulk` bytes of backfill and raw data without
    one of the broker. What is not acknowledged is sent again after `ack_timeout`. Data is live while the oldest of it
    waits for less than `live_within`.

    `raw`: waveforms that go up as they are; see `raw.RawSettings` for what begins with raw_.
    """

    name: str = "centre"
    url: Annotated[str, Example('"mqtts://centre.example:8883"')]
    session_expiry: Annotated[int, Between(0, 2**32 - 1)] = 0
    receive_maximum: Annotated[int, Between(1, 65_535)] = 100
    delivery: Literal["hub", "broker"] = "hub"
    maximum_packet: Annotated[int, Between(4096, 256 << 20)] = 128 << 10
    block_every: Annotated[float, Between(0.05, 3600)] = 2.0
    block_bytes: Annotated[int, Between(1024, 16 << 20)] = 256 << 10
    backfill_every: Annotated[float, Between(0.05, 3600)] = 60.0
    backfill_bytes: Annotated[int, Between(1024, 16 << 20)] = 512 << 10
    summary_every: Annotated[float, Between(1, 604_800)] = 3600.0
    state_every: Annotated[float, Between(1, 604_800)] = 3600.0
    heartbeat_every: Annotated[float, Between(1, 3600)] = 30.0
    raw: Literal["anomalies", "all", "none"] = "anomalies"
    raw_alarm: Annotated[int, Between(1, 3)] = 1
    raw_score: Annotated[float, Between(0, 1)] = 0.999
    raw_before: Annotated[int, Between(0, 1000)] = 2
    raw_after: Annotated[int, Between(0, 1_000_000)] = 2
    raw_per_day: Annotated[int, Between(0, 1_000_000)] = 144
    window: Annotated[int, Between(1, 10_000)] = 256
    window_bytes: Annotated[int, Between(1024, 256 << 20)] = 1 << 20
    bulk: Annotated[int, Between(1024, 256 << 20)] = 128 << 10
    ack_timeout: Annotated[float, Between(0.1, 3600)] = 30.0
    live_within: Annotated[float, Between(0.1, 3600)] = 10.0

    @property
    def blocks(self) -> BlockSettings:
        return BlockSettings(self.block_every, self.block_bytes, self.backfill_every, self.backfill_bytes)

    @property
    def summaries(self) -> SummarySettings:
        return SummarySettings(self.summary_every)

    @property
    def waveforms(self) -> RawSettings:
        return RawSettings(self.raw, self.raw_alarm, self.raw_score, self.raw_before, self.raw_after, self.raw_per_day)

    @property
    def bounds(self) -> Bounds:
        patience = int(self.ack_timeout * SECOND)
        return Bounds(self.window, self.window_bytes, self.bulk, patience, min(patience, Bounds.overtaken))

    @property
    def largest_body(self) -> int:
        """Bytes of a message's body, so that its packet is not above `maximum_packet`."""
        return self.maximum_packet - HEADROOM
