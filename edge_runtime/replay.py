"""History through a step function: all machines in lockstep, streamed, in bounded memory.

Machines do not depend on each other, so the n-th observations of all of them make one batch. That is what makes months
of history cheap: a batch of a thousand machines costs a fifth of a thousand single steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.fleet import Fleet

# Numbers held at once for one chunk of steps: 16 MiB of float32.
CHUNK = 4 << 20


@dataclass(frozen=True)
class Series:
    """Consecutive observations of one machine.

    `time` int64[T] nanos, `readings` f32[T,C], `event` f32[T], `age` f32[T] (NaN unknown); `waveforms` name →
    (row int64[K], ascending, samples f32[K, axes, N]). Long histories come as several, each small enough to hold.
    """

    time: I64
    readings: F32
    event: F32
    age: F32
    waveforms: Mapping[str, tuple[I64, F32]] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> Series:
        """Observations start … stop − 1, as views."""
        waveforms = {}
        for name, (row, samples) in self.waveforms.items():
            a, b = np.searchsorted(row, (start, stop))
            waveforms[name] = (row[a:b] - start, samples[a:b])
        rows = slice(start, stop)
        return Series(self.time[rows], self.readings[rows], self.event[rows], self.age[rows], waveforms)


def replay(
    fleet: Fleet, sources: Mapping[str, Iterable[Series]], wanted: Sequence[str], where: str | None = None
) -> Iterator[tuple[str, I64, dict[str, Array]]]:
    """Advance `fleet` over the whole history of each asset in `sources`.

    Yields, again and again for each asset, (asset, row numbers int64[R] counted from 0 within its source, outputs of
    these rows). Rows the fleet refused (duplicate, late) are left out. `where` names an output: only rows where it
    is > 0.5 are kept, for instance "tick".
    """
    for name in wanted:
        if name.removesuffix(".features") in fleet.step.waveforms:
            raise ValueError(f"output '{name}' has one row a snapshot, not one an observation: call the fleet instead")
    needed = tuple(dict.fromkeys([*wanted, *([where] if where else [])]))
    width = fleet.step.channels + sum(int(np.prod(fleet.step.widths[name])) for name in needed)
    cursors = [_Cursor(asset, fleet.index[asset], iter(series)) for asset, series in sources.items()]
    while cursors:
        steps = max(1, CHUNK // (width * len(cursors)))
        parts = [(cursor, series) for cursor in cursors if (series := cursor.take(steps)) is not None]
        # The longest first: whoever is still active at a step is a prefix of the batch.
        parts.sort(key=lambda part: -len(part[1].time))
        if parts:
            yield from _advance(fleet, parts, wanted, needed, where)
        cursors = [cursor for cursor, _ in parts]


class _Cursor:
    """Where the replay stands in the history of one asset."""

    def __init__(self, asset: str, row: int, series: Iterator[Series]) -> None:
        self.asset = asset
        self.row = row  # in the fleet
        self.done = 0  # observations given out
        self._series = series
        self._current: Series | None = None
        self._at = 0

    def take(self, most: int) -> Series | None:
        """The next observations, at most `most` of them and perhaps fewer; None at the end."""
        while self._current is None or self._at == len(self._current.time):
            self._current, self._at = next(self._series, None), 0
            if self._current is None:
                return None
        start, self._at = self._at, min(self._at + most, len(self._current.time))
        return self._current.part(start, self._at)


def _advance(
    fleet: Fleet,
    parts: Sequence[tuple[_Cursor, Series]],
    wanted: Sequence[str],
    needed: Sequence[str],
    where: str | None,
) -> Iterator[tuple[str, I64, dict[str, Array]]]:
    lengths = np.array([len(series.time) for _, series in parts])
    chunk = _Chunk([series for _, series in parts], lengths, fleet.step.channels)
    rows = np.array([cursor.row for cursor, _ in parts])
    in_order = np.array_equal(rows, np.arange(len(fleet.assets)))
    kept = np.zeros(chunk.time.shape, bool)
    out = {name: np.zeros((*chunk.time.shape, *fleet.step.widths[name]), np.float32) for name in needed}
    active_at = np.searchsorted(-lengths, -np.arange(len(chunk.time))).tolist()
    for k, active in enumerate(active_at):
        batch = slice(None) if in_order and active == len(rows) else rows[:active]
        outputs, accepted = fleet.advance(batch, *chunk.step(k, active), wanted=needed)
        kept[k, :active] = accepted
        places = slice(active) if accepted.all() else np.flatnonzero(accepted)
        for name, value in outputs.items():
            out[name][k, places] = value
    if where is not None:
        kept &= out[where] > 0.5
    for j, (cursor, series) in enumerate(parts):
        chosen = np.flatnonzero(kept[: len(series.time), j])
        if len(chosen):
            yield cursor.asset, cursor.done + chosen, {name: out[name][chosen, j] for name in wanted}
        cursor.done += len(series.time)


class _Chunk:
    """A stretch of the history of several machines, laid out step by step: [steps, machines, …]."""

    def __init__(self, series: Sequence[Series], lengths: Array, channels: int) -> None:
        shape = (int(lengths.max()), len(series))
        self.time = np.zeros(shape, np.int64)
        self.readings = np.zeros((*shape, channels), np.float32)
        self.event = np.zeros(shape, np.float32)
        self.age = np.zeros(shape, np.float32)
        self._series = series
        self._waveforms = sorted({name for s in series for name in s.waveforms})
        for j, s in enumerate(series):
            n = len(s.time)
            self.time[:n, j], self.readings[:n, j] = s.time, s.readings
            self.event[:n, j], self.age[:n, j] = s.event, s.age

    def step(self, k: int, active: int) -> tuple[I64, F32, F32, F32, dict[str, tuple[F32, I64]]]:
        """Time, readings, event, age and waveforms of the k-th observations of the first `active` machines."""
        waveforms = {name: found for name in self._waveforms if (found := self._snapshots(name, k, active))}
        return (*(a[k, :active] for a in (self.time, self.readings, self.event, self.age)), waveforms)  # type: ignore[return-value]

    def _snapshots(self, name: str, k: int, active: int) -> tuple[F32, I64] | None:
        samples, machines = [], []
        for j, s in enumerate(self._series[:active]):
            if name in s.waveforms:
                row, blocks = s.waveforms[name]
                at = int(np.searchsorted(row, k))
                if at < len(row) and row[at] == k:
                    samples.append(blocks[at])
                    machines.append(j)
        return (np.stack(samples), np.array(machines, np.int64)) if samples else None
