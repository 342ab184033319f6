"""Bodies of blocks: tables with one row per observation, prognosis, summary or state of a machine.

Gateway and centre share these dataclasses: `tables.pack` on one side, `tables.unpack` on the other; what was float32
comes back bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from edge_runtime.arrays import F32, I32, I64

FLAGS = 8  # bits of a quality


@dataclass(frozen=True, eq=False)
class Keys:
    """Whose rows these are: `asset` int32[B] are places in `assets`; with term and number the business key.

    `number`: of the observation in its term, int64[B], as `Fleet.number` after it. `t` int64[B]: its source time.
    """

    assets: tuple[str, ...]
    asset: I32
    term: I64
    number: I64
    t: I64

    @classmethod
    def of(cls, fleet: Sequence[str], rows: I64, term: I64, number: I64, t: I64) -> Keys:
        """Of the machines in `rows` of a fleet (int64[B], repeats allowed): only those that are in it get named."""
        distinct, asset = np.unique(rows, return_inverse=True)
        names = tuple(fleet[row] for row in distinct.tolist())
        return cls(names, asset.astype(np.int32), *(np.asarray(values, np.int64) for values in (term, number, t)))

    def __len__(self) -> int:
        return len(self.asset)

    def name(self, row: int) -> str:
        return self.assets[int(self.asset[row])]


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Which rows have a snapshot of a waveform channel, `row` int32[K], and the graph's `features` of it, f32[K,F].

    The snapshot itself, if it is kept, has the id `waveform.waveform_id(asset, channel, term, number)`.
    """

    row: I32
    features: F32


@dataclass(frozen=True, eq=False)
class Observations:
    """As fed to the graph: `readings` f32[B,C] by `channels`, `event` and `age` f32[B]; `t_rx` int64[B] UTC nanos."""

    asset_class: str
    keys: Keys
    channels: tuple[str, ...]
    t_rx: I64
    readings: F32
    event: F32
    age: F32
    waveforms: Mapping[str, Snapshots] = field(default_factory=dict)

    kind: ClassVar[str] = "observation"


@dataclass(frozen=True, eq=False)
class Prognoses:
    """The graph's outputs by name, f32[B] or f32[B,k], as they are. `quality` (flags) travels in a byte each."""

    asset_class: str
    keys: Keys
    outputs: Mapping[str, F32]

    kind: ClassVar[str] = "prognosis"


@dataclass(frozen=True, eq=False)
class Summaries:
    """One row per machine and interval: [`start`, `end`) int64[B] nanos; keys are of its last observation.

    `count` int64[B] observations, `received` int64[B,C] readings among them; `minimum`, `mean`, `maximum` f32[B,C], NaN
    if none was received; `alarm` int64[B] the worst level; `flags` int64[B,FLAGS] readings with each quality flag
    (1, 2, 4, …); `outputs` the last prognosis.
    """

    asset_class: str
    keys: Keys
    channels: tuple[str, ...]
    start: I64
    end: I64
    count: I64
    received: I64
    minimum: F32
    mean: F32
    maximum: F32
    alarm: I64
    flags: I64
    outputs: Mapping[str, F32] = field(default_factory=dict)

    kind: ClassVar[str] = "summary"


@dataclass(frozen=True, eq=False)
class States:
    """Snapshots of twins: `state` f32[B,S] after observation `number`; the envelope's model_id says of which bundle."""

    asset_class: str
    keys: Keys
    state: F32

    kind: ClassVar[str] = "state"


Rows = Observations | Prognoses | Summaries | States
