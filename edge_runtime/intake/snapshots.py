"""Waveforms that wait for the observation they belong to. An observation takes the newest of each channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, I64
from edge_runtime.manifest import Waveform
from edge_runtime.sources.source import Source, WaveformArrival

Receipt = tuple[Source, Any]
MOST = 64  # that wait of one channel of one machine
MOST_BYTES = 64 << 20  # of all that wait: beyond, one of each channel of each machine


class Snapshots:
    """Of all machines of a class. `used`: the newest time that went into an observation, by (machine, channel)."""

    def __init__(self, waveforms: Sequence[Waveform]) -> None:
        self.shapes = {waveform.name: (len(waveform.axes), waveform.samples) for waveform in waveforms}
        self.used: dict[tuple[int, str], int] = {}
        self._bytes = 0
        self._waiting: dict[int, dict[str, list[tuple[int, WaveformArrival]]]] = {}

    def add(self, row: int, at: int, arrival: WaveformArrival) -> list[WaveformArrival]:
        """Keep `arrival` for the first observation from `at` on; returns those that it makes superfluous."""
        waiting = self._waiting.setdefault(row, {}).setdefault(arrival.channel, [])
        same = [other for other in waiting if other[0] == at]
        waiting[:] = [other for other in waiting if other[0] != at]
        ranked = sorted([*(other for _, other in same), arrival], key=lambda one: one.time)
        waiting.append((at, ranked.pop()))
        waiting.sort(key=lambda one: one[0])
        self._bytes += arrival.samples.nbytes
        if len(waiting) > MOST or (len(waiting) > 1 and self._bytes > MOST_BYTES):
            ranked.append(waiting.pop(0)[1])
        self._bytes -= sum(other.samples.nbytes for other in ranked)
        return ranked

    def take(self, rows: I64, time: I64) -> tuple[Mapping[str, tuple[F32, I64]], list[Receipt], int]:
        """The waveforms of observations of distinct machines, the receipts, and how many waveforms a newer one beat."""
        if not self._waiting:
            return {}, [], 0
        found: dict[str, tuple[list[F32], list[int]]] = {}
        receipts: list[Receipt] = []
        superseded = 0
        for i, (row, end) in enumerate(zip(rows.tolist(), time.tolist(), strict=True)):
            for name, waiting in self._waiting.get(row, {}).items():
                due = [arrival for at, arrival in waiting if at <= end]
                if not due:
                    continue
                waiting[:] = [other for other in waiting if other[0] > end]
                self._bytes -= sum(arrival.samples.nbytes for arrival in due)
                newest = max(due, key=lambda arrival: arrival.time)
                self.used[row, name] = newest.time
                samples, places = found.setdefault(name, ([], []))
                samples.append(newest.samples)
                places.append(i)
                superseded += len(due) - 1
                receipts += ((one.source, one.receipt) for one in due if one.receipt is not None)
            if row in self._waiting and not any(self._waiting[row].values()):
                del self._waiting[row]
        with np.errstate(over="ignore"):
            waveforms = {
                name: (np.stack(samples).astype(np.float32, copy=False), np.array(places, np.int64))
                for name, (samples, places) in found.items()
            }
        return waveforms, receipts, superseded
