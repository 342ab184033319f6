"""What the gateway tells about itself: one frozen value, filled by its parts, read by /status, /metrics and people.

Times are UTC nanos, durations seconds. Counters count from the start of the process. `edge_runtime.gateway.page`
makes the text of `overhaul-edge status` from it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.decode import decode
from edge_runtime.errors import DataError
from edge_runtime.sources.source import SourceStatus

SECOND = 1_000_000_000


@dataclass(frozen=True)
class BundleStatus:
    """One class of machines. `warming_up`, `unfamiliar`, `silent`: how many machines are; `alarms`: level → machines.

    `observations` counts those advanced; `refused` what the intake refused, by reason. `passed_over`: why faster
    providers were not used. `settings`: machine → version of its settings, where the centre has sent them. `problem`:
    why a restart could not use what lies in the bundle's folder now. `out_of_range`: a sentence for each channel whose
    readings are impossible.
    """

    asset_class: str
    model_id: str
    provider: str
    machines: int
    observations: int = 0
    warming_up: int = 0
    unfamiliar: int = 0
    silent: int = 0
    alarms: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    settings: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None
    out_of_range: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineStatus:
    """`moved`: seconds since its loop last went round. `busy`: seconds spent in graphs. `inbox`: arrivals waiting."""

    moved: float
    batches: int = 0
    busy: float = 0.0
    inbox: int = 0
    overflow: int = 0


@dataclass(frozen=True)
class JournalStatus:
    """`problem`: why nothing can be written now (disk full), else None. `bytes_written` is what the flash takes."""

    problem: str | None = None
    commits: int = 0
    bytes_written: int = 0
    bytes_per_day: float = 0.0
    database_bytes: int = 0
    position: int = 0
    checkpoint: int | None = None  # when the last one was written
    commit_seconds: float = 0.0  # all commits together


@dataclass(frozen=True)
class LaneStatus:
    """What waits in one lane of the spool, and how many messages it has dropped because it was full."""

    lane: str
    messages: int
    bytes: int
    oldest: int | None = None
    dropped: int = 0


@dataclass(frozen=True)
class StreamStatus:
    """Messages and bytes of one kind that went up, and the bytes that plain JSON or raw data would have been."""

    kind: str
    messages: int
    bytes: int
    plain_bytes: int = 0


@dataclass(frozen=True)
class LinkStatus:
    url: str
    connected: bool
    healthy: bool
    detail: str = ""
    delivery: str = "hub"
    last_ack: int | None = None
    sent: int = 0
    resent: int = 0
    connects: int = 0
    streams: tuple[StreamStatus, ...] = ()
    insecure: str | None = None


@dataclass(frozen=True)
class GatewayStatus:
    """`dropped`: everything that was given up, by reason. `commands`, `assignments`: by what became of them."""

    gateway: str
    site: str
    version: str
    started: int
    time: int
    clock_synced: bool
    engine: EngineStatus
    journal: JournalStatus
    bundles: tuple[BundleStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    spool: tuple[LaneStatus, ...] = ()
    link: LinkStatus | None = None
    commands: Mapping[str, int] = field(default_factory=dict)
    assignments: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()

    def json(self) -> str:
        return json.dumps(self, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """For json: dataclasses (asdict breaks a Counter before Python 3.12) and NumPy's numbers."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.item()


def read_status(text: bytes | str) -> GatewayStatus:
    """The status that a gateway sent; `DataError` if it is none. What this version does not know is left out."""
    try:
        return decode(GatewayStatus, json.loads(text), "status")
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not the status of a gateway: {error}") from error
