"""How much a class of machines fills the spool with while the centre is away: made of real blocks of made-up readings.

Readings are noise over each channel's range, which packs worse than machines do: an upper estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.batch import Batch
from edge_runtime.bundle import Bundle
from edge_runtime.contract.message import Lane
from edge_runtime.upstream.blocks import BlockBuilder
from edge_runtime.upstream.settings import LinkSettings

DAY = 86_400
_ROW = 200  # bytes of SQLite and of the envelope, a message
_SAMPLE = 4  # bytes


@dataclass(frozen=True)
class Estimate:
    """Bytes a day of all machines of a class. `observations` None: the class counts cycles, nobody knows how many."""

    observations: float | None
    waveforms: float
    states: float

    @property
    def total(self) -> float:
        return (self.observations or 0.0) + self.waveforms + self.states


def estimate(bundle: Bundle, machines: int, link: LinkSettings) -> Estimate:
    contract = bundle.contract
    if machines == 0:
        return Estimate(0.0, 0.0, 0.0)
    by_clock = contract.time.unit == "s"
    rows = machines * DAY / contract.time.interval if by_clock else 0.0
    in_a_block = min(512, max(1, round(rows / DAY * link.backfill_every)))
    observations = rows * _bytes_a_row(bundle, in_a_block, link) if by_clock else None
    return Estimate(observations, _waveforms(bundle, machines, rows, link), _states(bundle, machines, link))


def _bytes_a_row(bundle: Bundle, rows: int, link: LinkSettings) -> float:
    contract = bundle.contract
    random = np.random.default_rng(0)
    low, high = np.array([channel.range for channel in contract.channels], np.float64).reshape(-1, 2).T
    readings: F32 = random.uniform(low, high, (rows, len(low))).astype(np.float32)
    assets = [f"machine-{row}" for row in range(rows)]
    index, time = np.arange(rows, dtype=np.int64), np.full(rows, 1_700_000_000_000_000_000, np.int64)
    nothing: F32 = np.full(rows, np.nan, np.float32)
    batch = Batch(index, time, readings, np.zeros(rows, np.float32), nothing, {}, time + index)
    outputs, _ = bundle.fleet(assets).advance(index, time, readings)
    names = [channel.name for channel in contract.channels]
    builder = BlockBuilder(contract.asset_class, bundle.model_id, names, assets, link.blocks)
    builder.add(0, batch, index * 0, index + 1, outputs, 0)
    made = builder.flush(Lane.BACKFILL)
    return sum(len(message.body) + _ROW for message in made) / rows


def _waveforms(bundle: Bundle, machines: int, rows: float, link: LinkSettings) -> float:
    """At most one snapshot an observation, and as many as the limit a day allows when only odd ones are sent."""
    if link.raw == "none":
        return 0.0
    snapshots = rows if link.raw == "all" else min(rows, machines * link.raw_per_day)
    return snapshots * sum(len(w.axes) * w.samples * _SAMPLE for w in bundle.contract.waveforms)


def _states(bundle: Bundle, machines: int, link: LinkSettings) -> float:
    return machines * (_SAMPLE * bundle.contract.state.size + _ROW) * DAY / link.state_every
