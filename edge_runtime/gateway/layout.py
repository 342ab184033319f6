"""Whose row is which, and which channel which column, in what the journal keeps: machines and classes change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.batch import Batch, Samples
from edge_runtime.gateway.narrow import narrow


@dataclass(frozen=True)
class Layout:
    """Of all entries from `position` on, until the next layout: `waveforms` name → (axes, samples)."""

    position: int
    assets: tuple[str, ...]
    channels: tuple[str, ...]
    waveforms: Mapping[str, tuple[int, int]]

    def same(self, other: Layout) -> bool:
        """Whether entries mean the same in both."""
        return replace(self, position=0) == replace(other, position=0)


def pack_layouts(layouts: Sequence[Layout]) -> bytes:
    return json.dumps([[one.position, one.assets, one.channels, one.waveforms] for one in layouts]).encode()


def unpack_layouts(data: bytes) -> list[Layout]:
    return [
        Layout(position, tuple(assets), tuple(channels), {name: (a, n) for name, (a, n) in waveforms.items()})
        for position, assets, channels, waveforms in json.loads(data)
    ]


class Translation:
    """From the layout that entries were written in to the one that runs; what it has no place for is left out."""

    def __init__(self, old: Layout, new: Layout) -> None:
        rows = {asset: row for row, asset in enumerate(new.assets)}
        self.rows: I64 = np.array([rows.get(asset, -1) for asset in old.assets], np.int64)
        columns = {channel: column for column, channel in enumerate(old.channels)}
        self.columns: I64 = np.array([columns.get(channel, -1) for channel in new.channels], np.int64)
        self._same = old.same(new)
        self._waveforms = {name for name, shape in new.waveforms.items() if old.waveforms.get(name) == shape}

    def batch(self, batch: Batch) -> Batch | None:
        """`batch` for the machines and channels of now, None if there is nothing left of it."""
        if self._same:
            return batch
        rows = self.rows[batch.rows]
        keep = rows >= 0
        if not keep.any():
            return None
        batch = narrow(batch, keep, rows)
        waveforms = {name: value for name, value in batch.waveforms.items() if name in self._waveforms}
        return replace(batch, readings=self._pick(batch.readings), waveforms=waveforms)

    def samples(self, samples: Samples) -> Samples | None:
        """The same of samples."""
        if self._same:
            return samples
        rows = self.rows[samples.rows]
        keep = rows >= 0
        if not keep.any():
            return None
        values = samples.values[keep]
        values = np.concatenate([self._pick(values[:, :-2]), values[:, -2:]], axis=1)
        return Samples(rows[keep], samples.time[keep], samples.t_rx[keep], values)

    def _pick(self, values: F32) -> F32:
        """Columns f32[n, C] of the old channels as those of the new; NaN for a channel that is new."""
        picked: F32 = np.where(self.columns >= 0, values[:, self.columns], np.float32(np.nan))
        return picked
