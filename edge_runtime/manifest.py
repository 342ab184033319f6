"""The manifest of a bundle, `manifest.json`: what the graph means, and what is known about it.

`contract` is all that a user of the graph must know; it is part of `model_id`. `models`, `quality` and `provenance` say
where the graph comes from and how good it was measured to be. `checksum` covers the whole manifest.

FORMAT rises when an old reader would misunderstand a new manifest. New fields that old readers may ignore do not raise
it. A reader reads all formats up to its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.assembly import AGGREGATES, NANOS
from edge_runtime.decode import decode
from edge_runtime.errors import FormatError

FORMAT = 1
MOST = 2e9  # time units: 63 years of seconds; sums of a few stay within int64 nanos
PROTOCOL = "1.0"


@dataclass(frozen=True)
class Time:
    """Durations in `unit` (s or cycle)."""

    unit: str
    interval: float
    tick: float
    max_gap: float
    assemble: bool = True  # False: each row of the source is one observation, as it stands


@dataclass(frozen=True)
class Life:
    unit: str
    time_units: float  # in one unit of life
    age: str  # required, optional or none


@dataclass(frozen=True)
class Labels:
    """In the unit of life."""

    cap: float
    horizon: float


@dataclass(frozen=True)
class Channel:
    """One column of `readings`, and how samples become a reading (see `edge_runtime.assembly`)."""

    name: str
    quantity: str
    unit: str
    range: tuple[float, float]
    role: str = "sensor"
    aggregate: str = "last"
    interval: float | None = None
    max_age: float | None = None
    late: float = 0.0


@dataclass(frozen=True)
class Derived:
    name: str
    quantity: str
    unit: str
    formula: str
    range: tuple[float, float]


@dataclass(frozen=True)
class Waveform:
    name: str
    unit: str
    axes: tuple[str, ...]
    samples: int
    rate: float


@dataclass(frozen=True)
class Setting:
    name: str
    unit: str
    range: tuple[float, float]
    default: float


@dataclass(frozen=True)
class Slice:
    """Columns start … start + size − 1 of the state."""

    name: str
    scope: str  # life, sensor or asset: which event zeroes it
    start: int
    size: int
    fingerprint: str


@dataclass(frozen=True)
class State:
    size: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Alarm:
    name: str
    level: int
    signal: str
    above: float | None = None
    below: float | None = None
    dead_band: float = 0.0
    on_delay: float = 0.0
    off_delay: float = 0.0


@dataclass(frozen=True)
class Contract:
    protocol: str
    fleet: str
    asset_class: str
    title: str
    simulated: bool
    time: Time
    life: Life
    labels: Labels
    channels: tuple[Channel, ...]
    derived: tuple[Derived, ...]
    waveforms: tuple[Waveform, ...]
    settings: tuple[Setting, ...]
    state: State
    outputs: tuple[str, ...]
    rul_models: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    health: str  # how health is made
    tolerance: Mapping[str, Mapping[str, float]]  # provider → output → largest error in the self-test


@dataclass(frozen=True)
class Provenance:
    """Outside `model_id`: the same graph may be made twice."""

    run_id: str | None = None
    commit: str | None = None
    data_hash: str | None = None
    created: str | None = None


@dataclass(frozen=True)
class Manifest:
    format: int
    model_id: str
    contract: Contract
    files: Mapping[str, str]  # name → sha256
    models: Mapping[str, Mapping[str, Any]]  # family → what is known of it, "weight" in the blend among it
    quality: Mapping[str, Any]
    provenance: Provenance


def canonical_json(value: Any) -> bytes:
    """One spelling of a JSON value: sorted keys, no spaces, UTF-8.

    >>> canonical_json({"b": 1.5, "a": [True, None, "é"]}).decode()
    '{"a":[true,null,"é"],"b":1.5}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode(errors="surrogatepass")


def model_id(twin: bytes, contract: Mapping[str, Any]) -> str:
    """Hex sha256 over the graph with its constants and the contract: what the model *does*, whoever made it when."""
    return hashlib.sha256(twin + canonical_json(contract)).hexdigest()


def checksum(manifest: Mapping[str, Any]) -> str:
    """Hex sha256 over all of a manifest but its checksum: finds damage, not forgery (signatures do that)."""
    return hashlib.sha256(canonical_json({k: v for k, v in manifest.items() if k != "checksum"})).hexdigest()


def parse(text: bytes) -> tuple[Manifest, dict[str, Any]]:
    """A manifest and the raw object it came from; `FormatError` when it cannot be used."""
    try:
        raw = json.loads(text, parse_constant=_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"manifest.json is not JSON ({error}): copy the bundle again") from error
    if not isinstance(raw, dict) or type(raw.get("format")) is not int:
        raise FormatError("manifest.json names no format: this is not the manifest of a bundle")
    if raw["format"] > FORMAT:
        raise FormatError(
            f"manifest.json has format {raw['format']}, this version of overhaul reads up to {FORMAT}: "
            f"update overhaul here, or export the bundle with the version that runs here"
        )
    if raw["format"] < 1:
        raise FormatError(f"manifest.json has format {raw['format']}: formats count from 1")
    try:
        manifest = decode(Manifest, raw, "manifest")
    except ValueError as error:
        raise FormatError(f"manifest.json cannot be used: {error}") from error
    if manifest.contract.protocol.split(".")[0] != PROTOCOL.split(".")[0]:
        raise FormatError(
            f"manifest.json speaks protocol {manifest.contract.protocol}, this version of overhaul {PROTOCOL}: "
            "the numbers before the dot must agree; update the older side"
        )
    problem = next(_problems(manifest.contract), None)
    if problem is not None:
        raise FormatError(f"manifest.json cannot be used: manifest.contract.{problem}")
    return manifest, raw


def _problems(contract: Contract) -> Iterator[str]:
    """What would stop a gateway only when the first reading comes."""
    durations = {f"time.{name}": getattr(contract.time, name) for name in ("interval", "tick", "max_gap")}
    for name, value in (durations | {"life.time_units": contract.life.time_units}).items():
        if not 1 / NANOS <= value < MOST:
            yield f"{name} is {value:g}: expected a duration above 0 that counts in nanos"
    for channel in contract.channels:
        if channel.aggregate not in AGGREGATES:
            yield f"channels: aggregate '{channel.aggregate}' of '{channel.name}' is none of {', '.join(AGGREGATES)}"
        if not (0 <= channel.late < MOST and (channel.max_age is None or 0 <= channel.max_age < MOST)):
            yield f"channels: late or max_age of '{channel.name}' is no duration that counts in nanos"
    end = 0
    for part in contract.state.slices:
        if part.start != end or part.size < 0:
            yield f"state: slice '{part.name}' starts at {part.start}, expected was {end}, where the one before it ends"
        end += part.size
    if end != contract.state.size:
        yield f"state: slices end at {end}, the state has {contract.state.size} numbers"


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
